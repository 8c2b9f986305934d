"""What the service answers."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator

from flask import Blueprint, Response, abort, current_app, request
from werkzeug.exceptions import BadRequest

from .model import InvalidInput

views = Blueprint("views", __name__)

PIECE = 64 * 1024  # bytes of an upload that are in memory at a time


@views.get("/")
def index() -> dict[str, str]:
    """Say what this is."""
    return {
        "service": "scoring",
        "version": current_app.config["VERSION"],
        "greeting": current_app.config["GREETING"],
    }


@views.get("/healthz")
def health() -> dict[str, str]:
    """Answer 200 if this process can do its work: the model is loaded and scores.

    Anything that must be there for a useful answer belongs here (a database, a file); anything
    that the service can do without does not, or its outage would become ours.
    """
    current_app.extensions["model"].probability({"distance_km": 1, "items": 1, "rain_mm": 0})
    return {"status": "ok"}


@views.post("/predict")
def predict() -> dict[str, object]:
    """Score one delivery, given as a JSON object."""
    try:
        delivery = request.get_json()
    except (BadRequest, RecursionError):
        abort(400, "the body is not valid JSON")
    try:
        probability = current_app.extensions["model"].probability(delivery)
    except InvalidInput as error:
        abort(400, str(error))
    return {
        "input": delivery,
        "late_probability": round(probability, 6),
        "late": probability >= 0.5,
    }


@views.get("/wait")
def wait() -> dict[str, int]:
    """Wait `ms` milliseconds, as a request does that asks a database or another service."""
    milliseconds = whole_number("ms", default=50, maximum=10_000)
    time.sleep(milliseconds / 1000)
    return {"waited_ms": milliseconds}


@views.get("/stream")
def stream() -> Response:
    """Answer `chunks` lines of JSON, one every `ms` milliseconds, then one that counts them."""
    chunks = whole_number("chunks", default=5, maximum=1000)
    milliseconds = whole_number("ms", default=100, maximum=10_000)

    def lines() -> Iterator[str]:
        for number in range(chunks):
            time.sleep(milliseconds / 1000)
            yield json.dumps({"chunk": number}) + "\n"
        yield json.dumps({"chunks": chunks}) + "\n"

    return Response(lines(), mimetype="application/x-ndjson")


@views.post("/upload")
def upload() -> dict[str, object]:
    """Read the body piece by piece and answer its size and checksum."""
    size = 0
    checksum = hashlib.sha256()
    while piece := request.stream.read(PIECE):
        size += len(piece)
        checksum.update(piece)
    if request.content_length is not None and size != request.content_length:
        abort(400, f"the body ended after {size} of {request.content_length} bytes")
    return {"bytes": size, "sha256": checksum.hexdigest()}


def whole_number(name: str, default: int, maximum: int) -> int:
    """Return the query parameter `name`; answer 400 unless it is a whole number up to `maximum`."""
    text = request.args.get(name, str(default))
    # isdecimal() alone accepts digits of other scripts; the length bounds what int() has to read.
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= maximum):
        abort(400, f"{name} must be a whole number from 0 to {maximum}")
    return int(text)
