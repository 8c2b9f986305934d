# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of the host under load: what is lost, what `pygun status` and `pygun doctor` say meanwhile, and that all is well afterwards."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator

import pytest
from rig.load import Load, by_error
from site_of_many import Site

HOARD = ("--path", "/", "--contains", '"hoard"', "--upload", "0", "--new-rate", "15", "--keepalive-rate", "15")
CLOCK = (
    "--path", "/", "--contains", '"clock"', "--upload", "0", "--slow", "0", "--stream", "0", "--new", "2", "--keepalive", "1", "--idle", "1",
)  # fmt: skip
#: What one worker may have in flight of the load on hoard.
IN_FLIGHT = 20
#: A small file system with what a directory holds takes its place; the directory itself comes back at the end.
SMALL = (
    "mkdir -p /mnt/small; mount -t tmpfs -o mode=0755,size=$(($(du -sm {place} | cut -f1) * 2 + 20))m,nr_inodes={inodes} small /mnt/small;"
    " cp -a {place}/. /mnt/small; mount --bind /mnt/small {place}"
)
#: The control group of supervisord's unit, on either version of control groups.
GROUP = (
    "for place in /sys/fs/cgroup/memory/system.slice /sys/fs/cgroup/system.slice; do cd $place/supervisord.service 2>/dev/null && break; done;"
    " limit=$(ls memory.max memory.limit_in_bytes 2>/dev/null)"
)
FILLS_UP = (
    f"{GROUP}; echo $(($(awk '/^(anon|total_rss) /{{print $2}}' memory.stat) + 80000000)) > $limit; for number in $(seq 40); do python3 -c"
    " 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:5000/keep?bytes=4000000\", timeout=9)' || break; done; sleep 2"
)
FILL = "head -c 1G /dev/zero > {place}/fill || true"
FEW = "$(($(du --inodes -s {place} | cut -f1) + 50))"
NO_INODES = "for number in $(seq 999); do : > {place}/fill.$number || break; done"
WHOLE_AGAIN = "umount --lazy {place}; umount --lazy /mnt/small"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Shell scripts for the host, in which {worker} is the pid of a worker of hoard-0, {master} that of its master, and so on."""

    name: str
    begin: str
    end: str
    #: Codes that the doctor finds meanwhile.
    doctor: tuple[str, ...] = ()
    #: Words of the status meanwhile; without any it says that all is well.
    status: str = ""
    #: What an operator does meanwhile, and what is said then.
    during: str = ""
    says: str = ""
    #: Most requests that may fail.
    lost: int = 0
    app: str = "hoard"
    #: After the load.
    tidy: str = ""


FAULTS = [
    Fault("a worker is stopped", "kill -STOP {worker}", "kill -CONT {worker}", ("process-stopped",), "is stopped"),
    Fault(
        "a worker is stopped for good",
        "kill -STOP {worker}; while kill -0 {worker}; do sleep 1; done 2>/dev/null",
        "true",
        ("worker-blocked",),
        lost=IN_FLIGHT,
        tidy="pygun restart hoard",
    ),
    Fault("a master is stopped", "kill -STOP {master}", "kill -CONT {master}", ("process-stopped",), "is stopped"),
    Fault(
        "the keeper is stopped",
        "kill -STOP {keeper}",
        "kill -CONT {keeper}",
        ("process-stopped",),
        "is stopped",
        app="clock",
    ),
    Fault(
        "the keeper is stopped, and an instance starts",
        "kill -STOP {keeper}; supervisorctl restart clock:clock-1; sleep 3",
        "kill -CONT {keeper}",
        ("process-stopped",),
        "is stopped",
        app="clock",
    ),
    Fault(
        "supervisord is stopped",
        "kill -STOP {supervisord}",
        "kill -CONT {supervisord}",
        ("supervisord-silent",),
        "did not answer",
    ),
    Fault(
        "the memory guard is stopped", "kill -STOP {guard}", "kill -CONT {guard}", ("process-stopped",), "is stopped"
    ),
    Fault(
        "the kernel kills a worker for memory",
        FILLS_UP,
        f"{GROUP}; echo 2G > $limit",
        ("out-of-memory",),
        lost=2 * IN_FLIGHT,
        tidy="systemctl restart supervisord",
    ),
    Fault(
        "/etc is full",
        f"{SMALL.format(place='/etc', inodes=0)}; {FILL.format(place='/etc')}",
        WHOLE_AGAIN.format(place="/etc"),
        ("disk-full",),
        during="deploy",
        says="No space left",
    ),
    Fault(
        "/srv is full",
        f"{SMALL.format(place='/srv', inodes=0)}; {FILL.format(place='/srv')}",
        WHOLE_AGAIN.format(place="/srv"),
        ("disk-full",),
        during="deploy",
        says="has 0 bytes free",
    ),
    Fault(
        "/srv has no inodes",
        f"{SMALL.format(place='/srv', inodes=FEW.format(place='/srv'))}; {NO_INODES.format(place='/srv')}",
        WHOLE_AGAIN.format(place="/srv"),
        ("inodes-full",),
        during="deploy",
        says="No space left",
    ),
    Fault(
        "/dev/shm is full",
        FILL.format(place="/dev/shm"),
        "rm /dev/shm/fill",
        ("disk-full",),
        during="pygun restart hoard",
    ),
    Fault(
        "/dev/shm has no inodes",
        f"mount -t tmpfs -o mode=1777,nr_inodes=20 small /dev/shm; {NO_INODES.format(place='/dev/shm')}",
        "umount --lazy /dev/shm",
        ("inodes-full",),
        during="pygun restart hoard",
        tidy="pygun restart hoard",  # no worker could start, neither of the way back: that is to be finished
    ),
]


def deploy(site: Site) -> str:
    """What is said of a deploy of another version with another environment."""
    site.new_version("hoard")
    done = site.try_to_deploy("hoard", env={"TURN": "another"})
    return f"{'it is deployed' if done.ok else 'it is not deployed'}: {done.text}"


def pids(site: Site) -> dict[str, int]:
    seen = site.settled()
    return {
        "worker": seen["hoard-0"][1][0],
        "master": seen["hoard-0"][0][0],
        "guard": seen["hoard-memory"][0][0],
        "supervisord": seen["supervisord.service"][0][0],
        "keeper": seen["pygun-clock.service"][0][0],
    }


@pytest.fixture
def ready_for(site: Site, fault: Fault) -> Iterator[Fault]:
    """The fault, and nothing of it afterwards."""
    yield fault
    site.run("bash", "-ec", fault.tidy)
    site.settled()
    healthy = site.run("pygun", "doctor", check=False)
    assert "\nERROR" not in healthy, healthy


@pytest.mark.full
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_costs_what_is_promised_and_is_named(site: Site, ready_for: Fault) -> None:
    fault, known = ready_for, pids(site)

    def script(text: str) -> str:
        for name, pid in known.items():
            text = text.replace(f"{{{name}}}", str(pid))
        return site.run("bash", "-c", f"exec 2>&1; {text}", check=False)

    load = Load(site, "fault", options=HOARD)
    if fault.app == "clock":
        load = Load(site, "fault", target="127.0.0.1:5002", options=CLOCK)
    with load:
        try:
            begun = script(fault.begin)
            asked = time.monotonic()
            status = site.run("pygun", "status", check=False)
            doctor = site.run("pygun", "doctor", check=False)
            told = time.monotonic() - asked
            said = deploy(site) if fault.during == "deploy" else script(fault.during)
        finally:
            script(fault.end)
        site.settled()
        time.sleep(2)
    found = re.findall(r"^(?:ERROR|WARNING) ([\w-]+)", doctor, re.MULTILINE)
    lost = load.totals["failed"]
    print(
        f"\n| {fault.name} | {load.totals['sent']} | {lost} {by_error(load.samples) or ''} | {found} | {told:.0f} s |"
    )
    assert lost <= fault.lost, by_error(load.samples)
    assert set(fault.doctor) <= set(found), begun + doctor
    assert (fault.status or "is as it should be") in status, status
    assert fault.says in " ".join(said.split()), said
