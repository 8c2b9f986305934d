"""The recipes of the page on OpenTelemetry and Sentry: what a worker records arrives, at its stop at the latest."""

import gzip
import http.server
import re
import textwrap
import threading
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "docsite" / "rst" / "telemetry.rst"
VIEWS = """
@app.get("/healthz")
def healthz():
    return "ok"

@app.get("/seen")
def seen():
    return "ok"

@app.get("/fails")
def fails():
    raise KeyError("told to the collector")
"""


def text_of(title):
    section = PAGE.read_text().split(f"\n{title}\n---", 1)[1]
    return textwrap.dedent(re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", section)[1])


@pytest.fixture(name="collector")
def collector_fixture():
    """A server that takes what is posted; its `received` has pairs of path and body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            server.received.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


OPENTELEMETRY = ("OpenTelemetry", "/v1/traces", "/seen", b"GET /seen")
SENTRY = ("Sentry", "/api/1/envelope/", "/fails", b"told to the collector")


@pytest.mark.parametrize(("recipe", "preload"), [(OPENTELEMETRY, False), (OPENTELEMETRY, True), (SENTRY, True)])
def test_what_is_recorded_last_arrives(host, collector, recipe, preload):
    title, path, asked, arrives = recipe
    address = f"127.0.0.1:{collector.server_address[1]}"
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
        "SENTRY_DSN": f"http://key@{address}/1",
        "NO_PROXY": "127.0.0.1",
    }
    app = text_of(title) + VIEWS
    instance = host.start(app=app, environ=environ, preload_app=preload, runtime="health_path='/healthz'").wait_ready()
    host.get(asked)
    instance.stop()
    assert [body for where, body in collector.received if where == path and arrives in body], instance.log()
    for complaint in ("MonkeyPatchWarning", "patched too late", "SIGKILL"):
        assert complaint not in instance.log()
