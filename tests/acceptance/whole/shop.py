# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The shop on its host: its versions and migrations, what its database holds, and the playbooks as a user runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig.host import ROOT, Host, Run

INVENTORY = ROOT / "molecule" / "inventories" / "whole.yml"
VARIABLES = ROOT / "molecule" / "whole" / "vars" / "shop.yml"
ORDERS = (
    "--path",
    "/order",
    "--contains",
    '"order"',
    "--slow",
    "0",
    "--stream",
    "0",
    "--upload",
    "0",
    "--new",
    "2",
    "--new-rate",
    "2",
    "--keepalive",
    "2",
    "--keepalive-rate",
    "2",
)


class Shop(Host):
    """The host and its app."""

    def __init__(self, name: str, scratch: Path) -> None:
        super().__init__(name)
        self.source = scratch / "shop"
        shutil.copytree(
            Path(__file__).with_name("apps") / "shop", self.source, ignore=shutil.ignore_patterns("__pycache__")
        )
        self.number = 1
        self.variables, self.patience = VARIABLES, 400
        #: What has been changed of the variables meanwhile.
        self.changed: dict[str, Any] = {}

    def command(self, playbook: str, *options: str, **variables: Any) -> list[str]:
        given = {"flask_app_src": f"{self.source}/", **self.changed, **variables}
        return ["ansible-playbook", "-i", str(INVENTORY), f"playbooks/{playbook}", "-e", f"@{self.variables}", *options,
                "-e", json.dumps(given)]  # fmt: skip

    def start(self, playbook: str, *options: str, **variables: Any) -> subprocess.Popen:
        """A run of a playbook that a test means to interrupt."""
        return subprocess.Popen(
            self.command(playbook, *options, **variables), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_LOCALHOST_WARNING": "0",
            },
        )  # fmt: skip

    def playbook(self, playbook: str, *options: str, **variables: Any) -> Run:
        process = self.start(playbook, *options, **variables)
        text = process.communicate(timeout=self.patience)[0]
        return Run(process.returncode, text)

    def version(self, migration: str = "") -> str:
        """A new version of the source, with a migration of these statements."""
        self.number += 1
        version = str(self.number)
        for name in ("wsgi.py", "late.py"):
            path = self.source / name
            path.write_text(re.sub(r'^VERSION = ".*"', f'VERSION = "{version}"', path.read_text(), flags=re.MULTILINE))
        if migration:
            self.migration(version.zfill(4), migration)
        return version

    def migration(self, name: str, statements: str) -> None:
        """The migration after the last one, or another in its place."""
        versions = self.source / "migrations" / "versions"
        before = max(path.stem for path in versions.glob("*.py") if path.stem < name)
        (versions / f"{name}.py").write_text(
            f"import time\nfrom alembic import op\nrevision, down_revision = {name!r}, {before!r}\n"
            f"def upgrade():\n    {statements}\n"
        )

    def forget_migration(self) -> None:
        """Take the newest one out of the source."""
        max((self.source / "migrations" / "versions").glob("*.py")).unlink()

    def query(self, statement: str) -> list[str]:
        """The rows of an answer of the database."""
        program = [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "--dbname=shop",
            "--tuples-only",
            "--no-align",
            "--command",
        ]
        return self.run(*program, statement).split()

    def revision(self) -> str:
        return self.query("SELECT version_num FROM alembic_version")[0]

    def answers(self) -> str:
        """The version of the app that serves."""
        code = (
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5000/healthz', timeout=20).read().decode())"
        )
        return json.loads(self.run("python3", "-c", code))["version"]

    def running(self, words: str) -> list[str]:
        """The releases of the processes whose command has these words."""
        found = self.run("pgrep", "--full", "--list-full", words, check=False).splitlines()
        return sorted({match for line in found for match in re.findall(r"/releases/([0-9a-f]{16})/", line)})

    def current(self) -> str:
        return self.run("readlink", "/srv/shop/current").strip().rpartition("/")[2]

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, what
            time.sleep(0.8)
        return found
