# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host without a network, and the playbooks as a user runs them. The tests follow each other as a host's life does.

Run by the Molecule scenario `offline`. By hand, once `./dev molecule offline converge` has been run, each time anew:

    ./dev molecule offline verify
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "lossless")]

import rig.host  # noqa: E402
from rig.host import ROOT, Host  # noqa: E402

from tools import containers  # noqa: E402

SCENARIO = ROOT / "molecule" / "offline"
INVENTORY = ROOT / "molecule" / "inventories" / "offline.yml"
os.environ.setdefault("MOLECULE_SCENARIO_NAME", "offline")  # the inventory asks for it


@dataclass
class Run(rig.host.Run):
    """A playbook that has ended, and what came of its tasks."""

    tasks: list[dict[str, Any]]

    @property
    def changed(self) -> list[tuple[str, str]]:
        """The tasks, with the items of their loops, that changed something."""
        return [(task["task"], task["item"]) for task in self.tasks if task["changed"]]

    @property
    def message(self) -> str:
        return " ".join(" ".join(task["msg"] for task in self.tasks).split())


class Site(Host):
    """The container, and what is deployed onto it."""

    #: Values that nobody may read in what a run prints: before and after a change, and one from a vault.
    secrets = ("a-secret-that-nobody-else-may-read", "the-next-secret-of-the-same-kind", "a-value-that-the-vault-holds")

    def __init__(self, name: str, scratch: Path) -> None:
        super().__init__(name)
        self.scratch = scratch
        self.number = 0
        self.source = scratch / "app"
        shutil.copytree(ROOT / "app", self.source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        (scratch / "vault-password").write_text("not of any use elsewhere\n")
        command = ["ansible-vault", "encrypt_string", *self._vault(), "--name", "vault_token", self.secrets[2]]
        (scratch / "vault.yml").write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def _vault(self) -> list[str]:
        return ["--vault-password-file", str(self.scratch / "vault-password")]

    def playbook(self, path: str, *options: str, app: str = "", **variables: Any) -> Run:
        """Run a playbook of the repository."""
        self.number += 1
        record = self.scratch / f"{self.number}.jsonl"
        command = ["ansible-playbook", "-i", str(INVENTORY), f"playbooks/{path}", *options]
        given: dict[str, Any] = {"flask_app_hosts": "containers"}
        if app:
            command += ["-e", f"@{SCENARIO / 'vars' / app}.yml", "-e", f"@{self.scratch / 'vault.yml'}", *self._vault()]
        if app == "sample":
            given["flask_app_src"] = f"{self.source}/"
        command += ["-e", json.dumps({**given, **variables})]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600, check=False,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_DIFF_ALWAYS": "1", "PYGUN_RECORD": str(record),
                "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"), "ANSIBLE_CALLBACKS_ENABLED": "pygun_record",
            },
        )  # fmt: skip
        recorded = record.read_text() if record.exists() else ""
        told = [secret for secret in self.secrets if secret in done.stdout + recorded]
        assert not told, f"{path} told {told}: {done.stdout}"
        return Run(done.returncode, done.stdout, [json.loads(line) for line in recorded.splitlines()])

    def predicted(self, path: str, app: str = "", **variables: Any) -> Run:
        """The run, after a check of the same that must have said exactly which tasks would change something."""
        check = self.playbook(path, "--check", "--diff", app=app, **variables)
        assert check.ok, check.text
        real = self.playbook(path, app=app, **variables)
        assert real.ok, real.text
        assert check.changed == real.changed, f"{check.text}\n--- and in truth ---\n{real.text}"
        return real

    def masters(self, app: str) -> dict[str, str]:
        """supervisorctl's words for each instance of an app, with the pid, once none is starting."""
        deadline = time.monotonic() + 30
        while True:
            lines = [line.split() for line in self.run("supervisorctl", "status", check=False).splitlines()]
            found = {line[0]: " ".join(line[1:4]) for line in lines if line[0].startswith(f"{app}:")}
            if "STARTING" not in found.values() or time.monotonic() > deadline:
                return found
            time.sleep(0.8)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    name = f"{containers.prefix()}-offline-bookworm"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule offline converge`"
    return Site(name, tmp_path_factory.mktemp("offline"))


@pytest.fixture(scope="session")
def bare(site: Site) -> set[str]:
    """The host as it was before anything of the collection came."""
    return site.listing()
