# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hosts of the scenario, the playbooks as a user runs them, and the app in its versions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rig.deploys import Run, Source
from rig.host import ROOT, Host
from rig.load import CALM, Load

from tools import containers

INVENTORY = ROOT / "molecule" / "inventories" / "fleet.yml"
HOSTS = ("api1", "api2", "api3")
APP = "sample"


class Fleet:
    """The app hosts, the balancer in front of them, and the control node: this machine."""

    def __init__(self, scratch: Path, names: tuple[str, ...] = HOSTS) -> None:
        found = {name: f"{containers.prefix()}-fleet-{name}" for name in (*names, "balancer")}
        missing = [name for name in found.values() if not containers.inspect(name)]
        assert not missing, f"there is no container {', '.join(missing)}: run `./dev molecule fleet converge`"
        self.names = names
        self.hosts = {name: Host(container) for name, container in found.items()}
        self.balancer = self.hosts.pop("balancer")
        self.scratch = scratch
        self.source = Source(scratch / "app")
        self.runs = 0

    # -- playbooks -----------------------------------------------------------------------------------------------

    def start(self, playbook: str, *options: str, only: str = "", **variables: Any) -> Command:
        """Start a playbook of the collection with extra variables; on one host alone if it is named."""
        self.runs += 1
        given = {"flask_app_src": f"{self.source.folder}/", **variables}
        command = ["ansible-playbook", "-i", str(INVENTORY), f"playbooks/{playbook}.yml", *options]
        command += ["-e", json.dumps(given)]
        if only or self.names != HOSTS:
            command += ["--limit", only or ",".join((*self.names, "balancer"))]
        return Command(command, self.scratch / f"{self.runs:03}-{playbook}.log")

    def run(self, playbook: str, *options: str, only: str = "", **variables: Any) -> Run:
        return self.start(playbook, *options, only=only, **variables).end()

    def deploy(self, version: str, **variables: Any) -> Run:
        """A deploy of a version, which every answer names; it must work."""
        self.source.reset().version(version)
        done = self.run("deploy", **variables)
        assert done.ok, done.text
        return done

    def order(self, server: str, state: str, **options: Any) -> Run:
        """The module that drains, as a task on the balancer."""
        self.runs += 1
        log = self.scratch / f"{self.runs:03}-{state}-{server}.log"
        arguments = json.dumps({"server": server, "state": state, **options})
        command = ["ansible", "balancer", "-i", str(INVENTORY), "-m", "pygun.stack.backend_server", "-a", arguments]
        return Command(command, log).end()

    # -- hosts ---------------------------------------------------------------------------------------------------

    def observe(self) -> dict[str, dict[str, Any]]:
        """What stands and runs on each host."""
        return {name: host.observe(APP) for name, host in self.hosts.items()}

    def releases(self) -> dict[str, str]:
        """The release that the instances of each host run; they must agree with one another, and with the link."""
        found = {}
        for name, seen in self.observe().items():
            running = {instance["release"] for instance in seen["instances"]}
            assert running == {seen["current"]}, f"{name}: {seen['current']} is current, {running} run"
            found[name] = seen["current"]
        return found

    def pids(self) -> dict[str, list[int]]:
        """The processes of the app on each host."""
        return {
            name: sorted(pid for one in seen["instances"] for pid in (one["pid"], *one["workers"]))
            for name, seen in self.observe().items()
        }

    @contextlib.contextmanager
    def bare_host(self, packages: list[str]) -> Iterator[Host]:
        """A new host of the same kind, where nothing was ever installed but these packages of the distribution."""
        name = f"{containers.prefix()}-fleet-bare"
        containers.up([containers.Host(name=name, network=f"{containers.prefix()}-fleet")])
        try:
            host = Host(name)
            host.run("apt-get", "update", "--quiet", timeout=600)
            host.run("apt-get", "install", "--yes", "--no-install-recommends", *packages, timeout=600)
            yield host
        finally:
            containers.down([name])

    # -- the balancer --------------------------------------------------------------------------------------------

    def servers(self) -> dict[str, str]:
        """How HAProxy sees each host: UP also after one check of three that failed. Asked here, not with what is tested."""
        stat = self.ask("show stat")
        rows = [line.split(",") for line in stat.splitlines() if line.startswith(f"{APP},")]
        return {row[1]: row[17].split()[0] for row in rows if row[1] in HOSTS}

    def ask(self, command: str) -> str:
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock');"
            " s.sendall(sys.argv[1].encode() + b'\\n'); sys.stdout.write(s.makefile().read())"
        )
        return self.balancer.run("python3", "-c", program, command)

    def wait_for_servers(self, status: str = "UP", names: tuple[str, ...] = (), seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while True:
            seen = self.servers()
            if all(seen.get(name) == status for name in names or self.names):
                return
            assert time.monotonic() < deadline, f"not {status}: {seen}"
            time.sleep(1)

    def load(self, name: str, *options: str) -> Load:
        """Callers on the balancer, who speak to the service there."""
        return Load(self.balancer, name, "127.0.0.1:80", (*CALM, *options))


class Command:
    """A command on the control node that runs."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        self.begun = time.monotonic()
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            )  # fmt: skip

    def end(self, timeout: float = 900) -> Run:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return Run(code, re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text()), time.monotonic() - self.begun)

    def kill(self) -> None:
        """SIGKILL to ansible-playbook and all that it has started on the control node; its workers lead groups of their own."""
        found: set[int] = set()
        while new := {self.process.pid, *descendants(self.process.pid)} - found:
            signal_all(new, signal.SIGSTOP)  # none of them starts another one while this looks
            found |= new
        signal_all(found, signal.SIGKILL)
        self.process.wait()


def signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found
