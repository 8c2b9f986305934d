# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who asks for a release that stands is told whether it is in service: exactly then a deploy activates nothing."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.activation.conftest import App, as_root
from tests.component.supervised import eventually, outcome, start_module

RUN = Path(__file__).parents[1] / "run_module.py"


@pytest.fixture(scope="module")
def app(host):
    """One that the tests share, each of which leaves it as it found it."""
    one = App(host, instances=1)
    yield one
    one.remove()


@pytest.fixture(scope="module")
def ask(app):
    """Ask the module `release`, with what the role gives to the activation, about an app whose release serves."""

    def told(check=False, **more):
        given = app.parameters("")
        del given["release"]
        given["retry_failed"] = True
        given["program_conf"] = {"path": str(app.conf), "content": app.conf_content()}
        given["env_file"] = {"path": str(app.env), "content": app.env_content}
        given.update(more)
        asked = {
            "name": app.name,
            "root": str(app.root),
            "group": "root",
            "python": sys.executable,
            "activation": given,
        }
        module = [*as_root(), sys.executable, str(RUN), "release"]
        return outcome(start_module(module, {**asked, "_ansible_check_mode": check}))

    first = told()
    assert (first["exists"], first["settled"]) == (False, False)
    release = app.release(named=first["release"])
    assert (told()["exists"], told()["settled"]) == (True, False)
    done = app.deploy(release)
    assert not done.get("failed"), done["msg"]
    return told


def test_a_release_that_serves_is_settled(app, ask):
    before = (app.pids(), app.state)
    told = ask()
    assert told["settled"]
    assert not told["changed"]
    assert not app.deploy(told["release"])["changed"]
    assert (app.pids(), app.state) == before


def test_no_secret_is_in_the_answer(app, ask):
    env_file = {"path": str(app.env), "content": "TOKEN=not-for-everybody\n"}
    assert "not-for-everybody" not in json.dumps(ask(env_file=env_file))


def test_a_check_asks_the_activation_itself(ask):
    assert not ask(check=True)["settled"]


def test_what_an_activation_would_change_is_not_settled(app, ask):
    assert not ask(env_file={"path": str(app.env), "content": "COLOUR=blue\n"})["settled"]
    assert not ask(program_conf={"path": str(app.conf), "content": app.conf_content() + "priority=5\n"})["settled"]
    assert not ask(restart=True)["settled"]
    assert ask()["settled"]


def test_an_app_that_does_not_run_or_answer_is_not_settled(app, ask, host):
    host.status().stop(f"{app.name}:{app.name}-0")
    assert not ask()["settled"]
    host.status().start(f"{app.name}:{app.name}-0")
    eventually(lambda: ask()["settled"])


def test_while_somebody_else_works_or_was_interrupted_nothing_is_settled(app, ask):
    with (app.root / "activation.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not ask()["settled"]
    assert ask()["settled"]
    journal = app.root / "activation.json"
    interrupted = {"version": 1, "step": "roll", "release": app.current, "baseline": app.current, "files": []}
    for content in (json.dumps(interrupted), "not to be understood"):
        journal.write_text(content)
        assert not ask()["settled"]
        assert journal.read_text() == content
    journal.unlink()


def test_an_activation_that_cannot_be_understood_is_refused(app, ask):
    told = ask(keep="many")
    assert told["failed"]
    assert "keep" in told["msg"]


@pytest.mark.skipif(os.getuid() != 0, reason="the module runs as root")
def test_a_play_ends_with_a_sentence_of_what_the_host_serves(served, tmp_path):
    root = Path(__file__).parents[3]
    served.deploy(served.current)
    task = {"pygun.stack.activate": served.parameters(served.current, env_file={"path": str(served.env)})}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environ.update(ANSIBLE_COLLECTIONS_PATH=str(root / ".cache" / "collections"), PYTHONUTF8="1", HOME=str(tmp_path))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"), "-i", "here,", "-c", "local", tmp_path / "play.yml",
            "-e", f"ansible_python_interpreter={sys.executable}",
        ],
        capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = f"{served.name}: here already serves release {served.current} at 127.0.0.1:{served.port}."
    assert done.stdout.splitlines().count(told) == 1
