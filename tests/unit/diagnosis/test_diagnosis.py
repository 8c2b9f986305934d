"""Causes are recognised by what upstream really prints."""

import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.log_tail import (
    LogMark,
    plain_lines,
    shown,
)
from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.symptoms import diagnose
from pygun_runtime.log_line import JsonLines, Redaction, TextLines

SAID = {
    "ModuleNotFoundError: No module named 'sklearn.ensemble'": "imports sklearn.ensemble",
    '  File "/srv/x/venv/lib/python3.11/site-packages/gunicorn/ggevent.py", line 2, in <module>\n    from packaging.version import'
    " parse\nModuleNotFoundError: No module named 'packaging'": "The package gunicorn imports packaging",
    "AttributeError: Can't get attribute 'Scaler' on <module '__main__' from '/srv/x/venv/bin/gunicorn'>": "Scaler of `__main__`",
    "AttributeError: Can't get attribute 'Tree' on <module 'sklearn.tree' from 'x.py'>": "names Tree of the module sklearn.tree",
    "OSError: [Errno 12] Cannot allocate memory": "memory that the app reserves",
    "terminate called after throwing an instance of 'std::bad_alloc'": "no memory left",
    "[Errno 13] Permission denied: '/srv/x/releases/1/venv/bin/python'": "/root or a home",
    "couldn't exec /srv/x/current/venv/bin/python: EACCES": "/root or a home",
    "AttributeError: module 'wsgi' has no attribute 'aplication'\nFailed to find attribute 'aplication' in 'wsgi'.": "has no attribute",
    "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory": "libgomp.so.1",
    "gunicorn.errors.AppImportError: Failed to find attribute 'app' in 'wsgi'.": "module wsgi has been imported",
    "gunicorn.errors.AppImportError: Application object must be callable.": "does not name a WSGI application",
    "SyntaxError: invalid syntax": "does not compile",
    "IndentationError: unexpected indent": "does not compile",
    "gunicorn: error: unrecognized arguments: -c pygun.py": "parses a command line",
    "[WARNING] Worker (pid:12) was sent SIGSEGV!": "SIGSEGV",
    "[ERROR] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?": "no memory left",
    "MemoryError": "no memory left",
    "OSError: [Errno 28] No space left on device: '/srv/x'": "disk",
    "OSError: [Errno 98] Address already in use": "is taken",
    "PermissionError: [Errno 13] Permission denied: '/var/lib/model.bin'": "/var/lib/model.bin",
    "OSError: [Errno 24] Too many open files": "open files",
    "Invalid value for timeout: soon": "the setting timeout = soon",
    "ValueError: Could not create FastCGI socket tcp://127.0.0.1:80: [Errno 98] Address already in use": "tcp://127.0.0.1:80",
    "supervisor: couldn't setuid to 1001: Can't drop privilege as nonroot user": "couldn't setuid to 1001",
    "Health check failed, refusing to serve: GET /healthz answered 503 SERVICE UNAVAILABLE": "answers 503",
    "Health check failed, refusing to serve: GET /healthz gave no answer within 30.0 s": "in time",
    "Worker not ready within 30 s; it is at:": "still booting",
    "tried without serving, at its step 'start': not ready within 30 s": "nothing in its log says where",
    "[ERROR] Worker (pid:12) exited with code 1.": "sys.exit()",
    "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table": "raises OperationalError",
    "KeyError: 'DATABASE_URL'": "asks for the variable DATABASE_URL",
    "KeyError: 'rows'": "raises KeyError",
}


@pytest.mark.parametrize("line", SAID)
def test_a_known_symptom_has_a_cause_and_a_remedy(line):
    found = diagnose(f"[INFO] Starting gunicorn\n{line}\n[ERROR] Reason: Worker failed to boot.")
    assert SAID[line] in found.cause
    assert found.remedy
    assert "{" not in found.cause


def test_what_is_not_known_is_not_guessed():
    assert diagnose("[INFO] Starting gunicorn\n[INFO] Booting worker with pid: 7\n") is None


REFUSED = """Traceback (most recent call last):
  File "x.py", line 3, in report
ConnectionRefusedError: [Errno 111] Connection refused
"""
BROKEN = """Traceback (most recent call last):
  File "wsgi.py", line 1, in <module>
ValueError: no such mode
"""
DIRECT = "\nThe above exception was the direct cause of the following exception:\n\n"
HALT = """Traceback (most recent call last):
  File "arbiter.py", line 2, in run
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>
"""


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (f"warning metrics are not sent\n{REFUSED}info going on\n{BROKEN}", "app-error", "raises ValueError"),
        (f"{BROKEN}info going on\n{REFUSED}", "service-unreachable", "Errno 111"),
        (f"{REFUSED}{DIRECT}{BROKEN}info exiting\n{HALT}", "service-unreachable", "Errno 111"),
        (f"{BROKEN}info exiting\n{HALT}", "app-error", "raises ValueError"),
        (
            "the settings come from environment variable APP_SETTINGS\nValueError: no such mode",
            "app-error",
            "ValueError",
        ),
        ("RuntimeError: Missing environment variable: APP_MODE", "variable-missing", "APP_MODE"),
        ("RuntimeError: The environment variable 'APP_MODE' is not set", "variable-missing", "APP_MODE"),
        ('EnvError: Environment variable "APP_MODE" not set', "variable-missing", "APP_MODE"),
        ('ProgrammingError: (DuplicateTable) relation "item" already exists', "app-error", "already exists"),
        ('psycopg.errors.UndefinedTable: relation "item" does not exist', "table-missing", "item"),
        ("psycopg.errors.UndefinedColumn: column item.price does not exist", "table-missing", "item.price"),
    ],
)
def test_an_error_that_the_app_has_logged_and_survived_is_not_the_cause(text, code, says):
    found = diagnose(text)
    assert (found.code, says in found.cause) == (code, True), found


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: A_KEY is not set",
        "AssertionError: A_KEY required",
        "ValueError: No A_KEY set for Flask application",
        "Exception: Missing required config: A_KEY",
        "RuntimeError: Please set 'A_KEY'",
        "openai.OpenAIError: The api_key client option must be set by passing api_key or by setting the A_KEY environment variable",
        "KeyError: 'Required setting A_KEY has not been configured'",
        "error: A_KEY not set\nthe app ended the process with exit code 1",
        "Please export A_KEY first.\nwarning x\nerror Worker (pid:7) exited with code 1.",
    ],
)
def test_a_variable_that_is_asked_for_is_named_however_the_app_says_it(text):
    found = diagnose(text)
    assert (found.code, "A_KEY" in found.cause) == ("variable-missing", True), found


STACK = 'File "/venv/site-packages/psycopg2/__init__.py", line 122, in connect\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("warning A_KEY is not set\nGET /healthz answered 503 SERVICE UNAVAILABLE", "health-status"),
        (f"warning A_KEY is not set\nerror Exception in worker process\n{BROKEN}", "app-error"),
        ("  raise NoKey('A_KEY is not set')\nValueError: no such mode", "app-error"),
        (f"Worker not ready within 60 s; it is at:\n  {STACK}", "service-silent"),
        (f"Traceback (most recent call last):\n  {STACK}psycopg2.OperationalError: no such host", "app-error"),
        (
            f"error Exception on /healthz [GET]\n{REFUSED}GET /healthz answered 500 INTERNAL SERVER ERROR",
            "health-raises",
        ),
        (f"{BROKEN}GET /healthz answered 404 NOT FOUND", "health-status"),
        (
            'Traceback (most recent call last):\n  File "wsgi.py", line 1, in <module>\n    stop()\nwsgi.Stop\n',
            "app-error",
        ),
    ],
)
def test_an_entry_needs_all_that_makes_it_true(text, code):
    assert diagnose(text).code == code


def test_the_culprit_wins_over_what_follows_from_it():
    assert (
        "imports numpy"
        in diagnose("ModuleNotFoundError: No module named 'numpy'\nWorker (pid:1) exited with code 3.").cause
    )


def test_a_full_disk_wins_over_what_an_installer_makes_of_it():
    text = "Failed to build `plain @ file:///x`\n  The build backend returned an error\n  failed to write: No space left on device (os error 28)"
    assert diagnose(text, "installer").code == "disk-full"


def test_a_json_line_is_read_as_its_message_and_its_traceback():
    line = json.dumps(
        {"level": "error", "message": "Exception in worker process", "exception": "Traceback:\nKeyError: 'X'"}
    )
    assert plain_lines(line) == ["error Exception in worker process", "Traceback:", "KeyError: 'X'"]
    assert "raises KeyError" in diagnose("\n".join(plain_lines(line))).cause


STACK = "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nKeyError: 'X'"


@pytest.mark.parametrize("lines", [JsonLines, TextLines])
def test_a_line_of_the_runtime_is_read_as_its_message_and_its_traceback(lines):
    made = lines({"service.name": "app", "service.node.name": "app-0"}, Redaction())
    line = made.event(0.0, "error", "Exception in\nworker", "gunicorn.error", "id", ("KeyError", "'X'", STACK))
    assert plain_lines(line) == ["error Exception in", "worker", *STACK.split("\n")]
    assert "raises KeyError" in diagnose("\n".join(plain_lines(line))).cause


def test_a_line_cannot_move_the_cursor_of_who_reads_it():
    line = JsonLines({"service.name": "app"}, Redaction()).event(0.0, "info", "a\x1b[31m\rb\x9bc", "x")
    assert plain_lines(line) == [r"info a\x1b[31m\rb\x9bc"]


def test_what_came_out_below_python_is_read_first(tmp_path):
    log, raw = tmp_path / "x.log", tmp_path / "x.raw.log"
    raw.write_text("long ago\n")
    mark = LogMark(str(log))
    log.write_text("a line\n")
    with raw.open("a") as stream:
        stream.write("Fatal Python error: Segmentation fault")
    assert LogMark(str(log), mark.position).since() == "Fatal Python error: Segmentation fault\na line\n"


def test_frames_of_the_loader_are_left_out():
    lines = [
        "Traceback (most recent call last):",
        '  File "/srv/x/venv/lib/python3.11/site-packages/gunicorn/util.py", line 420, in import_app',
        "    mod = importlib.import_module(module)",
        "          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        '  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import',
        '  File "/srv/x/src/wsgi.py", line 1, in <module>',
        "    import y",
        "ModuleNotFoundError: No module named 'y'",
    ]
    assert shown(lines) == [lines[0], *lines[5:]]


def test_frames_of_the_runtime_are_left_out():
    lines = [
        "Traceback (most recent call last):",
        '  File "/srv/x/releases/1/lib/pygun_runtime/health.py", line 40, in check',
        "    chunks = wsgi(environ, start_response)",
        '  File "/srv/x/src/wsgi.py", line 1, in app',
        "KeyError: 'y'",
    ]
    assert shown(lines) == [lines[0], *lines[3:]]


def test_what_every_worker_says_is_shown_once():
    def failure(pid):
        return [
            f"error Worker {pid} failed",
            "Traceback (most recent call last):",
            '  File "x.py", line 1',
            "KeyError: 'X'",
        ]

    lines = ["info Starting gunicorn", *failure(7), *failure(8), "warning Stopping", *failure(9)]
    assert shown(lines) == ["info Starting gunicorn", *failure(7), "warning Stopping"]


def test_a_line_of_thousands_of_characters_is_cut():
    assert shown(["x" * 2800]) == ["x" * 500 + "... (2300 characters more)"]


def test_a_mark_survives_a_rotation(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("before\n")
    mark = LogMark(str(log))
    with log.open("a") as stream:
        stream.write("after\n")
    assert mark.since() == "after\n"
    log.rename(tmp_path / "x.log.1")
    log.write_text("and later\n")
    assert LogMark(str(log), mark.position).since() == "after\nand later\n"


def test_a_log_that_is_a_link_or_missing_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    mark = LogMark(str(tmp_path / "x.log"))
    secret.write_text("secret\n")
    (tmp_path / "x.log").symlink_to(secret)
    assert mark.since() == ""


def test_a_remedy_names_the_directories_of_the_app():
    text = "PermissionError: [Errno 13] Permission denied: 'instance'"
    assert "below /srv/NAME/shared" in diagnose(text).remedy
    known = diagnose(text, root="/data/scoring").remedy
    assert "below /data/scoring/shared" in known
    assert "in /run/scoring" in known
