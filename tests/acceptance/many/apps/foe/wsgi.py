"""Does what it is sent: an app that somebody else has taken over."""

import subprocess
import sys

from flask import Flask, request

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def index():
    return {"app": "foe", "version": VERSION}


@app.post("/exec")
def execute():
    """Run a program of Python with some words."""
    command = [sys.executable, "-I", "-", *request.args.getlist("word")]
    done = subprocess.run(command, input=request.get_data(), capture_output=True, timeout=60)
    return {"code": done.returncode, "out": done.stdout.decode(), "error": done.stderr.decode()}
