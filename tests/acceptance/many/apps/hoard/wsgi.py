"""Answers the load client, and keeps memory for ever when it is told to."""

import json
import time

from flask import Flask, Response, request

VERSION = "1"

app = Flask(__name__)
kept = []


@app.get("/")
def index():
    return {"app": "hoard", "version": VERSION}


@app.get("/healthz")
def health():
    return {"status": "ok"}


@app.get("/wait")
def wait():
    milliseconds = int(request.args["ms"])
    time.sleep(milliseconds / 1000)
    return {"waited_ms": milliseconds}


@app.get("/stream")
def stream():
    chunks, milliseconds = int(request.args["chunks"]), int(request.args["ms"])

    def lines():
        for number in range(chunks):
            time.sleep(milliseconds / 1000)
            yield json.dumps({"chunk": number}) + "\n"
        yield json.dumps({"chunks": chunks}) + "\n"

    return Response(lines(), mimetype="application/x-ndjson")


@app.get("/keep")
def keep():
    """The leak. Bytes that are written are in memory; zeros that nobody wrote are not."""
    kept.append(b"\xa5" * int(request.args["bytes"]))
    return {"app": "hoard", "kept": sum(map(len, kept))}
