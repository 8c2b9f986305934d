# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The runtime on each gunicorn that an app may name: real ones, from the package index, kept in .cache."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.environment import uv_variables
from tools.shell import CACHE

RUNTIME = Path(__file__).parents[3] / "roles" / "flask_app" / "files"
VERSIONS = ["20.1.0", "21.2.0", "22.0.0", "23.0.0", "24.1.1", "25.3.0", "26.2.0", "27.0.0"]
TELLING = ["20.1.0", "26.2.0"]


@pytest.fixture(scope="module", params=VERSIONS if os.environ.get("PYGUN_FULL") else TELLING)
def gunicorn(request):
    """Version and folder of a gunicorn; everything else comes from the environment of the tests."""
    folder = CACHE / "gunicorns" / request.param
    if not (folder / "made").exists():
        wanted = [f"gunicorn=={request.param}", *(["setuptools<80.9"] if request.param.startswith("20.") else [])]
        command = ["uv", "pip", "install", "--quiet", "--no-config", "--no-deps", "--python", sys.executable]
        subprocess.run(
            [*command, "--target", folder, *wanted], check=True, env={**os.environ, **uv_variables(sys.executable)}
        )
        (folder / "made").touch()
    return request.param, folder


@pytest.fixture
def start(gunicorn, host):
    """Start an instance on that gunicorn, as an activation does."""
    (host.folder / "log").mkdir()
    (host.folder / "log" / "app-0.log").touch()

    def begin(**options):
        return host.start(
            gate=True,
            environ={"PYTHONPATH": f"{RUNTIME}:{gunicorn[1]}"},
            runtime=f"health_path='/healthz', log_dir={str(host.folder / 'log')!r}",
            own="control_socket = runtime.control_socket",
            control_socket_disable=None,
            accesslog="-",
            **options,
        )

    return begin


def lines(host):
    """Every line of the instance's log, each of which is JSON."""
    return [json.loads(line) for line in (host.folder / "log" / "app-0.log").read_text().splitlines()]


def test_it_serves_with_its_own_worker_and_says_so(start, host, gunicorn, eventually):
    instance = start(workers=2).wait_ready(2)
    record = instance.record()
    assert (record["gunicorn"], record["worker_class"], record["lossless"]) == (gunicorn[0], "gevent", False)
    status, headers, _body = host.get("/healthz", instance.private)
    assert (status, bool(headers["x-request-id"])) == (200, True)
    killed = int(host.get("/")[2])
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(set(instance.workers()) - {killed}) == 2, what=instance.log)
    client = host.connect()
    client.send("/wait/1.0")
    time.sleep(0.3)  # it is in flight
    instance.signal(signal.SIGTERM)
    assert client.receive()[0] == 200
    assert instance.wait_exit() == 0
    said = lines(host)
    assert {line["http.response.status_code"] for line in said if line["log.logger"] == "access"} == {200}
    warned = [line["message"] for line in said if line["log.level"] == "warning"]
    assert any(f"gunicorn {gunicorn[0]} is not known to the lossless worker" in text for text in warned)
    assert not any("ignores" in text for text in warned)


def test_a_caller_does_not_say_where_the_app_is_served(start, host):
    """Not even one that gunicorn trusts, as it does the address of this test."""
    app = """
        def app(environ, start_response):
            start_response('200 OK', [])
            return [environ["SCRIPT_NAME"].encode() + b" " + environ["PATH_INFO"].encode()]
    """
    start(app=app).wait_ready()
    client = host.connect()
    client.send("/admin/users", headers=["SCRIPT_NAME: /admin", "PATH_INFO: /public", "Connection: close"])
    assert client.file.readline().split()[1] == b"200"
    assert client.file.read().endswith(b" /admin/users\r\n0\r\n\r\n")


def test_a_worker_that_is_not_healthy_ends_its_instance(start, host):
    app = "def app(environ, start_response):\n    start_response('500 No', [])\n    return [b'broken']\n"
    assert start(app=app).wait_exit() == 3
    assert any("refusing to serve: GET /healthz answered 500" in line["message"] for line in lines(host))


def test_the_preflight_knows_it(start, host, gunicorn):
    instance = start()
    shutil.copytree(RUNTIME, instance.release / "lib")
    program = instance.release / "lib" / "pygun_runtime" / "preflight.py"
    run = f"import runpy, sys; sys.path[:0] = {[str(gunicorn[1])]!r}; sys.argv[1:] = ['2']; runpy.run_path({str(program)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", run],
        env={"PYTHONPATH": str(instance.release / "lib"), "PATH": os.environ["PATH"]},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert '"done": {' in done.stderr, done.stderr


def test_a_stop_that_came_before_a_worker_could_hear_it_ends_the_worker():
    """It stands in a copy of the master's queue, which was a list before gunicorn 24."""
    program = """
import signal
from types import SimpleNamespace
from pygun_runtime.lifecycle import _Boot, _end_when_stopped
_end_when_stopped(SimpleNamespace(SIG_QUEUE=[signal.SIGTERM]), _Boot(False))
print("goes on")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(RUNTIME)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
