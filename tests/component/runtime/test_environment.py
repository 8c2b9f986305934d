"""What the environment file says is there from the first instruction on, however a process of the app is started."""

import json
import os
import signal
import subprocess
import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import build

FILE = """
TZ="Asia/Shanghai"
PYTHONHASHSEED="7"
MALLOC_ARENA_MAX="2"
SETTINGS="{release}/src/app.cfg"
"""
APP = """
import os, sys, time
AT_IMPORT = time.strftime("%Z")

def app(environ, start_response):
    time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, -1))  # reads TZ again
    started_with = open(f"/proc/{os.getpid()}/environ").read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    says = {
        "zone": [AT_IMPORT, time.tzname[0], time.strftime("%Z")],
        "hash": hash("x"),
        "arenas": "MALLOC_ARENA_MAX=2" in started_with,
        **{name: os.environ.get(name) for name in ("SETTINGS", "PYGUN_RELEASE", "PYGUN_SHARED_DIR", "NEW")},
    }
    return [repr(says).encode()]
"""


@pytest.fixture
def env_file(host):
    path = host.folder / "app.env"
    path.write_text(FILE)
    return path


@pytest.fixture
def release(host, env_file):
    """A complete release with an environment file, in the place of one."""
    made = host.complete(host.release(APP, runtime=f"env_file={str(env_file)!r}"))
    (made / "release.json").write_text(json.dumps({"service": {"env_file": str(env_file)}}))
    place = host.folder / "releases" / "0123456789abcdef"
    place.parent.mkdir()
    (host.folder / "shared").mkdir()
    return made.rename(place)


def expected(release):
    seeded = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", "print(hash('x'))"]
    return {
        "zone": ["CST", "CST", "CST"],
        "hash": int(subprocess.run(command, env=seeded, capture_output=True, text=True, check=True).stdout),
        "arenas": True,
        "SETTINGS": f"{release}/src/app.cfg",
        "PYGUN_RELEASE": str(release),
        "PYGUN_SHARED_DIR": str(release.parents[1] / "shared"),
        "NEW": None,
    }


def said(host):
    return eval(host.get()[2])  # noqa: S307


@pytest.mark.parametrize("how", ["by the launcher", "by an older launcher", "by hand"])
def test_it_is_there_from_the_first_instruction(host, release, how):
    if how == "by the launcher":
        current = host.folder / "current"
        current.symlink_to(release)
        instance = host.launch(current)
    else:
        program = ["-m", "gunicorn"] if how == "by hand" else [str(release / "venv" / "bin" / "gunicorn")]
        instance = host.start(arguments=[sys.executable, *program, "-c", str(release / "pygun.py")])
    instance.wait_ready()
    assert said(host) == expected(release)
    assert instance.record()["pid"] == instance.pid


def test_a_hup_takes_what_can_still_be_taken(host, release, env_file, eventually):
    instance = host.start(arguments=[sys.executable, "-m", "gunicorn", "-c", str(release / "pygun.py")]).wait_ready()
    old = instance.workers()
    env_file.write_text('TZ="UTC"\nNEW="1"\n')
    instance.signal(signal.SIGHUP)
    eventually(lambda: instance.workers() and set(old).isdisjoint(instance.workers()), what=instance.log)
    now = said(host)
    assert (now["zone"], now["NEW"], now["SETTINGS"]) == (["UTC"] * 3, "1", None)


def test_a_command_by_hand_has_what_an_instance_has(release, tmp_path):
    show = "import os, sys; print(os.getcwd(), sys.argv[1], os.environ['TZ'], os.environ['OWN'], hash('x'))"
    build._write_run(str(release))
    run = [str(release / "run")]
    environ = {"PATH": os.environ["PATH"], "OWN": "{release}/x"}
    command = [*run, "python", "-c", show, "{release}/a.cfg"]
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    words = [f"{release}/src", f"{release}/a.cfg", "Asia/Shanghai", f"{release}/x", str(expected(release)["hash"])]
    assert ended.stdout.split() == words, ended.stderr


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        (FILE, [], "usage: run PROGRAM"),
        (FILE, ["no-such-program"], "cannot run no-such-program of release"),
        ('X="1', ["true"], "app.env, line 1: the value of X has no closing"),
    ],
)
def test_a_command_that_cannot_run_says_why(release, env_file, content, words, says):
    env_file.write_text(content)
    run = [sys.executable, "-IS", str(release / "lib" / "pygun_runtime" / "run.py"), *words]
    ended = subprocess.run(run, capture_output=True, text=True)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_setting_names_the_release_too(host, release):
    settings = (
        (release / "pygun.py")
        .read_text()
        .replace("wsgi_app =", "proc_name = '{release}'\nraw_env = ['NEW={release}/x']\nwsgi_app =")
    )
    (release / "pygun.py").write_text(settings)
    host.start(arguments=[sys.executable, "-m", "gunicorn", "-c", str(release / "pygun.py")]).wait_ready()
    assert said(host)["NEW"] == f"{release}/x"


METRICS = """
import os

def app(environ, start_response):
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    for kind in ("counter", "gauge_livesum", "gauge_max"):
        open(f"{folder}/{kind}_{os.getpid()}.db", "a").close()  # as prometheus_client names them
    start_response("200 OK", [])
    return [" ".join(sorted(os.listdir(folder))).encode()]
"""


def test_files_of_metrics_are_those_of_living_workers(host, eventually):
    folder, env_file = host.folder / "run" / "metrics", host.folder / "app.env"
    env_file.write_text(f'PROMETHEUS_MULTIPROC_DIR="{folder}"\n')
    options = {"app": METRICS, "runtime": f"env_file={str(env_file)!r}"}
    first = host.start(name="app-0", **options).wait_ready()
    second = host.start(name="app-1", **options).wait_ready()
    (old,), (other,) = first.workers(), second.workers()
    for instance in (first, second):
        assert host.get(address=instance.private)[0] == 200
    (folder / "app.db").touch()
    (folder / "counter_1.db").touch()  # of a process that lives
    os.kill(old, signal.SIGKILL)
    eventually(lambda: not (folder / f"gauge_livesum_{old}.db").exists(), what=first.log)
    assert (folder / f"counter_{old}.db").exists()  # what it counted counts until the instance starts again
    first.stop()
    again = host.start(name="app-0", **options).wait_ready()
    (new,) = again.workers()
    names = [f"{kind}_{pid}.db" for kind in ("counter", "gauge_livesum", "gauge_max") for pid in (new, other)]
    assert host.get(address=again.private)[2].split() == sorted([*names, "app.db", "counter_1.db"])
