"""A small scoring service: how likely is it that a delivery comes late?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app
from werkzeug.exceptions import HTTPException

from .model import LateDelivery
from .views import views

__version__ = "1.0.0"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return a new application.

    Settings come from the environment; `config` overrides them, so that a test needs no
    environment of its own. A value that cannot be used raises here, before anything is served.
    """
    app = Flask(__name__)
    app.config.update(
        VERSION=os.environ.get("SCORING_VERSION", __version__),
        GREETING=os.environ.get("SCORING_GREETING", "Hello from the scoring service"),
        # bytes; a larger body is answered with 413 and never read
        MAX_CONTENT_LENGTH=int(os.environ.get("SCORING_MAX_BODY", "67108864")),
    )
    app.config.update(config or {})

    # Loaded once for each worker process, before its first request.
    app.extensions["model"] = LateDelivery()

    app.register_blueprint(views)
    app.register_error_handler(HTTPException, answer_error)
    app.after_request(name_version)
    return app


def answer_error(error: HTTPException) -> Response:
    """Answer every error as JSON, so that a caller never has to read HTML."""
    response = error.get_response()  # keeps headers such as Allow
    if response.status_code >= 400 and error.response is None:
        response.data = json.dumps({"error": error.description}) + "\n"
        response.content_type = "application/json"
    return response


def name_version(response: Response) -> Response:
    """Say in every answer which version gave it: the first question while a release goes out."""
    response.headers["X-App-Version"] = current_app.config["VERSION"]
    return response
