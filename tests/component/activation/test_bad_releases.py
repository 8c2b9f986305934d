"""A bad release leaves the old one serving, without a failed request, and says what is wrong with it."""

import json
import os
import pwd
import shutil
import subprocess

import pytest

BAD = {
    "import error": ({"source": "import not_there_at_all\n"}, "imports not_there_at_all"),
    "missing attribute": ({"wsgi": "wsgi:application"}, "has no attribute application"),
    "syntax error": ({"source": "def app(:\n"}, "does not compile"),
    "sys.exit at import": ({"source": "import sys; sys.exit(0)\n"}, "calls sys.exit()"),
    "argument parser at import": (
        {"source": "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()\n"},
        "parses a command line while it is imported",
    ),
    "segmentation fault at import": ({"source": "import ctypes; ctypes.string_at(0)\n"}, "crashed in native code"),
    "hang at import": ({"source": "import time; time.sleep(100)\n"}, "still booting"),
    "health answers 503": ({"health": "503 NOT TODAY"}, "health endpoint answers 503"),
    "health raises": (
        {"source": "def app(environ, start_response):\n    raise KeyError('database')\n"},
        "health endpoint raises KeyError",
    ),
    "health hangs": (
        {"source": "import time\ndef app(environ, start_response):\n    time.sleep(100)\n"},
        "health endpoint does not answer in time",
    ),
    "setting that gunicorn rejects": ({"settings": "timeout = 'soon'"}, "gunicorn rejects the setting timeout"),
    "pygun.py that does not run": ({"settings": "workers = 1 / 0"}, "cannot execute"),
}


#: One for each way in which an instance fails; the trial, the boot and the diagnosis have tests of their own of all kinds.
FEW = (
    "segmentation fault at import",
    "hang at import",
    "health answers 503",
    "pygun.py that does not run",
)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in FEW else pytest.mark.full) for kind in BAD])
def test_a_bad_release_leaves_the_old_one_serving(old, load, kind):
    given, cause = BAD[kind]
    before, state, serving = old.pids(), old.state, old.current
    bad = old.release(**given)
    with load(old) as requests:
        result = old.deploy(bad)
    assert requests.failures == []
    assert result["failed"]
    assert result["code"]
    assert result["msg"].count(cause) == 1
    assert result["step"] == "roll"
    assert result["rolled_back"] is True
    assert f"Release {serving} serves now" in result["msg"]
    assert "The host is as it was before." in result["msg"]
    assert f"/releases/{bad}/src " in result["msg"]
    assert set(old.releases_running().values()) == {serving}
    assert old.pids()[f"{old.name}-1"] == before[f"{old.name}-1"], "the second instance must not have been touched"
    assert old.current == serving
    assert old.state["failed"].pop(bad)["step"] == "roll"
    assert (old.state["previous"], old.state["history"]) == (state["previous"], state["history"])
    assert old.leftovers() == []


def test_the_error_shows_the_last_log_lines_of_the_instance_since_its_start_and_a_command_that_reproduces_it(old):
    result = old.deploy(old.release(source="print('a word before the end', flush=True)\nimport not_there_at_all\n"))
    lines = result["msg"].splitlines()
    assert any("a word before the end" in line for line in lines)
    assert result["instance"] == f"{old.name}-0"
    assert "Starting gunicorn" in "".join(lines[2:5])
    assert [line for line in lines if "site-packages/gunicorn" in line or "pygun_runtime/" in line] == []
    assert sum("ModuleNotFoundError" in line for line in lines) == 1, "each worker says the same"
    assert str(old.log / f"{old.name}-0.log") in result["msg"]
    start, command = result["msg"].partition("To reproduce: ")[2].splitlines()[0].split(" -- ")
    assert start.split()[2] == old.name
    again = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, timeout=30)  # noqa: S602
    assert again.returncode != 0
    assert "No module named 'not_there_at_all'" in again.stderr


def test_the_error_shows_what_came_out_below_python(old):
    """A crash that ends the process writes to file descriptor 2, which supervisord keeps in the raw log."""
    source = "import os\nos.write(2, b'a word from below\\n')\nimport not_there_at_all\n"
    result = old.deploy(old.release(source=source))
    assert "    a word from below" in result["msg"].splitlines()
    assert "imports not_there_at_all" in result["msg"]
    raw, log = ((old.log / f"{old.name}-0{end}").read_text() for end in (".raw.log", ".log"))
    assert "a word from below" in raw and "a word from below" not in log
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


def test_a_missing_log_is_made_before_a_start(old):
    for number in range(2):
        (old.log / f"{old.name}-{number}.log").unlink()
    result = old.deploy(old.release())
    assert not result.get("failed"), result["msg"]
    for number in range(2):
        log = old.log / f"{old.name}-{number}.log"
        assert "Starting gunicorn" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o640
        assert "Starting gunicorn" not in (old.log / f"{old.name}-{number}.raw.log").read_text()


def test_a_failed_release_is_refused_unless_it_is_deployed(old):
    bad = old.release(health="503 NOT TODAY")
    old.deploy(bad)
    pids = old.pids()
    result = old.activate(bad)
    assert result["failed"]
    assert "failed when it was tried" in result["msg"]
    assert "Nothing was changed." in result["msg"]
    assert old.pids() == pids
    source = old.root / "releases" / bad / "src" / "wsgi.py"
    source.write_text(source.read_text().replace("503 NOT TODAY", "200 OK"))
    result = old.deploy(bad)
    assert not result.get("failed"), result["msg"]
    assert bad not in old.state["failed"]


def test_the_release_before_that_is_gone_is_said_loudly_and_what_answers_stays(served):
    gone = served.current
    new = served.release(source=ONLY_ON_THE_FIRST_INSTANCE)
    shutil.move(served.root / "releases" / gone, served.folder / "elsewhere")
    result = served.deploy(new)
    assert result["failed"]
    assert result["rolled_back"] is False
    assert "THE WAY BACK FAILED TOO" in result["msg"]
    assert f"{gone} that served before, or its Python, is gone" in result["msg"]
    assert served.get()[0] == 200
    good = served.release()
    result = served.deploy(good)
    assert not result.get("failed"), result["msg"]
    assert set(served.releases_running().values()) == {good}
    assert served.leftovers() == []


ONLY_ON_THE_FIRST_INSTANCE = """
import os
assert os.environ["SUPERVISOR_PROCESS_NAME"].endswith("-0")
def app(environ, start_response):
    start_response("200 OK", [])
    return [VERSION.encode()]
"""


def test_a_release_that_fails_on_the_second_instance_is_taken_back_from_the_first(old, load):
    serving = old.current
    with load(old) as requests:
        result = old.deploy(old.release(source=ONLY_ON_THE_FIRST_INSTANCE))
    assert requests.failures == []
    assert result["failed"]
    assert result["instance"] == f"{old.name}-1"
    assert set(old.releases_running().values()) == {serving}
    assert old.leftovers() == []


def test_a_release_is_tried_before_an_instance_stops_unless_flask_app_preflight_says_no(make_app):
    app = make_app(instances=1)
    app.conf_extra = f"user={pwd.getpwuid(os.getuid()).pw_name}\n"
    assert app.deploy(app.release())["changed"]
    before, bad = app.pids(), app.release(**BAD["import error"][0])
    assert app.deploy(bad)["step"] == "preflight"
    assert app.pids() == before
    assert app.deploy(bad, preflight=False)["step"] == "roll"
    assert app.pids()[f"{app.name}-0"] != before[f"{app.name}-0"]


@pytest.mark.parametrize("user", ["", "user=root\n"], ids=["while it boots", "when it is tried"])
def test_what_a_release_says_of_its_secrets_is_told_without_them(make_app, user):
    """The error goes to the control node, and its reason into a file that every user of the host may read."""
    app = make_app(instances=1)
    app.conf_extra = user
    app.env_content = 'COLOUR="red"\nDATABASE_URL="postgresql://me:tr0ub4dor@db/x"\nAPI_TOKEN="hunter2hunter2"\n'
    assert not app.deploy(app.release(), preflight=False).get("failed")
    refuses = "import os\nraise RuntimeError('no {DATABASE_URL} for {API_TOKEN}'.format(**os.environ))\n"
    result = app.deploy(app.release(source=refuses))
    assert "RuntimeError: no *** for ***" in result["msg"]
    for text in (json.dumps(result), (app.root / "state.json").read_text()):
        assert "tr0ub4dor" not in text
        assert "hunter2" not in text
