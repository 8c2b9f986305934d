# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same three answers from Flask (`app`) and from a bare WSGI callable (`bare`)."""

import json
import os
import time

from flask import Flask, jsonify

STEPS = int(os.environ.get("BENCH_STEPS", "50000"))  # how many take 5 ms on this machine
RECORDS = [{"id": number, "name": f"item {number}", "score": number / 7} for number in range(37)]  # 2 KB of JSON

app = Flask(__name__)


def work() -> int:
    x = 1
    for _ in range(STEPS):
        x = x * 31 % 1_000_003
    return x


@app.get("/")
def hello():
    return "hello"


@app.get("/wait")
def wait():
    time.sleep(0.05)
    return "waited"


@app.get("/compute")
def compute():
    return jsonify(result=work(), records=RECORDS)


def bare(environ, start_response):
    path, kind = environ["PATH_INFO"], "text/plain"
    if path == "/":
        body = b"hello"
    elif path == "/wait":
        time.sleep(0.05)
        body = b"waited"
    else:
        body, kind = json.dumps({"result": work(), "records": RECORDS}).encode(), "application/json"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
