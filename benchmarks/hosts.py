# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Container hosts, and the playbooks that are measured on them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rig.deploys import Source

from tools import containers
from tools.shell import CACHE, ROOT, Failed

HERE = Path(__file__).parent
INVENTORY = ROOT / "molecule" / "inventories" / "bench.yml"
SCENARIO = "bench"
#: Hosts that are worked on at once, as Ansible does if it is not told.
FORKS = 5


@dataclass(frozen=True)
class Run:
    """A run of Ansible that worked."""

    seconds: float
    cpu: float  # seconds of processor time of the control node, the connections' programs included
    round_trips: int  # remote executions, on all hosts
    tasks: int  # that ran on the busiest host
    changed: int
    hosts: int
    sent: int = 0  # bytes of all remote executions: commands, and what the connection's program read from Ansible
    content: int = 0  # of these, archives with files of a release
    control_peak: int = 0  # bytes of the control node's largest process
    host_peak: int = 0  # bytes of the largest process on a host, if that was asked for

    def figures(self) -> dict[str, float]:
        return {**vars(self), "cpu_per_host": self.cpu / self.hosts}


def name(host: str) -> str:
    return f"{containers.prefix()}-{SCENARIO}-{host}"


@contextlib.contextmanager
def running(*hosts: str) -> Iterator[None]:
    """Fresh hosts, removed at the end; those that a caller runs already stay as they are."""
    added = [host for host in hosts if host not in _running]
    names = [name(host) for host in added]
    try:
        containers.up([containers.Host(name=one, network=f"{containers.prefix()}-{SCENARIO}") for one in names])
        _running.update(added)
        yield
    finally:
        _running.difference_update(added)
        containers.down(names)


_running: set[str] = set()


def ansible(
    hosts: list[str], *command: str, variables: dict[str, Any] | None = None, forks: int = FORKS, peak: bool = False
) -> Run:
    """Run it on these hosts, measured. It must work.

    :param peak: whether to see how large processes on the hosts become, which takes a moment for each round trip
    """
    with tempfile.TemporaryDirectory() as folder:
        count, log = Path(folder, "count"), CACHE / "logs" / f"bench-{hosts[0]}.log"
        count.touch()
        log.parent.mkdir(parents=True, exist_ok=True)
        given = {"ansible_ssh_executable": str(HERE / "counting-pexec"), **(variables or {})}
        # As at a user's, who has Ansible's bytecode: without it the floor is twice as high.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ = {**kept, "MOLECULE_SCENARIO_NAME": SCENARIO, "BENCH_COUNT": str(count), "ANSIBLE_NOCOLOR": "1"}
        environ["BENCH_PEAK"] = "1" if peak else ""
        began = time.monotonic()
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*command, "--forks", str(forks), "-i", str(INVENTORY), "--limit", ",".join(hosts), "-e", json.dumps(given)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environ,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        text = log.read_text()
        if process.returncode:
            raise Failed(f"`{' '.join(command)}` ended with {process.returncode}:\n{text[-6000:]}")
        tasks, changed = recap(text)
        noted = [tuple(map(int, line.split())) for line in count.read_text().splitlines()]
        sent, content, peaks = zip(*noted, strict=True) if noted else ((0,), (0,), (0,))
        return Run(
            seconds, used.ru_utime + used.ru_stime, len(noted), tasks, changed, len(hosts),
            sum(sent), sum(content), used.ru_maxrss * 1024, max(peaks) * 1024,
        )  # fmt: skip


def recap(text: str) -> tuple[int, int]:
    """Tasks that ran, and that changed something, on the host with the most, by a play's last lines."""
    rows = re.findall(r"^\S+ +: ok=(\d+) +changed=(\d+) ", text, re.MULTILINE)
    return max((int(ok) for ok, _ in rows), default=0), max((int(changed) for _, changed in rows), default=0)


def ping(hosts: list[str], forks: int = FORKS) -> Run:
    """The floor: one module call over the same connection."""
    return replace(ansible(hosts, "ansible", "containers", "-m", "ansible.builtin.ping", forks=forks), tasks=1)


def ours(playbook: str, hosts: list[str], source: Source, forks: int = FORKS, peak: bool = False, **more: Any) -> Run:
    """One of the collection's playbooks, with the defaults, and more variables of the app without their prefix."""
    variables = {
        "flask_app_hosts": "ours",
        "flask_app_name": "sample",
        "flask_app_src": f"{source.folder}/",
        "flask_app_wsgi": "wsgi:app",
        "flask_app_health_path": "/healthz",
        "flask_app_bind": "127.0.0.1:5000",
        **{f"flask_app_{key}": value for key, value in more.items()},
    }
    command = ("ansible-playbook", f"playbooks/{playbook}.yml")
    return ansible(hosts, *command, variables=variables, forks=forks, peak=peak)


def usual(hosts: list[str], source: Source) -> Run:
    """The play that is written the usual way."""
    return ansible(
        hosts, "ansible-playbook", "benchmarks/usual/deploy.yml", variables={"usual_src": f"{source.folder}/"}
    )
