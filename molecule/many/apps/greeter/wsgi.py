"""Greets, with the words that its environment holds."""

import multiprocessing
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
    """As a job is started that nobody waits for."""
    job = multiprocessing.Process(target=time.sleep, args=(3600,))
    job.start()
    return {"pid": job.pid}
