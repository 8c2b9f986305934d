"""A release that cannot serve never does, says why, and ends in bounded time; one that can is not held back."""

import itertools
import re
import signal
import time

import pytest

HEALTH = "health_path='/healthz', boot_timeout=4"
PLAIN = (
    "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"
)


def answering(health):
    """An app whose health endpoint runs the statements *health* and answers with the status they set."""
    body = "".join(f"        {line}\n" for line in health.splitlines())
    return (
        "import ctypes, os, re, time\n"
        "def app(environ, start_response):\n"
        "    status = '200 OK'\n"
        "    if environ['PATH_INFO'] == '/healthz':\n"
        f"{body}"
        "    start_response(status, [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )


# A mutex that is locked twice, holding the interpreter: neither signals nor other threads get a word in.
STUCK_IN_C = """
import ctypes
libc = ctypes.PyDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""

FAILING_IMPORTS = {
    "syntax error": ("def app(:\n", "SyntaxError"),
    "import error": ("import a_module_that_does_not_exist\n" + PLAIN, "a_module_that_does_not_exist"),
    "missing attribute": ("application = 1\n", "Failed to find attribute 'app' in 'wsgi'"),
    "sys.exit": ("import sys\nsys.exit(2)\n", "3 workers in a row ended before they were ready"),
    "sys.exit(0)": ("import sys\nsys.exit(0)\n", "3 workers in a row ended before they were ready"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)\n", "SIGSEGV"),
    "hang": ("import time\ntime.sleep(60)\n", "not ready within 4 s; it is at:"),
    "hang behind except Exception": (
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except Exception:\n        pass\n",
        "not ready within 4 s; it is at:",
    ),
    "hang behind a bare except": (
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except:\n        pass\n",
        "Timeout (0:00:06)!",  # faulthandler's
    ),
    "busy loop": ("while True:\n    pass\n", "not ready within 4 s; it is at:"),
    "stuck in C": (STUCK_IN_C, "Timeout (0:00:06)!"),
}

FAILING_HEALTH = {
    "503": ("status = '503 Service Unavailable'", "GET /healthz answered 503 Service Unavailable"),
    "404": ("status = '404 Not Found'", "GET /healthz answered 404 Not Found"),
    "exception": ("raise KeyError('dsn')", "GET /healthz raised KeyError"),
    "hang": ("time.sleep(60)", "GET /healthz gave no answer within"),
    "busy loop": ("while True: pass", "GET /healthz gave no answer within"),
    "stuck in C": (STUCK_IN_C, "Timeout (0:0"),
    "exit": ("os._exit(1)", "3 workers in a row"),
    "no answer": ("return []", "did not call start_response"),
}


#: With PYGUN_FULL=1 only: another one ends in the same way, and tests/component/diagnosis has the words of each.
RARE = {"syntax error", "missing attribute", "sys.exit(0)", "busy loop"}


@pytest.mark.parametrize(
    "cause", [pytest.param(cause, marks=[pytest.mark.full] * (cause in RARE)) for cause in FAILING_IMPORTS]
)
def test_an_app_that_cannot_be_imported_ends_its_instance(host, cause):
    app, message = FAILING_IMPORTS[cause]
    instance = host.start(app=app, runtime=HEALTH)
    start = time.monotonic()
    assert instance.wait_exit() != 0
    assert time.monotonic() - start < 30
    said = instance.log().partition("Timeout (0:00")[0]
    assert message in (instance.log() if message.startswith("Timeout") else said)  # the watchdog is the last resort
    assert instance.ready() == []


@pytest.mark.parametrize(
    "cause",
    ["import error", "sys.exit", "hang", "stuck in C", pytest.param("busy loop", marks=pytest.mark.full)],
)
def test_with_preload_the_import_in_the_master_is_bounded_as_well(host, cause):
    app, message = FAILING_IMPORTS[cause]
    instance = host.start(app=app, runtime=HEALTH, preload_app=True)
    start = time.monotonic()
    assert instance.wait_exit() != 0
    assert time.monotonic() - start < 30
    message = {"sys.exit": ""}.get(cause, message).replace("not ready", "not up")
    assert message in instance.log()


@pytest.mark.parametrize(
    "cause", [pytest.param(cause, marks=[pytest.mark.full] * (cause == "404")) for cause in FAILING_HEALTH]
)
def test_a_gated_worker_that_fails_its_health_check_never_serves(host, cause):
    health, message = FAILING_HEALTH[cause]
    instance = host.start(app=answering(health), runtime=HEALTH, gate=True)
    assert instance.wait_exit() != 0
    assert message in instance.log()
    assert "127.0.0.1" not in instance.log().replace("http://127.0.0.1", "")


@pytest.mark.parametrize("cause", ["503", "exception", "hang", pytest.param("busy loop", marks=pytest.mark.full)])
def test_without_a_gate_an_unhealthy_app_serves_and_says_so(host, cause):
    health, message = FAILING_HEALTH[cause]
    instance = host.start(app=answering(health), runtime=HEALTH).wait_ready()
    assert host.get("/")[0] == 200
    assert message in instance.log()
    assert "serving all the same" in instance.log()
    assert message in instance.ready()[0]["health"]


def few(first, second, few_of_both):
    """All pairs with PYGUN_FULL=1; without it *few_of_both*, in which each stands once."""
    pairs = itertools.product(first, second)
    return [pytest.param(*pair, marks=() if pair in few_of_both else pytest.mark.full) for pair in pairs]


@pytest.mark.parametrize(
    ("cause", "worker_class"),
    few(
        ("hang", "busy loop", "stuck in C"),
        ("'gevent'", "'sync'", "'gthread'"),
        {("hang", "'gevent'"), ("busy loop", "'gthread'"), ("stuck in C", "'sync'")},
    ),
)
def test_every_worker_class_is_bounded(host, cause, worker_class):
    app, message = FAILING_IMPORTS[cause]
    instance = host.start(app=app, runtime=HEALTH, worker_class=worker_class)
    assert instance.wait_exit() != 0
    assert message in instance.log()


@pytest.mark.parametrize("worker_class", ["'sync'", "'gthread'"])
def test_every_worker_class_is_gated(host, worker_class):
    instance = host.start(app=answering("time.sleep(60)"), runtime=HEALTH, worker_class=worker_class, gate=True)
    assert instance.wait_exit() == 3
    assert "refusing to serve: GET /healthz gave no answer" in instance.log()


def test_the_log_shows_where_an_import_hangs(host):
    instance = host.start(
        app="import time\ndef connect_to_the_database():\n    time.sleep(60)\nconnect_to_the_database()\n",
        runtime=HEALTH,
    )
    assert instance.wait_exit() == 3
    assert "in connect_to_the_database" in instance.log()


def test_several_workers_that_fail_at_once_end_the_instance_in_order(host):
    instance = host.start(app="import time\ntime.sleep(0.3)\n1 / 0\n", workers=4)
    assert instance.wait_exit() == 3
    assert "Shutting down: Master" in instance.log()
    assert "HaltServer" not in instance.log()
    assert list(instance.run.iterdir()) == []


def test_a_worker_respawned_in_a_gated_master_serves_although_its_check_fails(host, eventually):
    flag = host.folder / "down"
    app = answering(f"if os.path.exists({str(flag)!r}): status = '503 Service Unavailable'")
    instance = host.start(app=app, runtime=HEALTH, gate=True).wait_ready()
    assert instance.ready()[0]["health"] == "ok"
    old = instance.workers()
    flag.touch()
    instance.signal(signal.SIGHUP)  # the next worker boots while a dependency is down
    eventually(lambda: instance.workers() and set(old).isdisjoint(instance.workers()), what=instance.log)
    assert host.get("/")[0] == 200
    assert instance.ready()[0]["health"].startswith("failed: GET /healthz answered 503")


def test_whoever_replaces_a_gated_worker_that_died_at_boot_is_gated_too(host):
    once = host.folder / "once"
    app = f"import os, sys\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close()\n    sys.exit(1)\n"
    instance = host.start(app=app + answering("status = '503 Service Unavailable'"), runtime=HEALTH, gate=True)
    assert instance.wait_exit() == 3
    assert "refusing to serve" in instance.log()


def test_without_a_health_path_any_answer_below_500_will_do(host):
    app = "def app(e, s):\n    s('404 Not Found', [('Content-Length', '0')])\n    return []"
    assert host.start(app=app, gate=True).wait_ready().ready()[0]["health"] == "ok"
    broken = host.start(app=app.replace("404 Not Found", "500 Internal Server Error"), gate=True, name="app-1")
    assert broken.wait_exit() == 3
    assert "GET / answered 500" in broken.log()


@pytest.mark.parametrize("preload", [False, True])
def test_an_app_that_parses_the_command_line_does_not_see_gunicorns(host, preload, eventually):
    app = "import argparse\nargparse.ArgumentParser().parse_args()\n" + PLAIN
    instance = host.start(app=app, preload_app=preload).wait_ready()
    old = instance.workers()
    instance.signal(signal.SIGHUP)  # gunicorn itself reads the command line again
    eventually(lambda: instance.workers() and set(old).isdisjoint(instance.workers()), what=instance.log)
    assert host.get()[0] == 200


def test_a_boot_within_its_limit_is_not_disturbed_later(host):
    host.start(runtime="boot_timeout=4").wait_ready()
    assert host.get("/wait/7.0")[0] == 200  # what watches over a boot would have ended it after 4 or 6


def test_the_apps_own_hooks_run_beside_those_of_the_runtime(host):
    own = """
    def on_starting(server): print("own on_starting")
    def post_fork(server, worker): print("own post_fork")
    def post_worker_init(worker): print("own post_worker_init")
    def child_exit(server, worker): print("own child_exit")
    def nworkers_changed(server, new, old): print("own nworkers_changed")
    """
    instance = host.start(own=own).wait_ready()
    instance.stop()
    for name in ("on_starting", "post_fork", "post_worker_init", "child_exit", "nworkers_changed"):
        assert f"own {name}" in instance.log()


def test_the_apps_own_post_worker_init_is_part_of_the_bounded_boot(host):
    own = "def post_worker_init(worker):\n    import time\n    time.sleep(60)\n"
    instance = host.start(own=own, runtime=HEALTH)
    assert instance.wait_exit() == 3
    assert re.search(r"not ready within 4 s.*in post_worker_init", instance.log(), re.DOTALL)


WORKER_CLASSES = ["runtime.worker_class", "'gevent'", "'sync'", "'gthread'"]


@pytest.mark.parametrize(
    ("number", "worker_class"),
    few(
        (signal.SIGTERM, signal.SIGQUIT),
        WORKER_CLASSES,
        {(signal.SIGTERM, name) for name in WORKER_CLASSES} | {(signal.SIGQUIT, WORKER_CLASSES[0])},
    ),
)
def test_a_stop_that_comes_before_a_worker_has_signal_handlers_ends_it(host, worker_class, number, eventually):
    """gunicorn loses it: the worker goes on to serve, and is killed when graceful_timeout is over."""
    own = "def post_fork(server, worker):\n    import time\n    print('forked')\n    time.sleep(1)\n"
    instance = host.start(own=own, worker_class=worker_class)
    eventually(lambda: "forked" in instance.log())
    start = time.monotonic()
    instance.signal(number)
    assert instance.wait_exit() == 0
    assert time.monotonic() - start < 9, instance.log()  # the graceful_timeout has ten
    assert "Worker exiting" in instance.log()
    assert instance.ready() == []


def test_a_stop_that_comes_right_after_the_fork_ends_the_worker(host, eventually):
    """Before the first hook: gunicorn's line about the boot is written between the two."""
    own = """
    import time
    from pygun_runtime.logs import Logger
    class Slow(Logger):
        def info(self, text, *args, **kwargs):
            super().info(text, *args, **kwargs)
            if text.startswith("Booting"):
                time.sleep(1)
    logger_class = Slow
    """
    instance = host.start(own=own)
    eventually(lambda: "Booting" in instance.log())
    start = time.monotonic()
    instance.signal(signal.SIGTERM)
    assert instance.wait_exit() == 0
    assert time.monotonic() - start < 5, instance.log()


def test_workers_that_are_replaced_as_they_boot_do_not_end_the_instance(host, eventually):
    own = "def post_fork(server, worker):\n    import time\n    print('forked')\n    time.sleep(0.5)\n"
    instance = host.start(own=own, workers=4)
    for hups in (1, 2):
        eventually(lambda hups=hups: instance.log().count("forked") == 4 * hups, what=instance.log)
        instance.signal(signal.SIGHUP)
    eventually(lambda: len(instance.ready()) == 4 and instance.log().count("forked") == 12, what=instance.log)
    assert instance.process.poll() is None
    assert host.get()[0] == 200
