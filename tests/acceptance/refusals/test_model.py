# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service with a model, next to the app of the scenario: what travels, what is built, what is stored, and what a kill leaves.

The tests follow each other as deploys do, and take the service away at the end: `test_refusals.py` finds the host as it was.
PYGUN_FULL=1 takes the real libraries and a model of 300 MB.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import containers

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "acceptance" / "lossless")]

from benchmarks.model import LIBRARIES, MIB, ModelApp, OnHost  # noqa: E402

os.environ.setdefault("MOLECULE_SCENARIO_NAME", "refusals")  # the inventory asks for it
FULL = bool(os.environ.get("PYGUN_FULL"))
SIZE, PACKAGES = (300 * MIB, LIBRARIES) if FULL else (20 * MIB, {"numpy": "numpy"})
SERVICE = {
    "flask_app_hosts": "serving",
    "flask_app_name": "model",
    "flask_app_health_path": "/healthz",
    "flask_app_bind": "127.0.0.1:5017",
    "flask_app_workers": 1,
    "flask_app_boot_timeout": 120,
    "flask_app_keep_releases": 10,
    "supervisor_logrotate_interval": 86400,
}
#: In ssh's place: sends the beginning of a part of the archive, and then nothing more.
HANGING = """\
#!/bin/sh
for text; do :; done
case $text in
    *dd\\ of=*/release.tar.gz*) head -c 1000000 | "$PEXEC" "$@"; touch "$SENT"; sleep 300; exit 255 ;;
    *) exec "$PEXEC" "$@" ;;
esac
"""


@dataclass
class Run:
    """A playbook that has ended, and what it sent."""

    code: int
    text: str
    sent: int
    content: int


class Service:
    """The service, and the playbooks."""

    def __init__(self, scratch: Path) -> None:
        self.host = OnHost(f"{containers.prefix()}-refusals-serving")
        self.scratch = scratch
        self.app = ModelApp(scratch / "model", PACKAGES, SIZE)

    def start(self, playbook: str, connect: Path, **environ: str) -> subprocess.Popen:
        given = {**SERVICE, "flask_app_src": f"{self.app.folder}/", "ansible_ssh_executable": str(connect)}
        given |= {"uninstall_data": True} if playbook == "uninstall" else {}
        return subprocess.Popen(
            ["ansible-playbook", "-i", "molecule/inventories/refusals.yml", f"playbooks/{playbook}.yml", "-e", json.dumps(given)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **environ},
        )  # fmt: skip

    def run(self, playbook: str) -> Run:
        count = self.scratch / "count"
        count.write_text("")
        process = self.start(playbook, ROOT / "benchmarks" / "counting-pexec", BENCH_COUNT=str(count))
        text = process.communicate(timeout=3600)[0]
        noted = [[int(word) for word in line.split()] for line in count.read_text().splitlines()]
        return Run(process.returncode, text, sum(line[0] for line in noted), sum(line[1] for line in noted))

    def deploy(self) -> Run:
        """A deploy that must work."""
        done = self.run("deploy")
        assert done.code == 0, done.text
        return done

    def answer(self) -> tuple[str, str]:
        """The version and the model that serve."""
        code = (
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5017/healthz', timeout=20).read().decode())"
        )
        told = json.loads(self.host.run("python3", "-c", code))
        assert told["libraries"] == list(PACKAGES.values())
        return told["version"], told["model"]

    def current(self) -> str:
        return self.host.run("readlink", "/srv/model/current").strip()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    service = Service(tmp_path_factory.mktemp("model"))
    began = time.monotonic()
    done = service.deploy()
    print(f"first install: {time.monotonic() - began:.1f} s, {done.content:,} bytes of files")
    assert SIZE < done.content < 1.01 * SIZE
    assert service.answer() == ("1", "1")
    assert len(service.host.environments("model")) == 1
    yield service
    done = service.run("uninstall")
    assert done.code == 0, done.text


def test_another_line_sends_and_stores_little(service):
    disk = service.host.disk("model")
    service.app.version("2")
    done = service.deploy()
    print(
        f"another line: {done.sent:,} bytes in all, {done.content:,} of files, {service.host.disk('model') - disk:,} of disk"
    )
    assert service.answer() == ("2", "1")
    assert done.content <= 200_000
    assert service.host.disk("model") - disk <= 1_000_000
    assert len(service.host.environments("model")) == 1


def test_an_upload_that_is_killed_changes_nothing_and_the_next_deploy_is_whole(service, tmp_path):
    current = service.current()
    service.app.model(2, SIZE)
    hanging, sent = tmp_path / "hanging", tmp_path / "sent"
    hanging.write_text(HANGING)
    hanging.chmod(0o755)
    process = service.start("deploy", hanging, PEXEC=str(ROOT / "molecule" / "shared" / "pexec"), SENT=str(sent))
    end = time.monotonic() + 300
    while not sent.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (service.current(), service.answer()) == (current, ("2", "1"))

    before = service.host.environments("model")
    done = service.deploy()
    assert service.answer() == ("2", "2")
    assert SIZE < done.content <= 1.01 * SIZE  # the model alone
    assert service.host.environments("model") == before  # no package is built


def test_a_model_that_the_app_cannot_use_serves_nobody(service):
    current = service.current()
    good = service.app.path.read_bytes()
    service.app.path.write_bytes(b"NO" + good)
    done = service.run("deploy")
    service.app.path.write_bytes(good)
    assert done.code != 0
    assert "model.bin is not a model" in done.text
    assert (service.current(), service.answer()) == (current, ("2", "2"))


def test_a_rollback_brings_the_model_of_before_and_sends_none(service):
    done = service.run("rollback")
    assert done.code == 0, done.text
    assert service.answer() == ("2", "1")
    assert done.content == 0
