"""Whatever an instance says is one line with the fields of the Elastic Common Schema, in the instance's log."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

COMMON = {"ecs.version": "8.11.0", "service.name": "app", "service.node.name": "app-0"}


def test_an_access_line_has_the_fields_of_the_schema(service, any_worker):
    service.start(**any_worker)
    began = time.time()
    status, headers, _body = service.get("/?a=b", "User-Agent: a browser", "Referer: http://here/page?x=y")
    service.instance.stop()
    (line,) = service.access()
    assert status == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["@timestamp"])
    seconds = time.mktime(time.strptime(line["@timestamp"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert began - 1.1 < seconds < began + 10
    assert line.pop("event.duration") > 1000
    assert line.pop("process.pid") != service.instance.pid
    assert line.pop("http.response.body.bytes") > 0
    assert line.pop("http.request.id") == headers["x-request-id"]
    assert line.pop("service.version") == service.instance.release.name
    del line["@timestamp"]
    assert line == COMMON | {
        "log.level": "info",
        "log.logger": "access",
        "message": "GET / 200",
        "client.address": "127.0.0.1",
        "http.request.method": "GET",
        "url.path": "/",
        "url.query": "a=b",
        "http.response.status_code": 200,
        "user_agent.original": "a browser",
        "http.request.referrer": "http://here/page?x=y",
    }


def test_the_first_three_fields_are_time_level_and_message(service):
    service.start()
    service.get()
    service.get("/say/app")
    service.instance.stop()
    assert {tuple(line)[:3] for line in service.lines()} == {("@timestamp", "log.level", "message")}


@pytest.mark.parametrize(
    ("how", "message", "level", "logger"),
    [
        ("app", "said app", "info", "wsgi"),
        ("library", "said library", "warning", "a.library"),
        ("print", "said print", "info", "stdout"),
        ("stderr", "said stderr", "warning", "stderr"),
        ("binary", "said binary \\xff", "info", "stdout"),
        ("warning", "said warning", "warning", "py.warnings"),
        ("bad arguments", "'said %d %d' with arguments that do not fit", "error", "wsgi"),
    ],
)
def test_what_an_app_says_is_one_line_with_the_id_of_its_request(service, how, message, level, logger):
    service.start()
    assert service.get(f"/say/{how.replace(' ', '%20')}", "X-Request-ID: mine")[0] == 200
    service.instance.stop()
    line = service.saying(message)
    assert (line["log.level"], line["log.logger"], line["http.request.id"]) == (level, logger, "mine")
    assert COMMON.items() <= line.items()
    if how == "library":
        assert line["labels.user"] == 5


def test_a_traceback_is_inside_of_its_line(service, a_worker):
    service.start(**a_worker)
    status, headers, _body = service.get("/fail")
    service.instance.stop()
    line = service.saying("Exception on /fail")
    assert (line["error.type"], line["error.message"]) == ("ValueError", "failed\non purpose")
    assert line["error.stack_trace"].startswith("Traceback (most recent call last):\n")
    assert line["error.stack_trace"].endswith("ValueError: failed\non purpose")
    assert line["http.request.id"] == headers["x-request-id"]
    assert (status, service.access()[0]["http.response.status_code"], service.access()[0]["log.level"]) == (
        500,
        500,
        "error",
    )


UNCAUGHT = """
import sys, threading, traceback
import gevent

def fail():
    raise ValueError("nobody catches this")

class Unraisable:
    def __del__(self):
        fail()

def app(environ, start_response):
    what = environ["PATH_INFO"].strip("/")
    if what == "thread":
        thread = threading.Thread(target=fail); thread.start(); thread.join()
    elif what == "greenlet":
        gevent.spawn(fail).join()
    elif what == "finalizer":
        Unraisable()
    elif what == "printed":
        try:
            fail()
        except ValueError:
            traceback.print_exc()
    elif what == "worker":
        fail()
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.mark.parametrize("how", ["thread", "greenlet", "finalizer", "printed", "worker"])
def test_an_exception_that_nobody_catches_is_one_line(service, how):
    service.start(app=UNCAUGHT)
    service.get(f"/{how}", "X-Request-ID: mine")
    service.instance.stop()
    lines = [line for line in service.lines() if "nobody catches this" in json.dumps(line)]
    assert len(lines) == 1, service.text()
    (line,) = lines
    trace = line["message"] if how == "printed" else line["error.stack_trace"]
    assert trace.startswith("Traceback") and "in fail" in trace and trace.endswith("ValueError: nobody catches this")
    assert line["http.request.id"] == "mine"
    assert service.instance.log() == ""


def test_a_worker_that_cannot_import_its_app_says_why_in_one_line(service):
    instance = service.host.start(
        app="import nothing_of_that_name",
        runtime=f"log_dir={str(service.folder)!r}",
    )
    service.instance = instance
    assert instance.wait_exit() == 3
    line = service.saying("Exception in worker process")
    assert line["error.type"] == "ModuleNotFoundError"
    assert "Traceback" not in instance.log()


def test_what_comes_from_below_python_stays_out_of_the_log(service):
    app = """
    import os
    os.write(1, b"native one\\n"); os.write(2, b"native two\\n"); os.system("echo a child")
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []
    """
    service.start(app=app)
    service.instance.stop()
    assert service.lines()
    for text in ("native one", "native two", "a child"):
        assert text in service.instance.log()
        assert text not in service.text()


def test_lines_are_whole_whoever_writes_them(service, any_worker):
    app = """
    import sys, threading
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        if environ["PATH_INFO"] != "/go":
            return []
        def write():
            for number in range(50):
                sys.stdout.write("begin ")
                sys.stdout.write("middle ")
                print("end")
        threads = [threading.Thread(target=write) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print("a last line without an end", end="")
        return []
    """
    service.start(app=app, **any_worker)
    service.get("/go")
    service.instance.stop()
    said = [line["message"] for line in service.lines() if line["log.logger"] == "stdout"]
    assert sorted(said) == ["a last line without an end"] + ["begin middle end"] * 200


def test_the_level_is_that_of_gunicorn_and_of_every_logger(service):
    service.start(loglevel="warning")
    service.get("/say/app")
    service.get("/say/library")
    service.instance.stop()
    assert {line["log.logger"] for line in service.lines()} == {"access", "a.library"}


def test_without_an_access_log_the_rest_is_still_there(service):
    service.start(accesslog=None)
    status, headers, _body = service.get("/say/app")
    service.instance.stop()
    assert service.access() == []
    assert service.saying("said app")["http.request.id"] == headers["x-request-id"]
    assert status == 200


def test_hup_takes_over_another_format(service, eventually):
    service.start()
    old = service.instance.workers()
    settings = service.instance.release / "pygun.py"
    settings.write_text(settings.read_text().replace("log_dir=", "log_format='text', log_dir="))
    service.instance.signal(signal.SIGHUP)
    eventually(lambda: len(service.instance.ready()) == 1 and set(old).isdisjoint(service.instance.workers()))
    service.get("/?a=b")
    service.instance.stop()
    access = [line for line in service.text().splitlines() if " access " in line]
    assert len(access) == 1
    assert re.fullmatch(
        r"[\d-]+T[\d:.]+Z INFO +app-0\[\d+\] access \S+ 127\.0\.0\.1 GET /\?a=b 200 \d+B [\d.]+ms \"-\" \"-\"",
        access[0],
    )


def test_hup_leaves_no_descriptor_behind(service, eventually):
    service.start()
    for turn in (1, 2, 3):
        service.instance.signal(signal.SIGHUP)
        eventually(lambda turn=turn: service.text().count('"Hang up: ') == turn, what=service.text)
        eventually(lambda turn=turn: service.text().count("Booting worker") == turn + 1, what=service.text)
    found = [os.path.realpath(fd) for fd in Path(f"/proc/{service.instance.pid}/fd").iterdir()]
    assert found.count(str(service.path)) == 1


def test_with_preload_the_master_and_its_workers_write_to_the_same_log(service):
    service.start(preload_app=True, workers=2)
    for _ in range(20):
        service.get()
    service.instance.stop()
    assert len(service.access()) == 20
    assert service.saying("Starting gunicorn")["process.pid"] == service.instance.pid
    assert service.instance.pid not in {line["process.pid"] for line in service.access()}


def test_a_child_that_the_app_forks_writes_whole_lines_of_its_own(service):
    app = """
    import os
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        if environ["PATH_INFO"] != "/go":
            return []
        pid = os.fork()
        if pid == 0:
            for number in range(200):
                print("child", number)
            os._exit(0)
        for number in range(200):
            print("parent", number)
        os.waitpid(pid, 0)
        return []
    """
    service.start(app=app, worker_class="'sync'")
    service.get("/go")
    service.instance.stop()
    pids = {}
    for line in service.lines():
        if line["log.logger"] == "stdout":
            pids.setdefault(line["message"].split()[0], set()).add(line["process.pid"])
    assert len(pids["child"]) == len(pids["parent"]) == 1
    assert pids["child"] != pids["parent"]


def test_by_hand_the_lines_go_to_stdout(host, eventually):
    instance = host.start(
        accesslog="-",
        runtime=f"log_dir={str(host.folder / 'none')!r}",
        environ={"SUPERVISOR_PROCESS_NAME": None},
    )
    eventually(lambda: "Booting worker" in instance.log(), what=instance.log)
    host.get()
    instance.stop()
    lines = [json.loads(line) for line in instance.log_path.read_text().splitlines()]
    assert [line["message"] for line in lines if line["log.logger"] == "access"] == ["GET / 200"]
    assert all("service.node.name" not in line for line in lines)


def test_a_log_that_cannot_be_written_is_replaced_by_the_raw_one(service, eventually):
    service.path.unlink()
    service.folder.chmod(0o555)
    service.start()
    service.get()
    eventually(lambda: "info GET / 200" in service.instance.log())
    service.path.touch()
    time.sleep(1.1)
    service.get()
    service.instance.stop()
    assert len(service.access()) == 1
    assert service.instance.log().count("info GET / 200") == 1


# -- gunicorn's own settings -------------------------------------------------------------------------------------------


def test_an_access_log_of_ones_own_has_our_lines(service):
    own = service.folder / "access"
    service.start(accesslog=str(own))
    service.get()
    service.instance.stop()
    assert [line["message"] for line in service.lines(own)] == ["GET / 200"]
    assert service.access() == []
    assert service.saying("Starting gunicorn")


def test_an_error_log_of_ones_own_has_gunicorns_lines(service):
    own = service.folder / "error"
    service.start(errorlog=str(own))
    service.get("/say/app")
    service.instance.stop()
    assert {line["log.logger"] for line in service.lines(own)} == {"gunicorn.error"}
    assert service.saying("said app")
    assert len(service.access()) == 1


def test_an_access_log_format_of_ones_own_becomes_the_message(service):
    service.start(access_log_format='%(m)s "%(U)s" took %(D)s for %({user-agent}i)s')
    service.get("/", 'User-Agent: "x"')
    service.instance.stop()
    assert re.fullmatch(r'GET "/" took \d+ for \\"x\\"', service.access()[0]["message"])


def test_an_access_log_format_that_cannot_be_followed_loses_no_line(service):
    service.start(access_log_format="%(m)d")
    assert service.get()[0] == 200
    service.instance.stop()
    assert service.access()[0]["message"] == "GET / 200"
    assert service.saying("access_log_format could not be followed")["error.type"] == "TypeError"


def test_who_configures_logging_himself_gets_what_he_configured(service):
    own = service.folder / "own"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(name)s: %(message)s"}},
        "handlers": {"own": {"class": "logging.FileHandler", "filename": str(own), "formatter": "short"}},
        "root": {"level": "INFO", "handlers": ["own"]},
        "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["own"], "propagate": False}},
    }
    service.start(logconfig_dict=config, accesslog=None)
    _status, headers, _body = service.get("/say/app")
    service.instance.stop()
    assert "gunicorn.error: Starting gunicorn" in own.read_text()
    assert "wsgi: said app" in own.read_text()
    assert service.text() == ""
    assert headers["x-request-id"]


def test_gunicorns_metrics_go_on(service):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        service.start(statsd_host=f"127.0.0.1:{daemon.getsockname()[1]}")
        service.get()
        found = b""
        while b"gunicorn.request.status.200" not in found:
            found += daemon.recv(9999)
    service.instance.stop()
    assert [line["message"] for line in service.access()] == ["GET / 200"]


def test_a_logger_class_of_ones_own_is_used(service):
    service.host.folder.joinpath("own_logger.py").write_text(
        "from gunicorn.glogging import Logger\nclass Own(Logger):\n    error_fmt = 'own %(message)s'\n"
    )
    service.start(
        own=f"import sys\nsys.path.insert(0, {str(service.host.folder)!r})\nlogger_class = 'own_logger.Own'\n"
    )
    assert service.get("/id", "X-Request-ID: mine")[2] == "mine"
    service.instance.stop()
    assert "own Starting gunicorn" in service.instance.log()
    assert service.text() == ""


# -- signals and the end -----------------------------------------------------------------------------------------------


def test_usr1_opens_the_log_again(service, eventually, any_worker):
    never = "import pygun_runtime.log_file\npygun_runtime.log_file.LOOK_EVERY = 1e9\n"  # but at a signal
    service.start(own=never, **any_worker)
    service.get()
    renamed = service.path.with_suffix(".log.1")
    os.rename(service.path, renamed)
    service.path.touch()
    service.get()
    # The line comes after the answer, and a signal could come between the two.
    eventually(lambda: [line["message"] for line in service.lines(renamed)].count("GET / 200") >= 2)
    assert service.text() == ""
    service.instance.signal(signal.SIGUSR1)

    def one_more_is_in_the_new_one():
        service.get()
        return service.access()

    eventually(one_more_is_in_the_new_one, what=service.text)


def test_no_descriptor_of_the_log_leaks_into_children(service):
    service.start()
    service.get()
    (worker,) = service.instance.workers()
    flags = [
        int(re.search(r"flags:\s+(\d+)", Path(f"/proc/{worker}/fdinfo/{fd.name}").read_text()).group(1), 8)
        for fd in Path(f"/proc/{worker}/fd").iterdir()
        if os.path.realpath(fd) == str(service.path)
    ]
    assert len(flags) == 1
    assert flags[0] & os.O_CLOEXEC and flags[0] & os.O_APPEND


def test_healthy_answers_of_the_health_path_have_no_access_line(service):
    app = """
    def app(environ, start_response):
        status = "503 No" if "broken" in environ["QUERY_STRING"] else "200 OK"
        start_response(status, [("Content-Length", "0")])
        return []
    """
    service.start(app=app, runtime="health_path='/healthz?deep'")
    for path in ("/healthz?deep", "/healthz", "/healthz?broken", "/healthzz", "/"):
        service.get(path)
    service.instance.stop()
    seen = [(line["url.path"], line["http.response.status_code"]) for line in service.access()]
    assert seen == [("/healthz", 503), ("/healthzz", 200), ("/", 200)]


@pytest.mark.parametrize(("path", "more"), [("/", ""), ("/healthz", "log_health=True"), ("", "")])
def test_health_checks_are_logged_if_they_should_or_could_be_something_else(service, path, more):
    service.start(runtime=f"health_path={path!r}, {more}")
    service.get(path or "/")
    service.instance.stop()
    assert len(service.access()) == 1


def test_a_header_that_gunicorn_drops_is_said_once_at_debug(service, a_worker):
    service.start(loglevel="debug", **a_worker)
    for _ in range(3):
        service.get("/", "User_Name: somebody")
    service.instance.stop()
    line = service.saying("drops the header USER_NAME")
    assert line["log.level"] == "debug"
    assert "somebody" not in line["message"]
