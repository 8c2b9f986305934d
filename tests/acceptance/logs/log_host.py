# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The container host, its logs, and the playbooks as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from rig.host import HERE, ROOT, Host, Run

INVENTORY = ROOT / "molecule" / "inventories" / "logs.yml"
VARIABLES = ROOT / "molecule" / "logs" / "vars"
TALKER = 5001  # its port


class LogHost(Host):
    """The container with both apps."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.put({HERE: [Path(__file__).with_name("on_logs.py")]})

    def read(self, *words: str) -> Any:
        """Ask on_logs.py."""
        return json.loads(self.run("python3", f"{HERE}/on_logs.py", *words))

    def playbook(self, name: str, *variables: dict[str, Any] | Path, inventories: tuple[Path, ...] = ()) -> Run:
        """Run a playbook of the collection."""
        command = ["ansible-playbook", f"playbooks/{name}.yml"]
        for inventory in (INVENTORY, *inventories):
            command += ["-i", str(inventory)]
        for given in ({"flask_app_hosts": "containers"}, *variables):
            command += ["-e", f"@{given}" if isinstance(given, Path) else json.dumps(given)]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300, check=False,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        )  # fmt: skip
        return Run(done.returncode, done.stdout)

    def deploy_talker(self, **settings: Any) -> None:
        """The settings are variables of the role without their prefix."""
        given = {f"flask_app_{name}": value for name, value in settings.items()}
        done = self.playbook("deploy", VARIABLES / "talker.yml", given)
        assert done.ok, done.text

    def shown(self, *inventories: Path, **filters: Any) -> list[str]:
        """The lines that logs.yml prints."""
        given = {name if name.startswith("flask_app_") else f"logs_{name}": value for name, value in filters.items()}
        done = self.playbook("logs", given, inventories=inventories)
        assert done.ok, done.text
        lines = done.text.partition("TASK [Show the lines]")[2].splitlines()[1:]
        return lines[: next(number for number, line in enumerate(lines) if line.startswith("ok: ["))]

    def ask_talker(self, method: str, path: str, body: str = "", request_id: str = "") -> None:
        """One request, whatever is answered."""
        code = (
            "import sys, urllib.request as r, urllib.error as e\n"
            "method, url, name = sys.argv[1:]\n"
            "request = r.Request(url, sys.stdin.buffer.read() or None, {'X-Request-ID': name} if name else {}, method=method)\n"
            "try:\n    r.urlopen(request, timeout=20)\nexcept e.HTTPError:\n    pass"
        )
        self.run("python3", "-c", code, method, f"http://127.0.0.1:{TALKER}{path}", request_id, text=body)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Entries of the journal, with all that was sent to it before."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "--output=json", "--no-pager", "--quiet", *matches)
        entries = [json.loads(line) for line in text.splitlines()]
        for entry in entries:
            if isinstance(entry["MESSAGE"], list):  # of bytes, where it has a control character
                entry["MESSAGE"] = bytes(entry["MESSAGE"]).decode()
        return entries
