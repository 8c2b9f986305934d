# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release is tried in a process of its own, with the real gunicorn; what is wrong with it is named."""

import getpass
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.symptoms import diagnose
from ansible_collections.pygun.stack.plugins.module_utils.host import inspection
from ansible_collections.pygun.stack.plugins.module_utils.release import trial
from tests.component.compiled import runtime_folder

RUNTIME = runtime_folder() / "pygun_runtime"
HELLO = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""
SETTINGS = """
import sys
sys.path.insert(0, {lib!r})
import pygun_runtime
runtime = pygun_runtime.Runtime(__file__, app="x", health_path={health!r}, env_file={env_file!r}, boot_timeout={boot_timeout})
wsgi_app = "wsgi:app"
chdir = runtime.source
worker_class = runtime.worker_class
{more}
runtime.attach(globals())
"""


@pytest.fixture
def attempt(tmp_path):
    """Try a release with this source and these settings."""

    def run(source=HELLO, more="", health="", boot_timeout=20.0, memory_limit=0, env=None):
        release = tmp_path / "release"
        (release / "src").mkdir(parents=True, exist_ok=True)
        (release / "src" / "wsgi.py").write_text(source)
        shutil.copytree(RUNTIME, release / "lib" / "pygun_runtime")
        (release / "venv" / "bin").mkdir(parents=True)
        # The interpreter that has gunicorn; a link would lose its site-packages.
        python = release / "venv" / "bin" / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="{release}/lib${{PYTHONPATH:+:$PYTHONPATH}}" exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        env_file = tmp_path / "app.env"
        env_file.write_text("".join(f'{name}="{value}"\n' for name, value in (env or {}).items()))
        (release / "release.json").write_text(json.dumps({"service": {"env_file": str(env_file)}}))
        (release / "pygun.py").write_text(
            SETTINGS.format(
                lib=str(release / "lib"), health=health, more=more, boot_timeout=boot_timeout, env_file=str(env_file)
            )
        )
        return trial.try_release(str(release), getpass.getuser(), str(tmp_path), boot_timeout, memory_limit)

    return run


def test_a_good_release_passes_and_tells_facts(attempt):
    outcome = attempt()
    assert outcome.problem == ""
    assert outcome.step == "health"
    assert outcome.facts["health"] == "200 OK"
    assert outcome.facts["memory_kb"] > outcome.facts["own_memory_kb"] > 1000


DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for _ in range(200):
            if os.fork() == 0:  # and goes on forking
                open({path!r}, "a").write(f"{{os.getpid()}}\\n")
                time.sleep({life})
                os._exit(0)
            time.sleep(0.05)
    os._exit(0)
os.wait()
"""


def test_a_daemon_that_the_app_starts_ends_with_the_trial(attempt, tmp_path):
    """It has left its parent, its group and its session; it may hold the app's address, or its database."""
    pids = tmp_path / "pids"
    source = DAEMON.format(path=str(pids), life=20) + f"while not os.path.exists({str(pids)!r}): pass\n" + HELLO
    assert attempt(source).problem == ""
    assert pids.exists()
    assert [pid for pid in pids.read_text().split() if Path("/proc", pid).exists()] == []


def test_what_the_app_loads_counts_as_its_own_memory(attempt):
    facts = attempt("MODEL = b'x' * 64_000_000" + HELLO).facts
    assert 60_000 < facts["own_memory_kb"] < 110_000


def test_workers_that_do_not_fit_into_memory_are_counted_by_what_one_took():
    facts = {"workers": 4, "own_memory_kb": 100 * 1024, "preload": False}
    assert trial.too_many_workers(facts, 2, 800 << 20) == ""
    said = trial.too_many_workers(facts, 2, 799 << 20)
    assert "2 instances with 4 workers each need 800 MB" in said
    assert "has 799 MB" in said
    assert trial.too_many_workers({**facts, "preload": True}, 2, 200 << 20) == ""
    assert trial.too_many_workers(facts, 2, 0) == ""


def test_the_memory_of_this_host_is_read():
    assert inspection.memory_of_host("MemTotal") > inspection.memory_of_host("MemAvailable") > 0


BROKEN = {
    "a missing module": ("import no_such_thing", "import", "No module named 'no_such_thing'"),
    "a missing attribute": ("application = None", "import", "'wsgi' has no 'app'"),
    "a syntax error": ("def app(:\n", "import", "SyntaxError"),
    "sys.exit at import": ("import sys; sys.exit(7)", "import", "exit code 7"),
    "os._exit at import": ("import os; os._exit(0)", "import", "exit code 0"),
    "a command line at import": (
        "import argparse; p = argparse.ArgumentParser(); p.add_argument('--model', required=True); p.parse_args()"
        + HELLO,
        "import",
        "the following arguments are required: --model",
    ),
    "a crash at import": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "import", "SIGSEGV"),
    "an app that is no callable": ("app = 3", "import", "must be callable"),
}


@pytest.mark.parametrize(("source", "step", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_an_app_that_cannot_be_imported_is_named(attempt, source, step, says):
    outcome = attempt(source)
    assert outcome.step == step
    assert outcome.problem
    assert says in outcome.problem + outcome.output
    assert diagnose(outcome.output + "\n" + outcome.problem), "the diagnosis does not know this one"


FLASK = "class Flask:\n    wsgi_app = None\n    def __call__(self, environ, start_response): ...\n"
NEAR = {
    "a misspelt name": ("wsgi:aplication", f"{FLASK}application = Flask()\n", "wsgi:application"),
    "another name": ("wsgi:app", f"{FLASK}service = Flask()\nother = 5\nclass Application: ...\n", "wsgi:service"),
    "a factory": ("wsgi:app", "def create_app():\n    return len\ndef helper(): ...\n", "wsgi:create_app()"),
    "a misspelt factory": ("wsgi:creat_app()", "def create_app():\n    return len\n", "wsgi:create_app()"),
    "a module that is not there": ("main:application", "import os\napp = os\n", "wsgi:app"),
    "a module that is not there, and a factory": (
        "main:application",
        "def create_app():\n    ...\n",
        "wsgi:create_app()",
    ),
    "a package that is not there": ("scoring.web:app", "app = len\n", "wsgi:app"),
}


@pytest.mark.parametrize(("wanted", "source", "near"), NEAR.values(), ids=NEAR.keys())
def test_a_target_that_is_not_there_is_told_the_nearest_one(attempt, wanted, source, near):
    outcome = attempt(source, more=f"wsgi_app = {wanted!r}")
    known = diagnose(outcome.problem)
    assert (outcome.step, known.code) == ("import", "not-there")
    assert known.remedy == f"Correct flask_app_wsgi. Near it there is: {near}."


def test_a_target_with_nothing_near_is_told_the_form(attempt):
    known = diagnose(attempt("x = 5\n").problem)
    assert known.cause == "flask_app_wsgi names what the source does not have: 'wsgi' has no 'app'."
    assert "MODULE:ATTRIBUTE" in known.remedy


def test_what_the_app_imports_is_no_matter_of_the_target(attempt):
    outcome = attempt("import scoring")
    assert diagnose(outcome.problem).code == "module-not-found"


def test_a_target_that_asks_for_its_own_version_is_there(attempt):
    outcome = attempt("from importlib import metadata\nmetadata.version('wsgi')")
    assert diagnose(outcome.problem).code == "metadata-missing"


def test_a_factory_without_parentheses_is_named(attempt):
    known = diagnose(attempt("def app():\n    return len\n").problem)
    assert known.code == "factory"
    assert "Append parentheses" in known.remedy


def test_a_type_error_of_the_app_itself_is_its_own(attempt):
    outcome = attempt("def app(environ, start_response):\n    len()\n")
    assert outcome.problem.startswith("TypeError: len()")
    assert "wsgi.py" in outcome.output


@pytest.mark.parametrize("source", ["import time; time.sleep(60)", "while True: pass"], ids=["sleeping", "spinning"])
def test_an_import_that_hangs_is_ended_and_says_where(attempt, source):
    begun = time.monotonic()
    outcome = attempt(source, boot_timeout=5)
    assert time.monotonic() - begun < 40
    assert outcome.problem == "not ready within 5 s"
    assert "wsgi.py" in outcome.output
    assert diagnose(outcome.output + "\n" + outcome.problem).remedy.startswith("The stack in the log")


def test_what_the_app_started_is_ended_as_well(attempt, tmp_path):
    mark = tmp_path / "pid"
    attempt(
        f"import subprocess; p = subprocess.Popen(['sleep', '300']); open({str(mark)!r}, 'w').write(str(p.pid))" + HELLO
    )
    pid = int(mark.read_text())
    deadline = time.monotonic() + 5
    while (
        time.monotonic() < deadline
        and Path(f"/proc/{pid}").exists()
        and " Z " not in Path(f"/proc/{pid}/stat").read_text(errors="replace")
    ):
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        if Path(f"/proc/{pid}").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text(errors="replace"):
            raise ProcessLookupError
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("health", "source", "says"),
    [
        ("/healthz", HELLO.replace("200 OK", "503 Service Unavailable"), "GET /healthz answered 503"),
        ("/healthz", HELLO.replace("200 OK", "404 Not Found"), "GET /healthz answered 404"),
        ("", HELLO.replace("200 OK", "500 Internal Server Error"), "GET / answered 500"),
        ("", "def app(environ, start_response):\n    raise ValueError('no model')\n", "no model"),
    ],
)
def test_a_health_check_that_fails_is_named(attempt, health, source, says):
    outcome = attempt(source, health=health)
    assert outcome.step == "health"
    assert says in outcome.problem + outcome.output


@pytest.mark.parametrize(
    "code", ["__import__('time').sleep(60)", "exec('while True: pass')"], ids=["sleeping", "spinning"]
)
def test_a_health_check_that_hangs_is_blamed_on_the_endpoint_not_on_the_boot(attempt, code):
    outcome = attempt(f"def app(environ, start_response):\n    {code}\n", health="/healthz", boot_timeout=5)
    assert outcome.problem == "GET /healthz did not answer within 5 s"
    assert "wsgi.py" in outcome.output
    assert "health endpoint does not answer" in diagnose(outcome.output + "\n" + outcome.problem).cause


def test_a_crash_in_native_code_shows_where(attempt):
    outcome = attempt("import ctypes; ctypes.string_at(0)")
    assert "SIGSEGV" in outcome.problem
    assert "wsgi.py" in outcome.output


def test_without_a_health_path_any_answer_below_500_will_do(attempt):
    assert attempt(HELLO.replace("200 OK", "404 Not Found")).problem == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "worker_conections = 5",
            "ignores the setting worker_conections: it has none of that name; is worker_connections meant?",
        ),
        ("logfile = '/tmp/x'", "ignores the setting logfile"),
        ("Timeout = 5", "settings are written in lower case (timeout)"),
        ("workers = 'many'", "Invalid value for workers: 'many'"),
        ("loglevel = []", "Invalid value for loglevel"),
        ("worker_class = 'gevnt'", "Invalid value for worker_class"),
    ],
)
def test_a_setting_that_gunicorn_rejects_or_ignores_is_named(attempt, line, says):
    outcome = attempt(more=line)
    assert says in outcome.problem
    assert outcome.step in ("settings", "worker class")


def test_an_app_that_takes_more_memory_than_allowed_is_stopped(attempt):
    """Its children's memory counts; a child takes it here."""
    takes = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; x = b\"x\" * 300_000_000; time.sleep(60)'])\n"
    outcome = attempt(takes + HELLO, memory_limit=200 << 20)
    assert outcome.problem == "the app took more memory than 200 MB"
    assert outcome.step == "import"
    assert diagnose(outcome.problem).code == "trial-memory"


def test_memory_that_is_only_reserved_is_not_counted(attempt):
    reserves = "import mmap\nreserved = mmap.mmap(-1, 1 << 38, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n"
    outcome = attempt(reserves + "import time; time.sleep(0.3)\n" + HELLO, memory_limit=500 << 20)
    assert outcome.problem == ""


def test_the_output_of_the_app_does_not_disturb_the_answer(attempt):
    outcome = attempt('print(\'{"problem": "from the app"}\', flush=True)' + HELLO)
    assert outcome.problem == ""
    assert "from the app" in outcome.output


# What urllib3 does; a class that was taken from ssl before gevent patched it fails at each use.
TLS = """
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, TLSVersion
def app(environ, start_response):
    SSLContext(PROTOCOL_TLS_CLIENT).minimum_version = TLSVersion.TLSv1_2
    start_response("200 OK", [])
    return [b"hello"]
"""


@pytest.mark.parametrize("more", ["preload_app = True", "from ssl import SSLContext as _context"])
def test_what_is_imported_early_is_imported_patched_as_in_a_master(attempt, more):
    outcome = attempt(TLS, more=more, health="/healthz")
    assert outcome.problem == ""
    assert trial.warnings_of(outcome.facts) == []


PATCHING = "from ssl import SSLContext\nfrom gevent import monkey\nmonkey.patch_all()\n"
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, name='prices', daemon=True).start()\n"
SAVED = """
import warnings
class InconsistentVersionWarning(UserWarning):
    pass
warnings.warn(InconsistentVersionWarning("Trying to unpickle estimator Tree from version 1.1 when using version 1.5."))
"""
LATE = {
    "a patch of the app": (PATCHING, "worker_class = 'sync'", "gevent patched too late"),
    "dirty workers": ("from ssl import SSLContext", "preload_app = True; dirty_apps = []", "gevent patched too late"),
    "a model of another version": (SAVED, "", "from version 1.1 when using version 1.5"),
    "threads": (THREAD, "preload_app = True; worker_class = 'gthread'", "threads as it is imported (prices)"),
}


@pytest.mark.parametrize("what", LATE)
def test_what_cannot_be_helped_is_a_warning(attempt, what):
    source, more, says = LATE[what]
    facts = attempt(source + HELLO, more=more).facts
    assert len(trial.warnings_of(facts)) == 1
    assert says in trial.warnings_of(facts)[0]


def test_warnings_are_bounded_since_the_app_could_have_written_them():
    assert trial.warnings_of({"warnings": {"a": 1}}) == []
    said = trial.warnings_of({"warnings": [7, "a\x1b[31m\nb", *["x" * 5000] * 50]})
    assert said[0] == "a [31m b"
    assert len(said) == 5
    assert max(map(len, said)) == 1000


@pytest.mark.parametrize(
    "text", ["pygun: the master is not up within 5 s", "Timeout (0:00:07)!", "Traceback (most recent call last)\nhush"]
)
def test_what_the_app_prints_does_not_decide_how_the_trial_ended(attempt, text):
    """The runtime announces what happened; the app may print the same sentences."""
    outcome = attempt(f"print({text!r}, flush=True)\nraise ValueError('no model')", boot_timeout=20)
    assert outcome.problem == "ValueError: no model"


def test_a_limit_that_the_app_survives_is_announced(attempt):
    source = "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    import os; os._exit(9)\n"
    outcome = attempt(source, boot_timeout=3)
    assert outcome.problem == "not ready within 3 s"


def test_a_release_of_an_older_runtime_that_announces_no_limit_is_judged_by_what_it_prints():
    said = [{"step": "health", "asks": "/healthz"}]
    for output in ("pygun: the master is not up within 5 s; it is at:\n", "Timeout (0:00:07)!\n"):
        assert trial._judge(said, output, 1, False, 5).problem == "GET /healthz did not answer within 5 s"
    assert trial._judge([*said, {"late": True}], "", 4, False, 5).problem == "GET /healthz did not answer within 5 s"


def test_what_the_app_writes_between_the_announcements_is_passed_over(attempt):
    nonsense = b'{"step": nonsense}\n{' + b"[" * 5000 + b"}\n"
    source = f"""
import os
for descriptor in range(3, 20):
    try:
        os.write(descriptor, {nonsense!r})
    except OSError:
        pass
"""
    assert attempt(source + HELLO).problem == ""


ASKED = """
import os, time
def app(environ, start_response):
    says = (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["wsgi.url_scheme"], environ["HTTP_HOST"])
    start_response("200 OK" if says == ("/scoring", "/healthz", "https", "localhost") else f"400 {says}", [])
    return []
"""


@pytest.mark.parametrize("path", ["/healthz", "/scoring/healthz"])
def test_an_app_below_a_path_is_asked_as_gunicorn_serves_it(attempt, path):
    assert attempt(ASKED, health=path, env={"SCRIPT_NAME": "/scoring"}).problem == ""


def test_without_a_health_path_an_app_below_a_path_is_asked_for_its_first_page(attempt):
    source = ASKED.replace("/healthz", "/")
    assert attempt(source, env={"SCRIPT_NAME": "/scoring"}).problem == ""


def test_what_gunicorn_adds_to_the_path_and_to_the_environment_is_there(attempt):
    source = (
        """
import os, sys, time
if time.strftime("%Z") != "CST" or os.environ["RAW"] != "1" or os.environ["PYGUN_PREFLIGHT"] != "1" or not sys.flags.optimize:
    raise ValueError("not as served")
import apart
"""
        + HELLO
    )
    more = "import os; os.mkdir('more'); open('more/apart.py', 'w').close()\npythonpath = 'more'; raw_env = ['RAW=1']"
    outcome = attempt(source, more=more, env={"TZ": "Asia/Shanghai", "PYTHONOPTIMIZE": "1"})
    assert outcome.problem == ""


def test_settings_import_a_module_of_the_source_as_under_gunicorn(attempt):
    assert attempt("VALUE = 2" + HELLO, more="from wsgi import VALUE as workers").facts["workers"] == 2


WRITES = {
    "a folder": "import os\nos.makedirs('instance', exist_ok=True)\n",
    "a file, and no word when that fails": "try:\n    open('upload.txt', 'w')\nexcept OSError:\n    pass\n",
    "a database": "import sqlite3\nsqlite3.connect('app.db')\n",
}


@pytest.mark.parametrize("what", WRITES)
def test_an_app_that_writes_into_its_release_is_named(attempt, what):
    (said,) = trial.warnings_of(attempt(WRITES[what] + HELLO).facts)
    assert "of its release for writing" in said
    assert {"a folder": "src/instance"}.get(what, "src/") in said
    assert "PYGUN_SHARED_DIR" in said
    shared = {"a folder": "instance", "a database": "app.db"}.get(what, "upload.txt")
    assert f"Set flask_app_shared_paths: [{shared}], which makes them outlive releases, or let it write" in said


def test_an_app_that_writes_into_a_shared_path_is_not_named(attempt, tmp_path):
    (tmp_path / "release" / "src").mkdir(parents=True)
    (tmp_path / "release" / "src" / "data").symlink_to(tmp_path)
    assert trial.warnings_of(attempt("open('data/x', 'w').close()\n" + HELLO).facts) == []
    assert (tmp_path / "x").exists()


def test_an_app_that_only_reads_its_release_is_not_named(attempt):
    reads = "import sqlite3\nopen(__file__)\nsqlite3.connect('file:wsgi.py?mode=ro', uri=True)\n"
    assert trial.warnings_of(attempt(reads + HELLO).facts) == []


def test_an_app_that_keeps_a_database_in_tmp_is_named(attempt, tmp_path):
    opens = (
        "import sqlite3, tempfile\nfor path in ({0!r}, tempfile.mkdtemp() + '/cache.db'):\n    sqlite3.connect(path)\n"
    )
    path = f"/tmp/pygun-{tmp_path.name}.db"  # noqa: S108
    try:
        (said,) = trial.warnings_of(attempt(opens.format(path) + HELLO).facts)
    finally:
        Path(path).unlink(missing_ok=True)
    assert f"an SQLite database below /tmp ({path})" in said
    assert "flask_app_env" in said


def test_a_database_that_cannot_be_opened_is_named(attempt):
    outcome = attempt("import sqlite3\nsqlite3.connect('/no/such/app.db').execute('select 1')\n" + HELLO)
    assert outcome.problem == "sqlite3.OperationalError: unable to open database file: /no/such/app.db"
    assert "unable to open database file: /no/such/app.db" in diagnose(outcome.problem + "\n").cause


LONG = {
    "sqlalchemy": ("(x) no such table: a\n(Background on this error at: https://h/e)", "(x) no such table: a"),
    "pydantic": ("1 error for A\nDATABASE_URL\n  Field required\n    For further information visit https://h", "1 error for A DATABASE_URL Field required"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), LONG.values(), ids=LONG)
def test_of_a_long_error_the_beginning_is_shown(attempt, text, says):
    assert attempt(f"class Broken(Exception): ...\nraise Broken({text!r})\n").problem == f"wsgi.Broken: {says}"


def test_the_trial_leaves_no_file_of_metrics(attempt, tmp_path):
    folder = tmp_path / "metrics"
    source = "import os\nopen(f\"{os.environ['PROMETHEUS_MULTIPROC_DIR']}/counter_{os.getpid()}.db\", 'w')\n" + HELLO
    assert attempt(source, env={"PROMETHEUS_MULTIPROC_DIR": str(folder)}).problem == ""
    assert list(folder.iterdir()) == []


MODEL = """
import os
from gunicorn.dirty import DirtyApp

class Model(DirtyApp):
    def init(self):
        {init}

    def __call__(self, action, *args, **kwargs):
        return "predicted"

def app(environ, start_response):
    from gunicorn.dirty import get_dirty_client
    answer = get_dirty_client().execute("wsgi:Model", "predict")
    start_response("200 OK", [])
    return [answer.encode()]
"""
DIRTY = {
    "is well": ("pass", "wsgi:Model", ""),
    "cannot load its model": ("raise ValueError('no weights')", "wsgi:Model", "wsgi:Model: ValueError: no weights"),
    "dies": ("os._exit(7)", "wsgi:Model", "wsgi:Model: its process ended"),
    "is not there": ("pass", "other:Model", "No module named 'other'"),
}


@pytest.mark.parametrize("what", DIRTY)
def test_a_dirty_app_is_tried_with_the_release(attempt, what, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    init, name, says = DIRTY[what]
    outcome = attempt(MODEL.replace("{init}", init), more=f"dirty_apps = [{name!r}]; dirty_workers = 4")
    if says:
        assert outcome.step == "dirty workers"
        assert outcome.problem.startswith("the dirty workers are not up: ")
        assert says in outcome.problem
        assert "Traceback" in outcome.output or what == "dies"
    else:
        assert (outcome.problem, outcome.facts.get("health")) == ("", "200 OK")
