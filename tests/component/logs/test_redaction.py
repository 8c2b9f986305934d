"""What must not stand in a log does not."""

import textwrap

import pytest

from pygun_runtime.log_line import Redaction

SECRET = 'pa"ss\\word of & many / signs\u00e9'

APP = """
import os, sys
from flask import Flask

app = Flask(__name__)

@app.get("/")
def index():
    return "ok"

@app.get("/say")
def say():
    secret = os.environ["PASSWORD"]
    app.logger.info("logged %s", secret, extra={"given": secret})
    print("printed", secret)
    try:
        raise ValueError(f"raised {secret}")
    except ValueError:
        app.logger.exception("failed with %s", secret)
    return "ok"
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_without_query_strings_there_is_none(service, style):
    service.start(runtime=f"log_query=False, log_format={style!r}")
    service.get("/?token=hush", "Referer: http://here/?token=hush")
    service.instance.stop()
    assert "hush" not in service.text()
    assert "http://here/" in service.text()
    assert "?" not in service.text()


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_values_of_named_parameters_are_masked(service, style):
    service.start(runtime=f"log_redact=['token', 'Key'], log_format={style!r}")
    service.get("/?a=1&TOKEN=hush&k%65y=hush;key=hush&b=2&token", "Referer: http://here/?key=hush&c=3")
    service.instance.stop()
    text = service.text()
    assert "hush" not in text
    assert "a=1&TOKEN=[redacted]&k%65y=[redacted];key=[redacted]&b=2&token" in text
    assert "http://here/?key=[redacted]&c=3" in text


@pytest.mark.parametrize("runtime", ["log_query=False", "log_redact=['token']"])
def test_what_gunicorn_says_of_a_request_that_failed_hides_them_too(service, runtime):
    own = """
    @app.get("/stream")
    def stream():
        def fail():
            raise ValueError("no stream")
            yield
        return app.response_class(fail())
    """
    service.start(app=APP + textwrap.dedent(own), runtime=runtime)
    assert service.get("/stream?token=hush")[0] == 500
    service.raw(b"GET /?token=hush HTTP/7.9\r\nHost: x\r\n\r\n")
    service.instance.stop()
    assert "Error handling request GET /stream" in service.text()
    assert "hush" not in service.text()
    assert "Perhaps?" == Redaction(query=False).text("Perhaps?")


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_values_of_named_variables_are_masked_wherever_they_are(service, style):
    env = service.host.folder / "app.env"
    escaped = SECRET.replace("\\", "\\\\").replace('"', '\\"')
    env.write_text(f'PASSWORD="{escaped}"\nPIN=1234\n')
    service.start(
        app=APP, runtime=f"env_file={str(env)!r}, log_redact=['PASSWORD', 'PIN', 'UNKNOWN'], log_format={style!r}"
    )
    assert service.get("/say")[0] == 200
    service.get("/?x=pa%22ss%5Cword%20of%20%26%20many%20/%20signs%C3%A9&y=1234")
    service.instance.stop()
    text = service.text()
    assert "many" not in text
    for said in ("logged [redacted]", "printed [redacted]", "failed with [redacted]", "raised [redacted]"):
        assert said in text
    assert "x=[redacted]" in text
    assert "y=1234" in text
    assert "the value of PIN is shorter than 6 characters" in text
    if style == "json":
        assert service.saying("logged")["labels.given"] == "[redacted]"


@pytest.mark.parametrize(
    ("query", "logged"),
    [
        ("", ""),
        ("token", "token"),
        ("token=", "token=[redacted]"),
        ("=token", "=token"),
        ("token=a=b", "token=[redacted]"),
        ("tokens=a", "tokens=a"),
        ("&&token=a;;", "&&token=[redacted];;"),
        ("%74oken=a", "%74oken=[redacted]"),
    ],
)
def test_a_parameter_is_known_however_it_is_written(query, logged):
    assert Redaction(names=["token"]).query(query) == logged


def test_a_secret_that_is_part_of_a_number_breaks_no_json(service):
    env = service.host.folder / "app.env"
    env.write_text("CODE=000000\n")
    service.start(runtime=f"env_file={str(env)!r}, log_redact=['CODE']")
    service.get("/?000000")
    service.instance.stop()
    assert service.access()[0]["url.query"] == "[redacted]"
