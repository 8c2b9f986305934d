"""Greets, with the words that its environment holds."""

import os
import time

from flask import Flask

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def index():
    return {"app": "greeter", "version": VERSION, "greeting": os.environ["GREETING"]}


@app.get("/child")
def child():
    """As a job is started that nobody waits for. It inherits what a worker does at SIGTERM: nothing at once."""
    pid = os.fork()
    if pid == 0:
        time.sleep(3600)
        os._exit(0)
    return {"pid": pid}
