"""supervisor's web page under the role's launcher: a browser that another site uses, names, guesses, frames."""

import base64
import contextlib
import hashlib
import http.client
import select
import shutil
import socket
import xmlrpc.client
from pathlib import Path

import pytest

from tests.component.supervised import eventually
from tests.component.supervisor.test_sockets import Host, free_port

USER, PASSWORD = "operator", "only-for-this-test"
PAGE = """
[inet_http_server]
port=127.0.0.1:{port}
username={user}
password={{SHA}}{digest}
hosts=web1.internal ops.example.com ; of a proxy
"""
STOP = "/index.html?processname=other&action=stop"


class Page:
    def __init__(self, host, port):
        self.host, self.port = host, port
        self.own = f"127.0.0.1:{port}"

    def ask(self, path="/", method="GET", password=PASSWORD, body=None, **headers):
        """Status, headers and text of an answer; the header `Sec-Fetch-Site` is `sec_fetch_site` here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if password is not None:
            sent.setdefault("Authorization", "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode())
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def log(self):
        return (self.host.folder / "supervisord.log").read_text()


@contextlib.contextmanager
def booted():
    made, port = Host(), free_port()
    digest = hashlib.sha1(PASSWORD.encode()).hexdigest()
    with Path(made.folder / "supervisord.conf").open("a") as conf:
        conf.write(PAGE.format(port=port, user=USER, digest=digest))
    try:
        made.boot()
        yield Page(made, port)
    finally:
        made.shut_down()
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def page():
    with booted() as made:
        yield made


@pytest.fixture
def fresh_page():
    with booted() as made:
        yield made


def runs(host):
    return host.supervisor.process("other").state == "RUNNING"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},  # an app on another port of the host
        {"referer": "http://evil.example/"},
        {"referer": "http://127.0.0.1:5000/", "sec_fetch_site": "same-origin"},
        {"origin": "null"},
        {},  # a page that says no-referrer, over plain HTTP
    ],
)
@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        (STOP, "GET", None),
        ("/?%61ction=stopall", "GET", None),
        ("/index.html%3Faction=stopall", "GET", None),
        ("/", "POST", "action=stopall"),
    ],
)
def test_another_site_stops_nothing(page, path, method, body, headers):
    status, _, text = page.ask(path, method, body=body, **headers)
    assert status == 403 and "Open supervisor's page itself" in text
    assert runs(page.host)


def test_another_site_reaches_no_xml_rpc_while_programs_do(page):
    call = xmlrpc.client.dumps((), "supervisor.stopAllProcesses")
    assert page.ask("/RPC2", "POST", body=call, origin="http://evil.example")[0] == 403
    assert runs(page.host)
    proxy = xmlrpc.client.ServerProxy(f"http://{USER}:{PASSWORD}@{page.own}/RPC2")
    assert proxy.supervisor.getState()["statename"] == "RUNNING"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin", "referer": "http://{own}/"},
        {"referer": "http://{own}/"},  # a page that is published without TLS
        {"referer": "https://ops.example.com/", "sec_fetch_site": "same-origin"},  # behind a proxy
        {"sec_fetch_site": "none"},  # a bookmark
    ],
)
def test_the_page_itself_stops_a_program(page, headers):
    status, answered, _ = page.ask(STOP, **{name: text.format(own=page.own) for name, text in headers.items()})
    assert status == 301 and answered["Location"].startswith(f"http://{page.own}/")
    assert not runs(page.host)
    page.host.supervisor.call("supervisor.startProcess", "other")


@pytest.mark.parametrize("name", ["evil.example", "evil.example:9001", "", "[::1", "web1.internal.evil.example"])
def test_a_foreign_name_is_refused(page, name):
    status, _, text = page.ask(host=name)
    assert status == 403 and "supervisor_http_hosts" in text


@pytest.mark.parametrize("name", ["web1.internal:9001", "localhost", "127.0.0.1:1", "[::1]:9001", "OPS.example.com"])
def test_names_of_the_host_are_known_and_no_other_page_may_frame_it(page, name):
    status, headers, text = page.ask(host=name)
    assert status == 200 and "Supervisor" in text
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_guesses_are_few_and_what_is_refused_is_logged(fresh_page):
    page = fresh_page
    assert page.ask(STOP)[0] == 403
    assert "web page: a caller from 127.0.0.1 was refused: nothing says which site" in page.log()
    answers = [page.ask(password=f"guess {number}")[0] for number in range(14)]
    assert answers == [401] * 10 + [429] * 4
    assert page.ask()[0] == 429, "the right password is no oracle"
    assert page.ask(password=None)[0] == 401
    assert page.log().count("sent a wrong user or password") == 10
    eventually(lambda: page.ask()[0] == 200, 20)


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ====", basic(USER), basic(f"{USER}:"), basic(f"someone:{PASSWORD}"), "Digest x", ""],
)
def test_what_is_no_password_is_a_wrong_one(page, header):
    assert page.ask(password=None, Authorization=header)[0] == 401
    assert "Traceback" not in (page.host.folder / "supervisord.out").read_text()
    assert "Server Error" not in page.log()
    assert page.ask()[0] == 200


def test_an_endless_header_is_not_kept(page):
    with pytest.raises((http.client.HTTPException, OSError)):
        page.ask(x_long="a" * 200_000)
    assert page.ask()[0] == 200


def test_connections_that_are_held_open_are_few(page):
    """Whoever is on the host can open them, and supervisord needs descriptors to start the programs of all."""
    with contextlib.ExitStack() as held:
        sockets = [
            held.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=10)) for _ in range(130)
        ]
        assert page.ask()[0] == 200
        ready, _, _ = select.select(sockets, [], [], 0)
        assert [one.recv(1) for one in ready] == [b""] * 31
    assert page.ask()[0] == 200


def test_who_has_the_password_can_do_what_is_written_down(page):
    """SECURITY.md lists it. No method runs a program of one's own, or reads another file than a log."""
    proxy = xmlrpc.client.ServerProxy(f"http://{USER}:{PASSWORD}@{page.own}/RPC2")
    names = {name.partition(".")[2] for name in proxy.system.listMethods() if name.startswith("supervisor.")}
    assert {name for name in names if not name.startswith("get")} == {
        *("startProcess", "startProcessGroup", "startAllProcesses", "stopProcess", "stopProcessGroup", "stopAllProcesses"),
        *("signalProcess", "signalProcessGroup", "signalAllProcesses", "sendProcessStdin", "sendRemoteCommEvent"),
        *("readLog", "readMainLog", "readProcessLog", "readProcessStdoutLog", "readProcessStderrLog"),
        *("tailProcessLog", "tailProcessStdoutLog", "tailProcessStderrLog"),
        *("clearLog", "clearProcessLog", "clearProcessLogs", "clearAllProcessLogs"),
        *("reloadConfig", "addProcessGroup", "removeProcessGroup", "restart", "shutdown"),
    }  # fmt: skip
