"""What is remembered stays right: gunicorn's own configuration and messages, with and without the shortcuts."""

import email.utils
import time
from types import SimpleNamespace

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import message, wsgi

from pygun_runtime import shortcuts


@pytest.fixture
def configured(monkeypatch):
    """Takes the shortcuts for the settings that it is given, until the test ends."""
    monkeypatch.setattr(util, "http_date", util.http_date)
    monkeypatch.setattr(wsgi, "Response", wsgi.Response)
    monkeypatch.setattr(message.HeaderPolicy, "_peer_is_trusted_proxy", message.HeaderPolicy._peer_is_trusted_proxy)

    def take(**settings):
        cfg = Config()
        for name, value in settings.items():
            cfg.set(name, value)
        shortcuts.take(cfg)
        return cfg

    return take


def test_every_setting_keeps_its_value(configured):
    plain = Config()
    settled = configured()
    for name in plain.settings:
        if not callable(getattr(plain, name)):
            assert getattr(settled, name) == getattr(plain, name), name


def test_a_setting_that_is_changed_later_is_seen(configured):
    cfg = configured(keepalive=5)
    cfg.set("keepalive", 7)
    assert cfg.keepalive == 7
    assert cfg.settings["keepalive"].get() == 7


def test_what_is_no_setting_is_refused_as_before(configured):
    cfg = configured()
    with pytest.raises(AttributeError):
        _ = cfg.no_such_setting
    with pytest.raises(AttributeError):
        cfg.keepalive = 3


def test_a_certificate_still_means_tls(configured):
    assert not configured().is_ssl
    assert configured(certfile="x.pem").is_ssl


@pytest.mark.parametrize(
    ("allowed", "peer", "trusted"),
    [
        ("127.0.0.1", ("127.0.0.1", 1), True),
        ("127.0.0.1", ("192.0.2.1", 1), False),
        ("192.0.2.0/24", ("192.0.2.77", 1), True),
        ("*", ("192.0.2.1", 1), True),
        ("127.0.0.1", "", True),  # a unix socket
        ("127.0.0.1", ("not an address", 1), False),
    ],
)
def test_who_is_a_trusted_proxy(configured, allowed, peer, trusted):
    cfg = configured(forwarded_allow_ips=allowed)
    request = SimpleNamespace(cfg=cfg, peer_addr=peer)
    for _again in range(2):
        assert message.HeaderPolicy._peer_is_trusted_proxy(request) is trusted


def test_the_date_is_that_of_the_second(configured, monkeypatch):
    configured()
    configured()  # as after a second worker boot in one process
    for now in (0.0, 1.9, 1_000_000_000.4):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert util.http_date() == email.utils.formatdate(int(now), usegmt=True)
    assert util.http_date(86400) == "Fri, 02 Jan 1970 00:00:00 GMT"


class _Socket:
    def __init__(self):
        self.sent = []

    def sendall(self, data):
        self.sent.append(bytes(data))


def answer(cfg, pieces, status="200 OK", headers=(), method="GET"):
    """What is sent for a request: one entry per call."""
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    sock = _Socket()
    response = wsgi.Response(request, sock, cfg)
    response.start_response(status, list(headers))
    for piece in pieces:
        response.write(piece)
    response.close()
    return sock.sent, response


ANSWERS = {
    "a short body": ([b"hello"], {"headers": [("Content-Length", "5")]}),
    "two pieces": ([b"hel", b"lo"], {"headers": [("Content-Length", "5")]}),
    "more than it says": ([b"hello, world"], {"headers": [("Content-Length", "5")]}),
    "chunks": ([b"hel", b"lo"], {}),
    "an empty piece first": ([b"", b"hello"], {}),
    "nothing": ([], {"headers": [("Content-Length", "0")]}),
    "HEAD": ([b"hello"], {"headers": [("Content-Length", "5")], "method": "HEAD"}),
    "204": ([b"hello"], {"status": "204 No Content"}),
    "a large body": ([b"x" * 100_000], {"headers": [("Content-Length", "100000")]}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_same_bytes_are_sent(configured, monkeypatch, name):
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    pieces, form = ANSWERS[name]
    plain, response = answer(Config(), pieces, **form)
    fewer, ours = answer(configured(), pieces, **form)
    assert b"".join(fewer) == b"".join(plain)
    assert (ours.sent, ours.headers_sent) == (response.sent, response.headers_sent)
    assert len(fewer) == len(plain) - (name in ("a short body", "two pieces", "more than it says", "chunks"))


def test_a_body_that_is_no_bytes_is_refused_after_the_headers_as_before(configured):
    with pytest.raises(TypeError):
        answer(configured(), ["hello"])
