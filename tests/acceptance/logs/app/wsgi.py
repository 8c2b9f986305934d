"""An app that logs what it is told to, in every way in which a program can."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from flask import Flask, current_app, request

app = Flask(__name__)
app.logger.setLevel(logging.DEBUG)


@app.get("/healthz")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/")
def index() -> dict[str, str]:
    return {"service": "talker"}


@app.post("/log/<level>")
def log(level: str) -> dict[str, int]:
    """Log the body, of any bytes."""
    text = request.get_data().decode("utf-8", "surrogateescape")
    current_app.logger.log(logging.getLevelName(level.upper()), text)
    return {"characters": len(text)}


@app.post("/library/<name>")
def library(name: str) -> dict[str, str]:
    """As a library of that name does."""
    logging.getLogger(name).warning("%s", request.get_data(as_text=True))
    return {}


@app.post("/print")
def printed() -> dict[str, str]:
    print(request.get_data(as_text=True))
    return {}


@app.post("/warn")
def warned() -> dict[str, str]:
    warnings.warn(request.get_data(as_text=True), stacklevel=1)
    return {}


@app.post("/raw")
def raw() -> dict[str, str]:
    """As a library in C does: past Python."""
    os.write(2, request.get_data() + b"\n")
    return {}


@app.post("/raise")
def raised() -> dict[str, str]:
    raise RuntimeError(request.get_data(as_text=True))


@app.get("/pid")
def pid() -> dict[str, int]:
    return {"pid": os.getpid(), "stdout": sys.stdout is None}
