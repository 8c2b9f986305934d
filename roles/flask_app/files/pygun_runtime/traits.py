# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts about an imported app that may not suit its workers. Collected in its trial.

Nothing here judges, and nothing is a text for people: `release/fit.py` on Ansible's side does that.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import re
import sys
import threading
from importlib import metadata

from . import assets, keys, mentions

#: Bound of the facts that are collected.
MOST_TOLD = 20


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
        engine="sqlalchemy.engine.base.Engine",
        limits="limits.storage.memory.MemoryStorage",
        sink="loguru._file_sink.FileSink",
    )
    spoken = mentions.mentions(source)
    return {
        "gevent": gevent,
        "packages": sorted({_normal(one.metadata["Name"] or "") for one in metadata.distributions()}),
        "modules": sorted({name.partition(".")[0] for name in list(sys.modules)}),
        "patches": [name for name, patched in _PATCHES.items() if patched()],
        "schedulers": [_name(type(one)) for one in objects.scheduler if getattr(one, "running", False)][:MOST_TOLD],
        "threads": sorted({*_threads(source), *_greenlets(objects.greenlet, source)})[:MOST_TOLD],
        "pools": spoken["pools"][:MOST_TOLD],
        "loops": [] if "nest_asyncio" in sys.modules else spoken["loops"][:MOST_TOLD],
        "sessions": sorted({*_socketio(objects.socketio), *_sessions(objects.session)}),
        "computing": list(_computing(objects.onnx)),
        "processors": len(os.sched_getaffinity(0)),
        "variables": [one for one in spoken["variables"] if one.partition(" ")[0] not in os.environ][:MOST_TOLD],
        "missing": assets.missing(objects.flask, spoken["templates"])[:MOST_TOLD],
        "listens": sorted({*_ports()})[:MOST_TOLD],
        "in_memory": sorted({*_databases(objects.engine), *(["flask-limiter"] if objects.limits else [])}),
        "rotating": sorted({*_rotating(objects.sink)})[:MOST_TOLD],
        "random_keys": keys.random_keys(objects.flask, mentions.own_modules(source))[:MOST_TOLD],
        "keyless": [*_users_of_cookies(), *spoken["cookies"]][:MOST_TOLD] if keys.keyless(objects.flask) else [],
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


# -- data, logs and keys ------------------------------------------------------------------------------------------------


def _databases(engines):
    for engine in engines:
        url = getattr(engine, "url", None)
        if getattr(url, "drivername", "").startswith("sqlite") and url.database in (None, "", ":memory:"):
            yield "sqlalchemy"


def _rotating(sinks):
    """Files of logs that a process rotates by itself, without asking others."""
    for reference in list(logging._handlerList):
        handler = reference() if callable(reference) else reference
        if type(handler).__module__ == "logging.handlers" and hasattr(handler, "doRollover"):
            yield os.path.basename(handler.baseFilename)
    for sink in sinks:
        if getattr(sink, "_rotation_function", None):
            yield os.path.basename(str(getattr(sink, "_path", "")))


def _ports():
    """The ports on which this process listens, besides those that the kernel has chosen."""
    lowest, highest = map(int, _read("/proc/sys/net/ipv4/ip_local_port_range").split() or (32768, 60999))
    own = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/self/fd/{name}"))
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/self/net/{table}").splitlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own and not lowest <= port <= highest:
                yield str(port)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def _users_of_cookies():
    return [name for name in ("flask_login", "flask_wtf") if name in sys.modules]
