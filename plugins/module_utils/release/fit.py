# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find what does not suit the workers in an app, by the facts of its trial.

The facts are those of `pygun_runtime/traits.py`. An app could have written them, so they are bounded. A release of an older runtime has none.
The guide "Does it fit my app?" has a row for each code.
"""

from __future__ import annotations

import typing as t

_MOST = 5  # names in one sentence
_LONGEST = 200  # characters of a name

_OTHER_WORKER = "set flask_app_worker_class: gthread"

#: Distributions whose drivers wait in C: what to do to make them wait for gevent, and the patch by which a trial knows that it was done.
DRIVERS: dict[str, tuple[str, str]] = {
    "psycopg2": ("require psycogreen and call psycogreen.gevent.patch_psycopg(), or use psycopg 3", "psycopg2"),
    "mysqlclient": ("use PyMySQL", ""),
    "mysql-connector-python": ("connect with use_pure=True", ""),
    "mariadb": ("use PyMySQL", ""),
    "grpcio": ("call grpc.experimental.gevent.init_gevent() before the first channel", "grpc"),
    "cx-oracle": ("", ""),
    "oracledb": ("", ""),
    "pyodbc": ("", ""),
    "pymssql": ("call pymssql.set_wait_callback() as its documentation shows", ""),
    "ibm-db": ("", ""),
    "turbodbc": ("", ""),
    "python-ldap": ("use ldap3", ""),
    "pylibmc": ("use pymemcache", ""),
    "pycurl": ("use requests", ""),
    "confluent-kafka": ("use kafka-python", ""),
}
_SAME = {"psycopg2-binary": "psycopg2"}

#: Distributions that ask for asgiref, and are no sign of Flask's own asynchronous views.
_USERS_OF_ASGIREF = {"django", "connexion", "opentelemetry-instrumentation-asgi", "channels", "daphne"}

_OPENMP = 'Set OMP_NUM_THREADS in flask_app_env, such as flask_app_env: {OMP_NUM_THREADS: "1"}'
#: Libraries that compute with several threads: how to have fewer.
_LIMITS = {
    "torch": _OPENMP,
    "lightgbm": _OPENMP,
    "xgboost": _OPENMP,
    "onnxruntime": "Give InferenceSession a SessionOptions with intra_op_num_threads = 1",
}

_SESSIONS = {
    "socketio": "Socket.IO keeps sessions and rooms in the memory of one worker, and other requests and events reach others. Give SocketIO a"
    ' message_queue and transports=["websocket"] (the clients too), or run one worker: flask_app_instances: 1 and flask_app_workers: 1.',
    "flask-session": "Flask-Session keeps sessions in the memory of one worker (SimpleCache), and the next request of a client may reach"
    " another. Keep them in Redis, in the database, or in signed cookies, as Flask does without it.",
}

_IN_MEMORY = {
    "sqlalchemy": "The app's database is SQLite in memory (sqlite://): each worker has another, and it is gone with the worker. Give it the address of"
    " a database in flask_app_env, or a file below the app's shared directory.",
    "flask-limiter": "Flask-Limiter counts in the memory of each worker, so a limit holds for each of them, and not for the app. Give it a storage_uri,"
    " such as redis://.",
}


def misfits(facts: dict[str, t.Any], instances: int) -> list[dict[str, str]]:
    """The misfits of an app, each with a code, a subject, and a sentence that says what to do."""
    found = []
    if facts.get("gevent") is True:
        found += [_misfit("blocking_driver", name, text) for name, text in _drivers(facts)]
        pools = _names(facts, "pools")
        if pools:
            text = (
                f"The app uses pools or managers of processes, {pools}. In a gevent worker they can block the whole worker, fail or never answer:"
                f" {_OTHER_WORKER}, or give the work to a program of its own (flask_app_programs)."
            )
            found.append(_misfit("process_pool", pools, text))
        found += _loops(facts)
    found += _started(facts)
    found += _lacks(facts)
    keyless = _names(facts, "keyless")
    if keyless:
        text = (
            f"The app has no secret_key, and uses what needs one, {keyless}: requests that do fail with 500. Set a fixed one in flask_app_env, such as"
            ' SECRET_KEY, and have the app read it: app.secret_key = os.environ["SECRET_KEY"].'
        )
        found.append(_misfit("no_key", "secret_key", text))
    workers = facts.get("workers")
    total = instances * (workers if isinstance(workers, int) else 1)
    found += _oversubscribed(facts, total)
    if total > 1:
        found += [
            _misfit("session_in_memory", name, _SESSIONS[name])
            for name in _list(facts, "sessions")
            if name in _SESSIONS
        ]
        found += [
            _misfit("data_in_memory", name, _IN_MEMORY[name])
            for name in _list(facts, "in_memory")
            if name in _IN_MEMORY
        ]
        keys = _names(facts, "random_keys") or ("secret_key" if facts.get("random_key") is True else "")
        if keys:
            text = (
                f"The app makes {keys} at random as it is imported: each worker has another, and takes no session or token of the others. Set"
                " it in flask_app_env and read it from os.environ."
            )
            found.append(_misfit("random_key", keys, text))
        rotating = _names(facts, "rotating")
        if rotating:
            text = (
                f"The app rotates log files of its own, {rotating}: {total} workers do so on the same file, and lines get lost. Have it log to the"
                " console instead: the log of the instance keeps the lines with their level, and is rotated."
            )
            found.append(_misfit("rotating_log", rotating, text))
    return found


def _misfit(code: str, subject: str, text: str) -> dict[str, str]:
    return {"code": code, "subject": subject, "text": text}


def _lacks(facts: dict[str, t.Any]) -> t.Iterator[dict[str, str]]:
    """What requests will miss that the health check does not."""
    if variables := _names(facts, "variables"):
        yield _misfit(
            "variable_missing",
            variables,
            f"The app reads variables that its environment does not have, {variables}: requests that do end in KeyError. Set them in flask_app_env.",
        )
    if missing := _names(facts, "missing"):
        yield _misfit(
            "asset_missing",
            missing,
            f"The app names templates or static files that its release does not have, {missing}. If git ignores them, flask_app_include takes them"
            " along. If a step of its own makes them, run that before the deploy. If the source is installed as a package, it has to declare its data.",
        )
    if ports := _names(facts, "listens"):
        yield _misfit(
            "port_at_import",
            ports,
            f"The app opens ports of its own as it is imported, {ports}. One process can have a port, and a release is tried next to the one that serves,"
            " so other workers and later deploys fail. Serve that under a path of the app, or in a program of its own (flask_app_programs), or open"
            ' it only if os.environ.get("PYGUN_WORKER") is "0-0".',
        )


def _drivers(facts: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    packages, patches = _list(facts, "packages"), _list(facts, "patches")
    installed = {_SAME.get(name, name): name for name in packages}
    for name, (remedy, patch) in DRIVERS.items():
        if name in installed and patch not in patches and not (name == "psycopg2" and "psycogreen" in packages):
            text = (
                f"The release has {installed[name]}, whose calls wait in C: each of them holds all requests of a gevent worker up."
                f" {remedy[:1].upper() + remedy[1:] + ', or ' + _OTHER_WORKER if remedy else _OTHER_WORKER[:1].upper() + _OTHER_WORKER[1:]}."
            )
            yield installed[name], text


def _loops(facts: dict[str, t.Any]) -> t.Iterator[dict[str, str]]:
    """Event loops beside gevent's."""
    packages, modules = _list(facts, "packages"), _list(facts, "modules")
    if "eventlet" in modules:
        yield _misfit(
            "eventlet",
            "eventlet",
            "The app loads eventlet, whose event loop and patches do not get along with gevent's. Take it out of the requirements (Flask-SocketIO then"
            " finds gevent by itself), and with it eventlet.monkey_patch(); gunicorn patches for gevent.",
        )
    loops = _names(facts, "loops")
    if loops:
        yield _misfit(
            "event_loop",
            loops,
            f"The app runs event loops of asyncio, {loops}. In a gevent worker, requests that do so fail when there are several at a time: all share"
            f" one thread, and it has one loop. If requests do it, {_OTHER_WORKER}.",
        )
    # Flask asks for it in its extra `async`, and loads it at the first request to such a view.
    if "asgiref" in packages and "flask" in modules and not _USERS_OF_ASGIREF & set(packages):
        yield _misfit(
            "async_view",
            "asgiref",
            "The release has asgiref, by which Flask runs views of `async def`. In a gevent worker, requests to such views fail when there are"
            f" several at a time (asyncio.run() cannot be called from a running event loop). If the app has such views, {_OTHER_WORKER}.",
        )


def _started(facts: dict[str, t.Any]) -> t.Iterator[dict[str, str]]:
    """Schedulers and threads that the import has started. With preload, the trial itself warns of threads."""
    once = (
        " run in every worker, and ran in the trial. If one is enough, make it a program of its own (flask_app_programs), or"
        ' start it only if os.environ.get("PYGUN_WORKER") is "0-0".'
    )
    schedulers, threads = _names(facts, "schedulers"), _names(facts, "threads")
    if schedulers:
        yield _misfit(
            "scheduler_at_import",
            schedulers,
            f"The app starts schedulers as it is imported, {schedulers}: their jobs{once}",
        )
    if threads and not facts.get("preload"):
        yield _misfit("thread_at_import", threads, f"The app starts threads as it is imported, {threads}: they{once}")


def _oversubscribed(facts: dict[str, t.Any], workers: int) -> t.Iterator[dict[str, str]]:
    """Libraries that start threads for every processor, in workers that are one for every processor already."""
    processors = facts.get("processors")
    for one in _list(facts, "computing"):
        name, _space, threads = one.partition(" ")
        if name not in _LIMITS or not threads.isdecimal() or not isinstance(processors, int):
            continue
        if workers > 1 and 1 < int(threads[:6]) and workers * int(threads[:6]) >= 2 * max(processors, 1):
            yield _misfit(
                "thread_oversubscription",
                name,
                f"{name} computes with {threads[:6]} threads in each of {workers} workers, and the host has {processors} processors: under"
                f" load the workers slow each other down. {_LIMITS[name]}, or run fewer workers (flask_app_instances, flask_app_workers).",
            )


def _list(facts: dict[str, t.Any], name: str) -> list[str]:
    value = facts.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _names(facts: dict[str, t.Any], name: str) -> str:
    value = _list(facts, name)
    shown = ["".join(sign if sign.isprintable() else " " for sign in one[:_LONGEST]) for one in value[:_MOST]]
    return ", ".join(shown) + (", ..." if len(value) > _MOST else "")
