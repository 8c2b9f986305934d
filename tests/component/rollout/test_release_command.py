"""Of the hosts of a rollout one runs the release command, and the others wait for its outcome, whatever their number at a time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.activation.conftest import App, Host, as_root

ROOT = Path(__file__).parents[3]


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Activate
      pygun.stack.activate:
        name: app1
        release: "{{{{ release }}}}"
        retry_failed: true
        rollout: "{rollout}"
        root: "{{{{ folder }}}}/app1/srv"
        run_dir: "{{{{ folder }}}}/app1/run"
        log_dir: "{{{{ folder }}}}/app1/log"
        supervisor_socket: "{{{{ folder }}}}/supervisor.sock"
        program_conf: {{path: "{{{{ folder }}}}/conf.d/app1.conf"}}
        env_file: {{path: "{{{{ folder }}}}/app1/etc/app.env"}}
        release_command: {command}
"""


@pytest.fixture
def apps():
    """The app of one name on two hosts."""
    hosts = [Host(), Host()]
    for host in hosts:
        host.boot()
    found = [App(host, instances=1) for host in hosts]
    for app in found:
        app.deploy(app.release())
    yield found
    for host in hosts:
        host.shut_down()
        shutil.rmtree(host.folder)


def test_of_two_hosts_at_the_same_time_one_runs_it_and_the_other_waits(apps, tmp_path):

    def play(command, releases, **options):
        hosts = "".join(
            f"host{number} folder={app.host.folder} release={release}\n"
            for number, (app, release) in enumerate(zip(apps, releases, strict=True))
        )
        (tmp_path / "hosts").write_text(
            f"{hosts}[all:vars]\nansible_connection=local\nansible_python_interpreter={sys.executable}\n"
        )
        (tmp_path / "play.yml").write_text(PLAY.format(command=json.dumps(command), rollout="7"))
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"), **options)
        playbook = [
            *as_root(),
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            tmp_path / "hosts",
            tmp_path / "play.yml",
        ]
        done = subprocess.run(playbook, capture_output=True, text=True, check=False, env=environ, timeout=120)
        return " ".join((done.stdout + done.stderr).split())

    fails = ["sh", "-c", f"echo ran >> {tmp_path}/ran; echo broken; exit 1"]
    before = [app.current for app in apps]
    said = play(fails, [app.release() for app in apps])
    assert "ended with exit code 1" in said
    assert "on which the release command runs for all hosts, has failed" in said
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert [app.current for app in apps] == before
    assert sum("failed" in app.state and bool(app.state["failed"]) for app in apps) == 1

    good = ["sh", "-c", f"sleep 1; echo ran >> {tmp_path}/good; echo migrated"]
    new = [app.release() for app in apps]
    said = play(good, new, ANSIBLE_FORKS="5")
    assert (tmp_path / "good").read_text() == "ran\n", said
    assert [app.current for app in apps] == new
    records = [app.state["commands"][release] for app, release in zip(apps, new, strict=True)]
    assert sorted(bool(record["host"]) for record in records) == [False, True]
    assert said.count("has run the release command in") == 1
    for app, old in zip(apps, before, strict=True):
        assert app.rollback(old)["crossed"], "each host knows"
