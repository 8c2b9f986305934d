# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration of the role load_balancer does what its variables promise: a real HAProxy in front of a server of one thread each.

Where HAProxy is not installed, they are skipped. `./dev test` installs it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.plugins.filter.core import FilterModule as Core
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ansible_collections.pygun.stack.plugins.plugin_utils.balancer import services
from pygun_runtime.log_line import ECS_VERSION
from pygun_runtime.request_id import SANE
from tests.component.runtime.conftest import Host

ROLE = Path(__file__).parents[3] / "roles" / "load_balancer"
needs_haproxy = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed")


def configuration(entry: dict, host: dict, **given: object) -> str:
    """haproxy.cfg of one service on one host."""
    values = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    values |= yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    values |= {
        "load_balancer_services": [entry],
        "groups": {"api": ["api1"]},
        "hostvars": {"api1": host},
        "ansible_managed": "x",
        **given,
    }
    made = Environment(  # noqa: S701  (not HTML)
        trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined,
        loader=FileSystemLoader(ROLE / "templates" / "etc" / "haproxy"),
    )  # fmt: skip
    made.filters |= {
        **Core().filters(),
        "pygun.stack.balanced_services": services,
        "flatten": lambda lists: sum(lists, []),
    }
    return made.get_template("haproxy.cfg.j2").render(values)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def backend() -> Iterator[SimpleNamespace]:
    """A server that notes what it is asked; GET /slow lasts until it is let go."""
    seen = SimpleNamespace(requests=[], go=threading.Event(), now=0, most=0)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None: ...

        def do_GET(self) -> None:
            if self.headers["User-Agent"] != "haproxy-check":
                with lock:
                    seen.requests.append({name.lower(): value for name, value in self.headers.items()})
                    seen.now += 1
                    seen.most = max(seen.most, seen.now)
                if self.path.startswith("/slow"):
                    seen.go.wait(60)
                with lock:
                    seen.now -= 1
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield seen
    seen.go.set()
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def balancer(
    folder: Path,
    backend: SimpleNamespace,
    entry: dict | None = None,
    host: dict | None = None,
    up: str = "/up",
    **given: object,
):
    """The port of a HAProxy, once it answers for the path *up*, and a function that returns the lines that it has logged."""
    port = free_port()
    entry = {"name": "shop", "bind": f"127.0.0.1:{port}", "health_path": "/", "port": backend.port, **(entry or {})}
    text = configuration(entry, {"load_balancer_address": "127.0.0.1", **(host or {})}, **given)
    text = re.sub(r"^    (chroot|user|group|stats socket|server-state-file) .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("    load-server-state-from-file global\n", "").replace("/dev/log", str(folder / "log"))
    (folder / "haproxy.cfg").write_text(text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(folder / "log"))
        log.settimeout(20)
        process = subprocess.Popen(["haproxy", "-db", "-f", folder / "haproxy.cfg"])

        def logged() -> dict:
            while True:
                line = log.recv(65536).decode()
                if '"@timestamp"' in line:
                    return json.loads(line[line.index("{") :])

        try:
            give_up = time.monotonic() + 30
            while True:
                assert process.poll() is None, "HAProxy has ended"
                assert time.monotonic() < give_up, f"{up} is never answered"
                with contextlib.suppress(OSError):
                    if ask(port, up)[0] == 200:
                        logged()
                        backend.requests.clear()
                        break
                time.sleep(0.1)
            yield port, logged
        finally:
            process.terminate()
            process.wait(20)


def ask(port: int, path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@needs_haproxy
@pytest.mark.parametrize(
    "entry, host",
    [
        ({"max_connections": 2}, {}),
        ({}, {"flask_app_worker_class": "sync", "flask_app_workers": 1}),
        (
            {},
            {"flask_app_instances": 1, "flask_app_gunicorn": {"worker_class": "gthread", "threads": 2, "workers": "1"}},
        ),
    ],
    ids=["said", "sync workers", "threads"],
)
def test_what_a_host_cannot_take_waits_and_is_refused_in_the_end(tmp_path, backend, entry, host):
    with balancer(tmp_path, backend, entry, host, load_balancer_timeout_queue=2) as (port, logged):
        with concurrent.futures.ThreadPoolExecutor(6) as callers:
            begun = time.monotonic()
            answers = [callers.submit(ask, port, f"/slow/{number}") for number in range(5)]
            refused = [logged() for _ in range(3)]
            assert time.monotonic() - begun > 1.5
            backend.go.set()
            assert sorted(answer.result()[0] for answer in answers) == [200, 200, 503, 503, 503]
        assert backend.most == 2
        for line in refused:
            assert line["http.response.status_code"] == 503
            assert (line["labels.termination_state"], line["log.level"]) == ("sQ", "error")
            assert line["labels.queue_ms"] >= 1500 or line["event.duration"] >= 1_500_000_000


@needs_haproxy
def test_what_waits_is_served_as_soon_as_there_is_room(tmp_path, backend):
    with balancer(tmp_path, backend, {"max_connections": 1}) as (port, logged):
        with concurrent.futures.ThreadPoolExecutor(3) as callers:
            answers = [callers.submit(ask, port, "/slow") for _ in range(3)]
            give_up = time.monotonic() + 20
            while not backend.now and time.monotonic() < give_up:
                time.sleep(0.02)
            backend.go.set()
            assert [answer.result()[0] for answer in answers] == [200] * 3
        assert backend.most == 1


@needs_haproxy
def test_a_request_is_a_line_of_json_with_the_id_that_the_app_gets(tmp_path, backend):
    with balancer(tmp_path, backend) as (port, logged):
        assert ask(port, "/a%22b?token=secret", **{"User-Agent": 'a "quoted" agent\\'})[0] == 200
        line = logged()
        (seen,) = backend.requests
        assert line["http.request.id"] == seen["x-request-id"] != ""
        assert "secret" not in json.dumps(line)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["@timestamp"])
        told = {
            name: line[name]
            for name in ("service.name", "service.node.name", "http.request.method", "url.path", "message")
        }
        assert told == {
            "service.name": "shop",
            "service.node.name": "api1",
            "http.request.method": "GET",
            "url.path": "/a%22b",
            "message": "GET /a%22b 200",
        }
        assert line["user_agent.original"] == 'a "quoted" agent\\'
        assert (line["client.address"], line["http.response.status_code"]) == ("127.0.0.1", 200)
        assert (line["log.level"], line["ecs.version"]) == ("info", ECS_VERSION)
        ask(port, "/broken", **{"X-Request-ID": "mine-1"})
        line = logged()
        assert (line["http.request.id"], backend.requests[-1]["x-request-id"], line["log.level"]) == (
            "mine-1",
            "mine-1",
            "error",
        )


@needs_haproxy
@pytest.mark.parametrize("given", ['"', "x" * 129, "a b", "ü", "a,b", '","log.level":"x'])
def test_an_id_that_the_app_would_not_take_is_replaced_before_both_log_it(tmp_path, backend, given):
    assert not SANE(given)
    with balancer(tmp_path, backend) as (port, logged):
        ask(port, "/", **{"X-Request-ID": given.encode().decode("latin-1")})
        line = logged()
        assert line["http.request.id"] == backend.requests[-1]["x-request-id"]
        assert SANE(line["http.request.id"])


def test_the_ids_that_are_taken_are_those_of_the_app():
    given = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    assert given["__load_balancer_request_id"] == f"'^{SANE.__self__.pattern}$'"
    assert given["__load_balancer_ecs_version"] == ECS_VERSION


@needs_haproxy
def test_a_request_that_cannot_be_read_is_a_line_of_json_too(tmp_path, backend):
    with balancer(tmp_path, backend) as (port, logged):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b'GET "\x01\xff nonsense\r\n\r\n')
            connection.recv(1000)
        assert logged()["http.response.status_code"] == 400
        ask(port, "/" + "%22\\" * 1900, **{"User-Agent": "\\" * 2000})
        assert logged()["http.response.status_code"] == 200


@needs_haproxy
def test_a_body_that_comes_in_bytes_reaches_no_host(tmp_path, backend):
    with balancer(tmp_path, backend, load_balancer_timeout_request=2) as (port, logged):
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(b"GET /form HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n")
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - begun < 3:
                    connection.sendall(b"x")
                    time.sleep(0.2)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert logged()["http.response.status_code"] == 408
        assert backend.requests == []


#: Answers with what it believes of a request, besides the headers that every caller sends.
BELIEVES = """
import json

def app(environ, start_response):
    names = {"SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "wsgi.url_scheme"}
    names |= {name for name in environ if name.startswith("HTTP_")} - {"HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_REQUEST_ID", "HTTP_ACCEPT_ENCODING"}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({name: environ[name] for name in names & set(environ)}).encode()]
"""
#: By which a proxy tells an app where it is served and who called, as a caller may write them.
CLAIMS = {
    "SCRIPT_NAME": "/admin",
    "Path_Info": "/public",
    "REMOTE_USER": "root",
    "X_Forwarded_For": "192.0.2.1",
    "X_Forwarded_Prefix": "/admin",
    "Forwarded": "for=192.0.2.1",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "444",
    "x-forwarded-prefix": "/admin",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Protocol": "ssl",
    "X-FORWARDED-SSL": "on",
    "X-Real-IP": "192.0.2.1",
    "X-Script-Name": "/admin",
}


@contextlib.contextmanager
def believing(**settings: object) -> Iterator[SimpleNamespace]:
    """An app on gunicorn that believes the balancer; it says what it believes of a request."""
    host = Host()
    try:
        host.start(app=BELIEVES, forwarded_allow_ips="127.0.0.1", **settings).wait_ready()
        yield SimpleNamespace(port=host.address[1], requests=[])
    finally:
        host.close()


@needs_haproxy
@pytest.mark.parametrize(
    "settings",
    [{}, {"forwarder_headers": "SCRIPT_NAME,PATH_INFO,REMOTE_USER"}, {"header_map": "dangerous"}],
    ids=["as the role has it", "forwarder_headers", "header_map"],
)
def test_an_app_behind_the_role_believes_nothing_that_a_caller_says_of_itself(tmp_path, settings):
    with believing(**settings) as app, balancer(tmp_path, app) as (port, logged):
        status, text = ask(port, "/admin/users", **CLAIMS)
    assert (status, json.loads(text)) == (
        200,
        {
            "SCRIPT_NAME": "",
            "PATH_INFO": "/admin/users",
            "wsgi.url_scheme": "http",
            "HTTP_X_FORWARDED_FOR": "127.0.0.1",
            "HTTP_X_FORWARDED_PROTO": "http",
        },
    )


@needs_haproxy
def test_a_service_may_tell_its_app_where_it_is_served(tmp_path):
    entry = {
        "options": ["http-request set-header SCRIPT_NAME /shop", "http-request set-header X-Forwarded-Prefix /shop"]
    }
    with (
        believing(forwarder_headers="SCRIPT_NAME") as app,
        balancer(tmp_path, app, entry, up="/shop/up") as (port, logged),
    ):
        believed = json.loads(ask(port, "/shop/up", **CLAIMS)[1])
    assert (believed["SCRIPT_NAME"], believed["PATH_INFO"]) == ("/shop", "/up")
    assert believed["HTTP_X_FORWARDED_PREFIX"] == "/shop"


#: A variable, a value, and the line of HAProxy's configuration that it makes.
LINES = {
    "load_balancer_timeout_connect": (7, "timeout connect 7s"),
    "load_balancer_timeout_client": (71, "timeout client 71s"),
    "load_balancer_timeout_server": (72, "timeout server 72s"),
    "load_balancer_timeout_queue": (73, "timeout queue 73s"),
    "load_balancer_timeout_request": (74, "timeout http-request 74s"),
    "load_balancer_timeout_keepalive": (75, "timeout http-keep-alive 75s"),
    "load_balancer_timeout_tunnel": (76, "timeout tunnel 76s"),
    "load_balancer_stop_timeout": (77, "hard-stop-after 77s"),
    "load_balancer_max_connections": (78, "maxconn 78"),
    "load_balancer_server_keepalive": (True, "http-reuse safe"),
    "load_balancer_check_interval": (79, "inter 79s"),
    "load_balancer_check_fall": (8, "fall 8"),
    "load_balancer_check_rise": (9, "rise 9"),
    "load_balancer_stats_bind": ("127.0.0.1:8404", "bind 127.0.0.1:8404"),
    "load_balancer_stats_user": ("operator", "stats auth operator:"),
    "load_balancer_stats_password": ("not-a-secret", ":not-a-secret"),
    "load_balancer_socket": ("/run/haproxy/own.sock", "stats socket /run/haproxy/own.sock"),
    "load_balancer_global": (["tune.maxrewrite 2048"], "tune.maxrewrite 2048"),
    "load_balancer_defaults": (["option forwardfor"], "option forwardfor"),
}
#: Shown by other tests: here, and the certificates by the scenario fleet.
ELSEWHERE = {"load_balancer_services", "load_balancer_certificates"}


@pytest.mark.parametrize("name", LINES)
def test_a_variable_makes_a_line_that_haproxy_takes(tmp_path, name):
    value, line = LINES[name]
    page = {"load_balancer_stats_bind": "127.0.0.1:8405", "load_balancer_stats_user": "u"} if "stats" in name else {}
    entry = {"name": "shop", "bind": "127.0.0.1:8000", "port": 9000}
    given = configuration(entry, {"load_balancer_address": "127.0.0.1"}, **{**page, name: value})
    assert re.search(rf"{re.escape(line)}(?!\d)", given)
    assert line not in configuration(entry, {"load_balancer_address": "127.0.0.1"}, **page)
    if shutil.which("haproxy"):
        (tmp_path / "haproxy.cfg").write_text(re.sub(r"^    (chroot|user|group) .*\n", "", given, flags=re.MULTILINE))
        done = subprocess.run(
            ["haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_variable_of_the_role_is_shown():
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert specs.keys() == LINES.keys() | ELSEWHERE
