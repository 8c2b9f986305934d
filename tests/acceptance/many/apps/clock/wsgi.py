"""Tells the time."""

import time

from flask import Flask

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def index():
    return {"app": "clock", "version": VERSION, "time": time.time()}
