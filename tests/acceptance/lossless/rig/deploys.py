# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbooks, run as a user runs them, and the app in its many versions."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rig.host
from rig.host import ROOT

INVENTORY = ROOT / "molecule" / "inventories" / "lossless.yml"
VARIABLES = ROOT / "molecule" / "lossless" / "vars"


class Source:
    """A copy of app/ that may be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset()

    def reset(self) -> Source:
        """The app as it is in the repository."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "app", self.folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return self

    def replace(self, name: str, old: str, new: str) -> Source:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))
        return self

    def version(self, version: str) -> Source:
        """Another version, which every answer names."""
        path = self.folder / "scoring" / "__init__.py"
        path.write_text(
            re.sub(r'^__version__ = ".*"', f'__version__ = "{version}"', path.read_text(), flags=re.MULTILINE)
        )
        return self

    def at_import(self, code: str) -> Source:
        """Code that runs before the app is made."""
        path = self.folder / "wsgi.py"
        path.write_text(f"{code}\n\n{path.read_text()}")
        return self

    def in_health(self, code: str) -> Source:
        """Code that the health endpoint begins with."""
        return self.replace("scoring/views.py", "    current_app.extensions", f"    {code}\n    current_app.extensions")

    def require(self, line: str) -> Source:
        with (self.folder / "requirements.txt").open("a") as stream:
            stream.write(f"{line}\n")
        return self


@dataclass
class Run(rig.host.Run):
    """A playbook that has ended, and how long it took."""

    seconds: float

    def release(self) -> str:
        """The release that the play built or found."""
        return re.findall(r"\b[0-9a-f]{16}\b", self.text)[-1]


class Playbook:
    """A playbook that runs."""

    def __init__(self, name: str, variables: list[str | Path], log: Path) -> None:
        self.log = log
        command = ["ansible-playbook", "-i", str(INVENTORY), f"playbooks/{name}.yml"]
        for given in variables:
            command += ["-e", f"@{given}" if isinstance(given, Path) else given]
        self.begun = time.monotonic()
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            )  # fmt: skip

    def end(self, timeout: float = 300) -> Run:
        code = self.process.wait(timeout)
        return Run(code, self.log.read_text(), time.monotonic() - self.begun)

    def kill(self) -> None:
        """SIGKILL to ansible-playbook and all that it has started on the control node."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class App:
    """One app of the scenario."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        self.scratch = scratch
        self.source = Source(scratch / f"{name}-app")
        self.runs = 0
        #: Variables that every run of a playbook gets.
        self.settings: dict[str, Any] = {}

    def start(self, playbook: str, source: Source | None = None, **settings: Any) -> Playbook:
        """Start a playbook. The settings are flask_app_* variables without their prefix."""
        self.runs += 1
        variables: list[str | Path] = [VARIABLES / f"{self.name}.yml"]
        given = {**self.settings, **settings}
        if self.name == "sample":
            given["src"] = f"{(source or self.source).folder}/"
        variables.append(
            json.dumps({key if "supervisor_" in key else f"flask_app_{key}": value for key, value in given.items()})
        )
        return Playbook(playbook, variables, self.scratch / f"{self.runs:03}-{playbook}.log")

    def run(self, playbook: str, source: Source | None = None, **settings: Any) -> Run:
        return self.start(playbook, source, **settings).end()

    def deploy(self, source: Source | None = None, **settings: Any) -> Run:
        """A deploy that must work."""
        done = self.run("deploy", source, **settings)
        assert done.ok, done.text
        return done
