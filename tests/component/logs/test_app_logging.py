"""What the server says is never lost, whatever an app does to logging; its own lines keep their level, and are not wrapped."""

import pytest

APP = """
import logging, logging.config, sys, time
from flask import Flask

{setup}

app = Flask("wsgi")

@app.get("/healthz")
def healthz():
    return "down", 503

@app.get("/say")
def say():
    app.logger.setLevel("INFO")
    app.logger.info("a fine day")
    logging.getLogger("stock").error("sold %s", "out", extra={"item": 7})
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("stock").exception("counted wrongly")
    return "said"

@app.get("/wait")
def wait():
    time.sleep(30)
    return "waited"
"""

DICT_CONFIG = """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"default": {"format": "[%(asctime)s] %(levelname)s in %(module)s: %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.STREAM"}},
    "root": {"level": "INFO", "handlers": ["out"]},
})
"""
SILENCE = {
    "dictConfig": DICT_CONFIG.replace("STREAM", "stderr"),
    "handlers of gunicorn taken away": "logging.getLogger('gunicorn.error').handlers.clear()",
    "all handlers taken away": "[log.handlers.clear() for log in (logging.root, logging.getLogger('gunicorn.error'))]",
    "levels raised": "[logging.getLogger(name).setLevel('CRITICAL') for name in (None, 'gunicorn.error', 'gunicorn.access')]",
    "disable": "logging.disable(logging.CRITICAL)",
    "shutdown": "logging.shutdown()",
    "a factory that fails": "logging.setLogRecordFactory(lambda *a, **k: 1 / 0)",
    "a class that says nothing": "logging.setLoggerClass(type('Mute', (logging.Logger,), {'handle': lambda *a: None}))",
    "a filter that lets nothing through": "logging.getLogger('gunicorn.error').addFilter(lambda record: False)",
    "a handler that fails": "logging.raiseExceptions = False; handler = logging.Handler(); handler.emit = lambda r: 1 / 0\n"
    "logging.getLogger('gunicorn.error').addHandler(handler)",
}


@pytest.mark.parametrize("how", SILENCE)
def test_what_the_server_says_is_never_lost(service, how):
    service.start(
        app=APP.replace("{setup}", SILENCE[how]),
        runtime="health_path='/healthz'",
        graceful_timeout=2,
    )
    service.get("/healthz")
    waiting = service.host.connect()
    waiting.send("/wait")
    service.host.get("/healthz")  # accepted after it
    service.instance.stop()
    assert len(service.access()) >= 2, service.text()
    for text, level in (
        ("Health check failed", "warning"),
        ("cut off: GET /wait", "warning"),
        ("Worker exiting", "info"),
    ):
        line = service.saying(text)
        assert (line["log.level"], line["log.logger"]) == (level, "gunicorn.error")


OWN = {
    "dictConfig": DICT_CONFIG.replace("STREAM", "stderr"),
    "dictConfig on stdout": DICT_CONFIG.replace("STREAM", "stdout"),
    "basicConfig": "logging.basicConfig(force=True, level='INFO')",
    "a handler of its own beside ours": "logging.getLogger('stock').addHandler(logging.StreamHandler())",
    "gunicorn's handlers": "logging.getLogger('wsgi').handlers = logging.getLogger('gunicorn.error').handlers",
    "a formatter that writes JSON": """
import json
class Json(logging.Formatter):
    def format(self, record):
        fields = {"level": "whatever", "msg": record.getMessage(), "tenant": "acme"}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)
logging.basicConfig(force=True, level="INFO")
logging.root.handlers[0].setFormatter(Json())
""",
}


@pytest.mark.parametrize("how", OWN)
def test_lines_of_an_app_keep_their_level_and_are_one_line(service, how):
    service.start(app=APP.replace("{setup}", OWN[how]))
    service.get("/say", "X-Request-ID: mine")
    service.instance.stop()
    lines = [
        line for line in service.lines() if line.get("http.request.id") == "mine" and line["log.logger"] != "access"
    ]
    assert [(line["log.level"], line["log.logger"], line["message"]) for line in lines] == [
        ("info", "wsgi", "a fine day"),
        ("error", "stock", "sold out"),
        ("error", "stock", "counted wrongly"),
    ], service.text()
    assert "ZeroDivisionError" in lines[2]["error.stack_trace"]
    if "JSON" in how:
        assert {line["labels.tenant"] for line in lines} == {"acme"}
    else:
        assert (lines[1]["labels.item"], lines[2]["error.type"]) == (7, "ZeroDivisionError")


def test_a_formatter_of_the_app_may_have_something_to_hide(service):
    mask = """
class Masked(logging.Formatter):
    def format(self, record):
        return super().format(record).replace("out", "***")
logging.basicConfig(force=True, level="INFO")
logging.root.handlers[0].setFormatter(Masked("%(levelname)s %(message)s"))
"""
    service.start(app=APP.replace("{setup}", mask))
    service.get("/say")
    service.instance.stop()
    assert service.saying("ERROR sold ***")["log.level"] == "error"
    assert "sold out" not in service.text()


def test_a_handler_that_cannot_write_says_so(service):
    app = """
import logging
logging.basicConfig(force=True, level="INFO", format="%(nothing_of_that_name)s")
def app(environ, start_response):
    logging.info("hello")
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
    service.start(app=app)
    service.get()
    service.instance.stop()
    assert "--- Logging error ---" in service.text()
    assert "nothing_of_that_name" in service.text()
