"""What a caller of the service sees."""

import hashlib
import io
import json
import time

import pytest

from scoring import create_app

DELIVERY = {"distance_km": 10, "items": 2, "rain_mm": 0}


def test_the_index_says_what_this_is(client):
    answer = client.get("/")

    assert answer.status_code == 200
    assert answer.json == {"service": "scoring", "version": "test", "greeting": "hi"}


def test_version_and_greeting_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SCORING_VERSION", "7")
    monkeypatch.setenv("SCORING_GREETING", "Good day")

    answer = create_app().test_client().get("/")

    assert answer.json == {"service": "scoring", "version": "7", "greeting": "Good day"}


def test_an_unusable_setting_stops_the_start(monkeypatch):
    monkeypatch.setenv("SCORING_MAX_BODY", "lots")

    with pytest.raises(ValueError, match="lots"):
        create_app()


def test_every_answer_names_the_version(client):
    for path in ("/", "/healthz", "/no-such-page", "/wait?ms=x"):
        assert client.get(path).headers["X-App-Version"] == "test"


def test_the_service_is_healthy(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_a_service_whose_model_is_broken_is_not_healthy(app):
    class Broken:
        def probability(self, _values):
            raise RuntimeError("no weights")

    app.config["TESTING"] = False  # as in production, an exception becomes a 500
    app.extensions["model"] = Broken()

    assert app.test_client().get("/healthz").status_code == 500


def test_a_delivery_is_scored(client):
    answer = client.post("/predict", json=DELIVERY)

    assert answer.status_code == 200
    assert answer.json == {"input": DELIVERY, "late_probability": 0.127862, "late": False}


def test_a_likely_late_delivery_is_called_late(client):
    assert client.post("/predict", json={**DELIVERY, "rain_mm": 40}).json["late"] is True


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "the body is not valid JSON"),
        (b"{", "the body is not valid JSON"),
        (b"\xff", "the body is not valid JSON"),
        (b"[" * 100_000, "the body is not valid JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'{"items": 1}', "distance_km is missing"),
    ],
)
def test_a_body_that_cannot_be_scored_is_answered_with_400_and_the_reason(client, body, message):
    answer = client.post("/predict", data=body, content_type="application/json")

    assert (answer.status_code, answer.json) == (400, {"error": message})


def test_a_body_that_does_not_claim_to_be_json_is_answered_with_415(client):
    answer = client.post("/predict", data=json.dumps(DELIVERY), content_type="text/plain")

    assert answer.status_code == 415
    assert "application/json" in answer.json["error"]


def test_wait_takes_the_time_it_was_asked_to(client):
    start = time.monotonic()
    answer = client.get("/wait?ms=80")

    assert answer.json == {"waited_ms": 80}
    assert time.monotonic() - start >= 0.08


@pytest.mark.parametrize("value", ["-1", "1.5", "ten", "", "10001", "9" * 5000, "%D9%A1"])
def test_wait_is_bounded(client, value):
    answer = client.get(f"/wait?ms={value}")

    assert answer.status_code == 400
    assert answer.json == {"error": "ms must be a whole number from 0 to 10000"}


def test_a_stream_ends_with_a_line_that_counts_its_chunks(client):
    answer = client.get("/stream?chunks=3&ms=0")

    assert answer.mimetype == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"chunk": 0},
        {"chunk": 1},
        {"chunk": 2},
        {"chunks": 3},
    ]


def test_a_stream_is_sent_while_it_is_made(client):
    start = time.monotonic()
    answer = client.get("/stream?chunks=20&ms=100", buffered=False)  # two seconds in all

    assert answer.status_code == 200
    assert time.monotonic() - start < 1
    answer.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_an_upload_is_answered_with_its_size_and_checksum(client, size):
    body = b"x" * size

    answer = client.post("/upload", data=body)

    assert answer.json == {"bytes": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_an_upload_that_breaks_off_is_refused(client):
    answer = client.post(
        "/upload",
        input_stream=io.BytesIO(b"half"),
        # gunicorn promises that its stream ends where the body does, however early that is
        environ_overrides={"CONTENT_LENGTH": "8", "wsgi.input_terminated": True},
    )

    assert answer.status_code == 400
    assert answer.json == {"error": "the body ended after 4 of 8 bytes"}


@pytest.mark.parametrize("path", ["/upload", "/predict"])
def test_a_body_beyond_the_limit_is_refused(path):
    client = create_app({"MAX_CONTENT_LENGTH": 10}).test_client()

    answer = client.post(path, data=b"x" * 11, content_type="application/json")

    assert answer.status_code == 413
    assert "error" in answer.json


def test_an_error_of_the_framework_is_json_and_keeps_its_headers(client):
    missing = client.get("/no-such-page")
    wrong_method = client.get("/predict")

    assert (missing.status_code, missing.mimetype) == (404, "application/json")
    assert wrong_method.status_code == 405
    assert "POST" in wrong_method.headers["Allow"]
