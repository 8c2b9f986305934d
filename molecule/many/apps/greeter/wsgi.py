"""Greets, with the words that its environment holds."""

import os

from flask import Flask

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def index():
    return {"app": "greeter", "version": VERSION, "greeting": os.environ["GREETING"]}
