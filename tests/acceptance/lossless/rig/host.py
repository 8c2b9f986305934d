# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The container host, seen from the control node."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import containers

HERE = "/var/lib/pygun-acceptance"  # on the host; unlike /tmp it outlives a reboot
ROOT = Path(__file__).resolve().parents[4]


@dataclass
class Run:
    """A playbook that has ended."""

    code: int
    text: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def message(self) -> str:
        """The text in one line, as Ansible breaks it where it likes."""
        return " ".join(self.text.split())


class Host:
    """One container."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine = containers.remember_engine()
        assert self.engine, "there is no container engine"
        self.put({HERE: [*(ROOT / "tests" / "load").glob("*.py"), Path(__file__).with_name("on_host.py")]})

    def spawn(self, *command: str, **options: Any) -> subprocess.Popen:
        """Start a program on the host."""
        return subprocess.Popen([self.engine, "exec", "-i", self.name, *command], text=True, **options)

    def run(self, *command: str, check: bool = True, timeout: float = 300, text: str = "") -> str:
        """Run a program on the host; what it printed."""
        done = subprocess.run(
            [self.engine, "exec", "-i", self.name, *command],
            input=text, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def tell(self, *words: str) -> dict[str, Any]:
        """Ask on_host.py."""
        return json.loads(self.run("python3", f"{HERE}/on_host.py", *words))

    def telling(self, *words: str) -> Telling:
        """Ask on_host.py something whose answer comes later."""
        return Telling(
            self.spawn("python3", f"{HERE}/on_host.py", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )

    def observe(self, app: str) -> dict[str, Any]:
        """What stands and runs there."""
        return self.tell("observe", app)

    def listing(self) -> set[str]:
        """All that stands there: files, accounts, units, packages."""
        program = Path(__file__).with_name("listing.py").read_text()
        return set(self.run("python3", "-", text=program).splitlines()) - {""}

    def put(self, folders: dict[str, list[Path]]) -> None:
        """Copy files to the host."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for folder, paths in folders.items():
                for path in paths:
                    archive.add(path, f"{folder.lstrip('/')}/{path.name}")
        subprocess.run(
            [self.engine, "exec", "-i", self.name, "tar", "-x", "--no-same-owner", "-C", "/"],
            input=packed.getvalue(), check=True, timeout=60,
        )  # fmt: skip

    def reboot(self) -> None:
        """Everything stops at once, /run is empty again; back when systemd has booted."""
        subprocess.run([self.engine, "kill", self.name], check=True, capture_output=True)
        subprocess.run([self.engine, "start", self.name], check=True, capture_output=True)
        containers.wait([self.name])


class Telling:
    """An answer of on_host.py that is still to come."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def answer(self, timeout: float = 360) -> dict[str, Any]:
        out, error = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, error
        return json.loads(out)
