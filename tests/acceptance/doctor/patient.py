# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host that is made ill, examined, and made well again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import containers

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = ROOT / "molecule" / "inventories" / "doctor.yml"

HERE = "/var/lib/pygun-acceptance"  # on the host

#: Waits until both instances run, are ready and answer. Asks the files and the port, not the doctor.
WELL = """
import glob, json, os, sys, time, urllib.request

def well():
    for instance in ("patient-0", "patient-1"):
        master = json.load(open(f"/run/patient/{instance}.json"))["pid"]
        os.kill(master, 0)
        if not glob.glob(f"/run/patient/{instance}.{master}.*.ready"):
            return False
    return urllib.request.urlopen("http://127.0.0.1:5000/", timeout=5).status == 200

give_up = time.monotonic() + 180
while time.monotonic() < give_up:
    try:
        if os.path.exists("/run/supervisor/supervisor.sock") and well():
            sys.exit()
    except (OSError, ValueError):
        pass
    time.sleep(0.1)
sys.exit("it does not become well")
"""


@dataclass
class Report:
    """What the playbook said, and how it ended."""

    exit_status: int
    findings: list[dict[str, str]]
    facts: dict[str, Any]
    text: str

    @property
    def codes(self) -> list[str]:
        return sorted(one["code"] for one in self.findings)

    @property
    def words(self) -> str:
        """Everything that the findings say."""
        return "\n".join(value for one in self.findings for value in one.values())


class Patient:
    """The container and the app on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._through_the_playbook: set[str] = set()
        self.engine = containers.remember_engine()
        self._put_doctor()

    def sh(self, script: str, check: bool = True, timeout: float = 120) -> str:
        """Run a shell script on the host; what it printed."""
        done = subprocess.run(
            [self.engine, "exec", "-i", self.name, "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def background(self, script: str) -> None:
        """Start something that stays."""
        subprocess.run(
            [self.engine, "exec", "--detach", self.name, "sh", "-c", f"exec {script}"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def wait(self, script: str, seconds: float = 30) -> None:
        """Until a shell script succeeds. The host itself does the waiting: that costs least."""
        tries = int(seconds / 0.4)
        looking = f"for n in $(seq {tries}); do ( {script} ) >/dev/null 2>&1 && exit 0; sleep 0.4; done"
        self.sh(f"{looking}; supervisorctl status; exit 1", timeout=10 * seconds)

    def wait_until_well(self) -> None:
        self.sh(f"python3 -c '{WELL}'", timeout=300)

    def playbook(self, name: str, *options: str, ansible_format: str = "yaml") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ansible-playbook", "-i", str(INVENTORY), f"playbooks/{name}.yml", "-e", "flask_app_hosts=containers", *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": ansible_format, "ANSIBLE_LOCALHOST_WARNING": "0",
            },
        )  # fmt: skip

    def examine(self, *options: str) -> Report:
        """Run playbooks/doctor.yml as a program would."""
        done = self.playbook("doctor", "-e", "doctor_format=json", *options, ansible_format="json")
        found = re.search(r"^ok: \[host\] => (\{\n.*?^\})", done.stdout, re.MULTILINE | re.DOTALL)
        assert found, done.stdout
        told = json.loads(found.group(1))["msg"]
        return Report(done.returncode, told["findings"], told["facts"], done.stdout)

    def examine_quickly(self) -> list[dict[str, str]]:
        """The same examination without Ansible around it."""
        ask = (
            "import json; from ansible_collections.pygun.stack.plugins.module_utils.doctor.examination import Options, examine;"
            " print(json.dumps(examine(Options())['findings']))"
        )
        return json.loads(self.sh(f'PYTHONPATH={HERE} python3 -c "{ask}"'))

    def _put_doctor(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in (ROOT / "plugins" / "module_utils").rglob("*.py"):
                archive.add(path, f"{HERE}/ansible_collections/pygun/stack/{path.relative_to(ROOT)}".lstrip("/"))
        subprocess.run(
            [self.engine, "exec", "-i", self.name, "tar", "-x", "--no-same-owner", "-C", "/"],
            input=packed.getvalue(), check=True, timeout=60,
        )  # fmt: skip

    @contextlib.contextmanager
    def ill(self, breaking: str, healing: str) -> Iterator[Patient]:
        """Break the host with one script and heal it with the other; in the end the doctor must find it well."""
        try:
            self.sh(breaking)
            yield self
        finally:
            self.sh(healing)
        self.wait_until_well()
        findings = self.examine_quickly()
        assert findings == [], findings

    def diagnosed(self, code: str, *phrases: str, severity: str = "error") -> Report:
        """The doctor names it, says these words, ends accordingly, and finds nothing else.

        The playbook takes seconds, and does the same with every finding: one error and one warning go through it,
        and all with PYGUN_FULL=1.
        """
        if os.environ.get("PYGUN_FULL") or severity not in self._through_the_playbook:
            self._through_the_playbook.add(severity)
            report = self.examine()
            assert (report.exit_status != 0) == (severity == "error"), report.text
        else:
            report = Report(0, self.examine_quickly(), {}, "")
        assert report.codes == [code], report.words or report.text
        found = report.findings[0]
        assert found["severity"] == severity
        for phrase in phrases:
            assert re.search(phrase, report.words), f"{phrase!r} is not in\n{report.words}"
        assert all(len(found[key]) > 5 for key in ("symptom", "cause", "remedy"))
        print(report.words)
        return report
