# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts about an imported app that may not suit its workers. Collected in its trial.

Nothing here judges, and nothing is a text for people: `release/fit.py` on Ansible's side does that.
"""

from __future__ import annotations

import ast
import base64
import functools
import gc
import os
import random
import re
import sys
import threading
import uuid
from importlib import metadata
from pathlib import Path

#: Bounds of the facts that are collected.
MOST_FILES = 300
LARGEST_FILE = 512 * 1024
MOST_TOLD = 20

_random: set[bytes] = set()  # what came out of os.urandom while the app was imported


def watch_randomness() -> None:
    """Remember random bytes, to know a secret key that is made of them."""
    urandom = os.urandom

    def remembered(size):
        data = urandom(size)
        if size >= 8:
            _random.add(data)
        return data

    os.urandom = random._urandom = remembered


def traits(source: str, gevent: bool) -> dict:
    """The facts; *source* is the folder of the app, *gevent* says whether its workers are gevent's."""
    source = os.path.realpath(source)
    objects = _Objects(
        scheduler="apscheduler.schedulers.base.BaseScheduler",
        greenlet="gevent._gevent_cgreenlet.Greenlet",
        socketio="socketio.base_server.BaseServer",
        session="flask.sessions.SessionInterface",
        flask="flask.app.Flask",
        onnx="onnxruntime.capi.onnxruntime_inference_collection.InferenceSession",
    )
    return {
        "gevent": gevent,
        "packages": sorted({_normal(one.metadata["Name"] or "") for one in metadata.distributions()}),
        "modules": sorted({name.partition(".")[0] for name in list(sys.modules)}),
        "patches": [name for name, patched in _PATCHES.items() if patched()],
        "schedulers": [_name(type(one)) for one in objects.scheduler if getattr(one, "running", False)][:MOST_TOLD],
        "threads": sorted({*_threads(source), *_greenlets(objects.greenlet, source)})[:MOST_TOLD],
        "pools": list(_pools(source))[:MOST_TOLD],
        "sessions": sorted({*_socketio(objects.socketio), *_sessions(objects.session)}),
        "computing": list(_computing(objects.onnx)),
        "processors": len(os.sched_getaffinity(0)),
        "random_key": any(_is_random(getattr(one, "secret_key", None)) for one in objects.flask),
    }


class _Objects:
    """The living objects of some classes, as far as those are imported; an attribute for each."""

    def __init__(self, **classes: str):
        known = {name: _class(path) for name, path in classes.items()}
        names = {}
        for name in classes:
            setattr(self, name, [])
        for one in gc.get_objects():
            kind = type(one)  # not isinstance: what stands for another object would be asked
            if kind not in names:
                names[kind] = next((name for name, base in known.items() if base in kind.__mro__), None)
            if names[kind]:
                getattr(self, names[kind]).append(one)


def _class(path: str):
    module, _dot, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# -- drivers that wait in C, and what makes them wait for gevent --------------------------------------------------------


def _callback(module: str) -> bool:
    return bool(getattr(sys.modules.get(module), "get_wait_callback", lambda: None)())


_PATCHES = {
    "psycopg2": lambda: _callback("psycopg2.extensions"),
    "grpc": lambda: "grpc.experimental.gevent" in sys.modules,
    "zmq": lambda: "zmq.green" in sys.modules,
}


# -- what the import has started ----------------------------------------------------------------------------------------


def _threads(source: str):
    for thread in threading.enumerate():
        if thread is threading.main_thread() or not thread.is_alive():
            continue
        function = getattr(thread, "_target", None) or getattr(thread, "function", None) or type(thread).run
        if _place(function, source):
            yield f"{thread.name} ({_place(function, source)})"


def _greenlets(greenlets, source: str):
    for one in greenlets:
        place = _place(getattr(one, "_run", None), source)
        if place and not one.dead:
            yield f"greenlet ({place})"


def _place(function, source: str) -> str:
    """File and line of a function of the app's own; "" for any other."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    path = os.path.realpath(code.co_filename) if code else ""
    return f"{os.path.relpath(path, source)}:{code.co_firstlineno}" if path.startswith(source + os.sep) else ""


# -- pools of processes -------------------------------------------------------------------------------------------------


def _pools(source: str):
    """Where the app's own modules speak of pools of processes, used or not yet."""
    for path in sorted(_own_files(source))[:MOST_FILES]:
        try:
            text = Path(path).read_bytes()
            tree = ast.parse(text) if len(text) <= LARGEST_FILE else None
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        found = next(_pools_in(tree), None) if tree else None
        if found:
            yield f"{found[0]} ({os.path.relpath(path, source)}:{found[1]})"


def _own_files(source: str):
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        path = os.path.realpath(path) if isinstance(path, str) else ""
        if path.startswith(source + os.sep) and path.endswith(".py"):
            yield path


_POOLS = {
    "multiprocessing": {"Pool"},
    "multiprocessing.pool": {"Pool"},
    "concurrent.futures": {"ProcessPoolExecutor"},
    "concurrent.futures.process": {"ProcessPoolExecutor"},
    "joblib": {"Parallel"},
    "loky": {"get_reusable_executor", "ProcessPoolExecutor"},
}


def _pools_in(tree: ast.AST):
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name in _POOLS:
                    aliases[one.asname or one.name] = one.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for one in node.names:
                if one.name in _POOLS.get(node.module, ()):
                    yield f"{node.module}.{one.name}", node.lineno
                elif f"{node.module}.{one.name}" in _POOLS:
                    aliases[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = aliases.get(ast.unparse(node.value))
            if module is None and ast.unparse(node.value).partition("(")[0].endswith("get_context"):
                module = "multiprocessing"
            if node.attr in _POOLS.get(module, ()):
                yield f"{module}.{node.attr}", node.lineno


# -- threads that compute -----------------------------------------------------------------------------------------------


def _computing(sessions):
    """Libraries that compute with several threads, each with how many one process has: "torch 4"."""
    processors = len(os.sched_getaffinity(0))
    if torch := sys.modules.get("torch"):
        yield f"torch {torch.get_num_threads()}"
    if sessions:
        yield f"onnxruntime {max(one.get_session_options().intra_op_num_threads or processors for one in sessions)}"
    limit = os.environ.get("OMP_NUM_THREADS", "")
    for name in ("lightgbm", "xgboost"):
        if name in sys.modules:
            yield f"{name} {limit if limit.isdigit() else processors}"


# -- sessions -----------------------------------------------------------------------------------------------------------


def _socketio(servers):
    for server in servers:
        manager = type(getattr(server, "manager", None)).__mro__
        shared = any(base.__name__ in ("PubSubManager", "AsyncPubSubManager") for base in manager)
        transports = getattr(getattr(server, "eio", None), "transports", None)
        if not shared or list(transports or ()) != ["websocket"]:
            yield "socketio"


def _sessions(interfaces):
    memory = _class("cachelib.simple.SimpleCache")
    for one in interfaces:
        if memory and memory in map(type, list(getattr(one, "__dict__", {}).values())):
            yield "flask-session"


def _is_random(key) -> bool:
    key = key.encode() if isinstance(key, str) else key
    return isinstance(key, bytes) and any(key in _forms(data) for data in _random)


def _forms(data: bytes):
    yield data
    yield data.hex().encode()
    yield base64.urlsafe_b64encode(data).rstrip(b"=")
    yield base64.b64encode(data)
    if len(data) == 16:
        yield str(uuid.UUID(bytes=data, version=4)).encode()
        yield uuid.UUID(bytes=data, version=4).hex.encode()
