# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host of many programs, and the playbooks as a user runs them."""

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

import rig.host
import yaml
from rig.host import HERE, ROOT, Host

INVENTORY = ROOT / "molecule" / "inventories" / "many.yml"
SCENARIO = ROOT / "molecule" / "many"
VARIABLES = yaml.safe_load(INVENTORY.read_text())["containers"]["vars"]
PORTS = {"hoard": 5000, "greeter": 5001, "clock": 5002}


class Run(rig.host.Run):
    """A playbook that has ended, and how much it changed."""

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        counts = re.findall(r"\bchanged=(\d+)", self.text)
        assert counts, self.text
        return sum(map(int, counts))


class Site(Host):
    """The container with everything on it."""

    def __init__(self, name: str, scratch: Path) -> None:
        super().__init__(name)
        self.scratch = scratch
        self.put({HERE: list(Path(__file__).parent.glob("on_*.py"))})
        #: What differs from the inventory.
        self.settings: dict[str, Any] = {}
        #: What supervisord runs when all is well.
        self.programs = set(self.statuses())
        self.sources = {}
        for app in PORTS:
            self.sources[app] = scratch / app
            shutil.copytree(
                Path(__file__).with_name("apps") / app, self.sources[app], ignore=shutil.ignore_patterns("__pycache__")
            )
            # An earlier run of the tests may have left another version.
            (self.sources[app] / "wsgi.py").write_text(self.run("cat", f"/srv/{app}/current/src/wsgi.py"))

    def playbook(
        self, path: str, *variables: dict[str, Any] | Path, options: tuple[str, ...] = (), timeout: float = 300
    ) -> Run:
        """Run a playbook of the repository."""
        command = ["ansible-playbook", "-i", str(INVENTORY), path, *options]
        for given in ({"flask_app_hosts": "containers"}, *variables):
            command += ["-e", f"@{given}" if isinstance(given, Path) else json.dumps(given)]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, check=False,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_DIFF_ALWAYS": "1",
            },
        )  # fmt: skip
        return Run(done.returncode, done.stdout)

    def try_to_deploy(self, app: str, **settings: Any) -> Run:
        """A deploy of one app. The settings are flask_app_* variables without their prefix."""
        given = {f"flask_app_{key}": value for key, value in {"src": f"{self.sources[app]}/", **settings}.items()}
        return self.playbook("playbooks/deploy.yml", SCENARIO / "vars" / f"{app}.yml", self.settings, given)

    def deploy(self, app: str, **settings: Any) -> Run:
        """A deploy that must work."""
        done = self.try_to_deploy(app, **settings)
        assert done.ok, done.text
        return done

    def host(self, **settings: Any) -> Run:
        """Apply what is on the host beside the apps; it must work. The settings are supervisor_* variables, kept for later."""
        self.settings.update({f"supervisor_{key}": value for key, value in settings.items()})
        done = self.playbook("molecule/many/host.yml", self.settings)
        assert done.ok, done.text
        return done

    def new_version(self, app: str) -> str:
        """Another version in the app's source; its answers name it."""
        source = self.sources[app] / "wsgi.py"
        text = source.read_text()
        version = str(int(re.search(r'^VERSION = "(\d+)"', text, re.MULTILINE).group(1)) + 1)
        source.write_text(re.sub(r'^VERSION = ".*"', f'VERSION = "{version}"', text, flags=re.MULTILINE))
        return version

    def ask_each(self, app: str, word: str) -> None:
        """Ask until each instance's log ends with the word: the kernel chooses who takes a request, at times one alone."""
        logs = [f"/var/log/{app}/{app}-{number}.log" for number in (0, 1)]

        def named() -> bool:
            self.ask(app, f"/?{word}", times=20)
            return all(word in self.run("tail", "-c", "1000", log) for log in logs)

        self.wait_for(named, f"no line with {word} at the end of each log of {app}")

    def ask(self, app: str, path: str = "/", times: int = 1) -> dict[str, Any]:
        """What an app answers at last, on the host itself."""
        request = f"r.urlopen('http://127.0.0.1:{PORTS[app]}{path}', timeout=20).read().decode()"
        code = f"import urllib.request as r\nfor _ in range({times}): said = {request}\nprint(said)"
        return json.loads(self.run("python3", "-c", code))

    def answers(self, app: str) -> bool:
        """Whether an app answers."""
        ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORTS[app]}/', timeout=60)"
        return "ok" in self.run("sh", "-c", f'python3 -c "{ask}" 2>/dev/null && echo ok', check=False)

    def as_user(self, user: str, program: str, *words: str) -> Any:
        """What an on_*.py prints that runs on the host as a user."""
        group = self.run("id", "--group", "--name", user).strip()
        become = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
        return json.loads(self.run(*become, "python3", f"{HERE}/{program}", *words))

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.statuses()}, {self.processes()}"
            time.sleep(0.6)

    def processes(self) -> dict[str, list[list[int]]]:
        """Every process that stays, by its name (on_many.py)."""
        return json.loads(self.run("python3", f"{HERE}/on_many.py"))

    def settled(self, seconds: float = 120) -> dict[str, list[list[int]]]:
        """The processes, once every program is RUNNING, masters have their workers, and nobody drains any more."""
        deadline = time.monotonic() + seconds
        while True:
            statuses = self.statuses()
            seen = self.processes()
            forked = all(
                len(pids) > 1 for name, pids in seen.items() if re.fullmatch(rf"({'|'.join(PORTS)})-[01]", name)
            )
            there = forked and set(statuses.values()) == {"RUNNING"}
            if (there and seen == self.processes()) or time.monotonic() > deadline:
                assert there, f"{statuses}, {seen}"
                return seen
            time.sleep(1)  # a look starts programs in the container

    def statuses(self) -> dict[str, str]:
        """supervisorctl's words for each process, by `group:name`, or `name` where both are the same."""
        lines = [line.split() for line in self.run("supervisorctl", "status", check=False).splitlines()]
        return {line[0]: line[1] for line in lines if len(line) > 1 and line[1].isupper()}

    def address(self) -> str:
        """Where the machine that runs the tests reaches the host."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        shown = subprocess.run(
            [self.engine, "container", "inspect", "--format", form, self.name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return shown.stdout.split()[0]


def differences(before: dict[str, list], after: dict[str, list]) -> set[str]:
    """The names of what is not the same processes as before."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
