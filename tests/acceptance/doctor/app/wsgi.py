"""An app that can be made to fail while it serves: what each path does is what some real app does by mistake."""

import hashlib

from gevent.monkey import get_original


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/blocks":
        wait_without_gevent()
    elif path == "/computes":
        compute()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"well\n"]


def wait_without_gevent():
    """As a driver written in C waits for its server: gevent cannot switch to another request."""
    get_original("time", "sleep")(60)


def compute():
    """One call into C that takes long and lets no signal handler run meanwhile."""
    hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 50_000_000)
