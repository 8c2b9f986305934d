# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secret keys that an app makes at random as it is imported: each worker has another, and takes no session of the others."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import re
import secrets
import sys
import uuid

#: Bounds of what is remembered.
MOST = 5_000
#: A shorter part of a key could be there by chance.
SHORTEST = 8

_SECRET = re.compile(r"SECRET|KEY|SALT|TOKEN")

_bytes: list[bytes] = []  # what came out of os.urandom while the app was imported
_signs: list[str] = []  # what random and secrets have chosen, one after the other
_texts: list[str] = []


def watch() -> None:
    """Remember what is random, to know a key that is made of it."""
    os.urandom = random._urandom = _noting(os.urandom, _bytes.append)
    uuid.uuid1 = _noting(uuid.uuid1, lambda made: _texts.extend([str(made), made.hex]))
    for name in ("choice", "choices", "sample"):
        chosen = _noting(getattr(random.Random, name), _note_signs)
        setattr(random.Random, name, chosen)
        with contextlib.suppress(AttributeError):
            setattr(random, name, getattr(random._inst, name))
    with contextlib.suppress(AttributeError):
        secrets.choice = secrets._sysrand.choice


def _noting(function, note):
    def noted(*arguments, **options):
        made = function(*arguments, **options)
        if max(map(len, (_bytes, _signs, _texts))) < MOST:
            note(made)
        return made

    return noted


def _note_signs(made) -> None:
    _signs.extend(one for one in (made if isinstance(made, list) else [made]) if isinstance(one, str) and len(one) == 1)


def random_keys(apps, modules) -> list[str]:
    """Names in the configuration of these Flask apps, and of constants in these modules, whose values are random."""
    forms = {form for data in _bytes for form in _forms(data)} | {text.encode() for text in _texts}
    forms = {form for form in forms if len(form) >= SHORTEST}
    chosen = "".join(_signs).encode()
    found = set()
    for values in [*(getattr(app, "config", {}) for app in apps), *(getattr(one, "__dict__", {}) for one in modules)]:
        for name, value in dict(values).items():
            if not isinstance(name, str) or not name.isupper() or not _SECRET.search(name):
                continue
            value = value.encode(errors="replace") if isinstance(value, str) else value
            if isinstance(value, bytes) and len(value) >= SHORTEST:
                if value in chosen or any(form in value for form in forms):
                    found.add(name)
    return sorted(found)


def _forms(data: bytes):
    """What random bytes are made into."""
    yield data
    yield data.hex().encode()
    yield base64.urlsafe_b64encode(data).rstrip(b"=")
    yield base64.b64encode(data).rstrip(b"=")
    yield repr(data).encode()
    for made in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512):
        yield made(data, usedforsecurity=False).hexdigest().encode()
    if len(data) == 16:
        yield str(uuid.UUID(bytes=data, version=4)).encode()
        yield uuid.UUID(bytes=data, version=4).hex.encode()


def keyless(apps) -> bool:
    """Whether no Flask app has what its signed cookies need."""
    sessions = getattr(sys.modules.get("flask.sessions"), "SecureCookieSessionInterface", None)
    return bool(apps and sessions) and all(
        isinstance(getattr(app, "session_interface", None), sessions)
        and not getattr(app, "config", {}).get("SECRET_KEY")
        for app in apps
    )
