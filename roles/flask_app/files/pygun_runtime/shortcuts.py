# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same answers with less work: skip steps that gunicorn repeats for each request although their result is known.

Together it is a fifth of the processor time that a short request costs; `make bench` measures what is left. Like the
worker that uses it, this file depends on internals of gunicorn: see runtime.TESTED_GUNICORN.
"""

from __future__ import annotations

import time
from functools import lru_cache

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import message, wsgi

#: Up to this size, copying a piece of a body costs less than one more system call and packet (bytes).
MOST_COPIED = 64 * 1024

#: Callers whose trustworthiness is remembered.
MOST_REMEMBERED = 1024


def take(cfg: Config) -> None:
    """Called by a worker once its settings are final."""
    _settle(cfg)
    _remember_trusted_proxies(cfg)
    _make_one_date_a_second()
    wsgi.Response = Response


class _SettledConfig(Config):
    """Settings that are plain attributes: gunicorn asks for some twenty in each request, through two calls each."""

    def set(self, name, value):
        super().set(name, value)
        vars(self)[name] = self.settings[name].get()


def _settle(cfg: Config) -> None:
    if cfg.__class__ is Config:
        vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})
        cfg.__class__ = _SettledConfig


def _remember_trusted_proxies(cfg: Config) -> None:
    """Whether a peer's address is one of forwarded_allow_ips."""

    @lru_cache(MOST_REMEMBERED)
    def trusted(address: str) -> bool:
        return message._ip_in_allow_list(address, cfg.forwarded_allow_ips, cfg.forwarded_allow_networks())

    def peer_is_trusted_proxy(request) -> bool:
        return not isinstance(request.peer_addr, tuple) or trusted(request.peer_addr[0])

    message.HeaderPolicy._peer_is_trusted_proxy = peer_is_trusted_proxy


def _make_one_date_a_second() -> None:
    """The header Date tells seconds."""
    of = util.http_date
    for_second = lru_cache(1)(of)

    def http_date(timestamp=None):
        return for_second(int(time.time())) if timestamp is None else of(timestamp)

    util.http_date = http_date


class _Pieces(list):
    """Collect the bytes instead of sending them."""

    sendall = list.append


class Response(wsgi.Response):
    """Sends the headers together with the first piece of the body."""

    def write(self, arg):
        if self.headers_sent or not isinstance(arg, bytes) or len(arg) > MOST_COPIED:
            super().write(arg)
            return
        sock = self.sock
        pieces = self.sock = _Pieces()
        try:
            super().write(arg)
        finally:
            self.sock = sock
        sock.sendall(b"".join(pieces))
