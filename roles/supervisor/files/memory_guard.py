# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restarts an instance of an app that takes too much memory, without losing a request: an event listener of supervisor.

superlance's memmon looks at every tick; what it would do to a process is replaced by what a deploy does to an
instance. Under the app's lock, and only while every other instance is ready, the instance drains and stops, starts
again, and has to be ready before the next one is looked at. A deploy that runs goes first; one that begins meanwhile
waits, since the lock says until when it is held.

Counted is the proportional memory (PSS) of the master and all its workers: the resident one (RSS), which memmon counts,
has every page that they share once for each of them, and so much more than the instance takes after a preload. To read
PSS costs time in proportion to the memory, so it is read only when RSS, which is never less, exceeds the cap. It may be
read by the app's own user; supervisord's unit gives even root no right to (CAP_SYS_PTRACE).
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import sys
import time
import xmlrpc.client
from http.client import HTTPException
from pathlib import Path

from superlance.memmon import Memmon
from supervisor import childutils
from supervisor.datatypes import byte_size

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parent))  # root's, as this file
from pygun_reader.host import foreign, places, survivor  # noqa: E402
from pygun_reader.host.text import stat_of  # noqa: E402
from pygun_reader.release.record import BOOT_MARGIN, service_of  # noqa: E402
from pygun_reader.supervisor.app_program import program_of  # noqa: E402
from pygun_reader.supervisor.conf import STOP_MARGIN, parse  # noqa: E402

POLL = 0.05
LOOK_AGAIN = 2.0  # seconds; ticks that come sooner have waited while an instance restarted
REMIND = 300.0  # seconds after which the same reason for doing nothing is told again
PAUSES = (60.0, 3600.0)  # seconds, least and most, to leave alone an instance that is above the cap as soon as it is up
PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1024 * 1024


class Later(Exception):
    """Not now; the text says why."""


def say(level, text):
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{at} {level} {text}", file=sys.stderr, flush=True)


def resident_memory(pid):
    """Bytes of resident memory (RSS) of a process and of each that descends from it, by pid; empty if it is gone.

    A process whose first thread has ended has its memory under the number of another thread, and that is what it is called here.
    """
    resident, children = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat_of(entry)):
            resident[int(entry)] = _with_memory(entry, fields)
            children.setdefault(int(fields[1]), []).append(int(entry))
    family, left = {}, [pid]
    while left:
        one = left.pop()
        if one in resident:
            thread, pages = resident[one]
            family[thread] = pages * PAGE
            left += children.get(one, ())
    return family


def _with_memory(pid, fields):
    """The number of a thread that goes on, with the pages of its process."""
    if fields[0] == "Z":
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                of_thread = stat_of(thread)
                if of_thread and of_thread[0] != "Z":
                    return int(thread), int(of_thread[21])
    return int(pid), int(fields[21])


def proportional_memory(pids):
    """Bytes of proportional memory (PSS) of processes of one user, read in a child that becomes that user; None if it cannot."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            owner = os.stat(f"/proc/{pids[0]}")
            if os.getuid() != owner.st_uid:
                os.setgroups([])
                os.setgid(owner.st_gid)
                os.setresuid(0, owner.st_uid, 0)  # not the user's own process, which the app can stop
            total = 0
            for pid in pids:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    total += int(
                        re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1)
                    )
            os.write(writing, str(total * 1024).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return int(text) if text else None


def memory(pid, limit=0):
    """Bytes that a process and all that descend from it take; if it is not above the limit, at most these. None if it is gone."""
    family = resident_memory(pid)
    resident = sum(family.values())
    if resident <= limit:
        return resident or None
    proportional = proportional_memory(list(family))
    return resident if proportional is None else proportional


@contextlib.contextmanager
def locked(path, who, seconds):
    """Hold the app's lock, and say in it until when; Later if somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "r+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Later("a deploy, restart or rollback runs") from None
        since = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        stream.truncate()
        json.dump({"pid": os.getpid(), "since": since, "by": who, "until": time.time() + seconds}, stream)
        stream.flush()
        try:
            yield
        finally:
            stream.seek(0)
            stream.truncate()
            stream.flush()


class App:
    """The instances of one app, as its program, supervisord and their records tell. Stands in for memmon's RPC interface."""

    def __init__(self, name, conf):
        self.name, self.conf = name, conf
        self.supervisor = self
        self._looked = -LOOK_AGAIN
        self.connect()

    def connect(self):
        """A connection of one's own: a child must not share its parent's."""
        self._rpc = childutils.getRPCInterface(os.environ)

    @property
    def program(self):
        """The app's program as its configuration is now; a deploy may change it while the guard runs."""
        program = program_of(parse(self.conf), self.name)
        if not program.root:
            raise Later(f"{self.conf} has no program of it")
        return program

    @property
    def run_dir(self):
        return Path(self.program.run_dir or places.run_dir(self.name))

    def call(self, method, *arguments):
        return getattr(self._rpc.supervisor, method)(*arguments)

    def getAllProcessInfo(self):  # the name is memmon's
        """What memmon is to look at: the instances that serve, the one with the most memory first."""
        if time.monotonic() - self._looked < LOOK_AGAIN:
            return []
        try:
            infos = sorted(self.serving(), key=lambda info: -sum(resident_memory(info["pid"]).values()))
        except Later as error:
            say("WARNING", f"{self.name} is not watched: {error}")
            infos = []
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            say("WARNING", f"supervisord cannot be asked: {error}")
            infos = []
        return infos

    def looked(self):
        self._looked = time.monotonic()

    def serving(self):
        infos = [info for info in self.call("getAllProcessInfo") if info["group"] == self.name]
        count = self.program.instances
        return [info for info in infos if self._number(info["name"]) < count]

    @staticmethod
    def _number(name):
        tail = name.rpartition("-")[2]
        return int(tail) if tail.isdigit() else 0

    def info(self, instance):
        return self.call("getProcessInfo", f"{self.name}:{instance}")

    def is_ready(self, info):
        """Whether all workers of the running master have passed their own check."""
        run_dir = self.run_dir
        try:
            record = foreign.record(run_dir / f"{info['name']}.json", {"pid": int, "workers": int})
        except foreign.Unreadable:
            return False
        if info["statename"] not in ("STARTING", "RUNNING") or record.get("pid") != info["pid"]:
            return False
        names = foreign.names(run_dir, f"{info['name']}.{info['pid']}.")
        return sum(name.endswith(".ready") for name in names) >= (record.get("workers") or 1)


class Guard(Memmon):
    """memmon for the instances of one app, with a restart that loses nothing."""

    def __init__(self, app, limit):
        super().__init__(
            cumulative=True,
            programs={},
            groups={app.name: limit},
            any=None,
            sendmail=None,
            email=None,
            email_uptime_limit=0,
            name=None,
            rpc=app,
        )
        self.app, self.limit = app, limit
        self.stderr = open(os.devnull, "w")  # noqa: SIM115  memmon's own three lines every five seconds
        self._told = {}
        self._pauses = {}
        self._not_before = {}

    def calc_rss(self, pid):
        self.app.looked()
        return memory(pid, self.limit)

    def restart(self, name, rss):
        instance = name.rpartition(":")[2]
        if time.monotonic() < self._not_before.get(instance, 0.0):
            return
        try:
            self._restart(instance)
        except Later as error:
            if time.monotonic() - self._told.get(str(error), -REMIND) >= REMIND:
                self._told[str(error)] = time.monotonic()
                say("WARNING", f"{instance} takes {rss / MB:.0f} MB, and is left alone for now: {error}")
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            say("ERROR", f"{instance} takes {rss / MB:.0f} MB, and could not be restarted: {error}")
        self.app.looked()

    def _restart(self, instance):
        program = self.app.program
        to_stop = program.stop_timeout + STOP_MARGIN
        to_boot = service_of(os.path.join(program.root, "current")).boot_timeout + BOOT_MARGIN
        self._others_ready(instance)
        with locked(
            os.path.join(program.root, "activation.lock"), f"the memory guard of {self.app.name}", to_stop + to_boot
        ):
            self._others_ready(instance)  # a deploy may have begun, and ended badly, since
            before = self.app.info(instance)
            took = memory(before["pid"], self.limit)
            if not before["pid"] or took is None or took <= self.limit:
                return
            stopped = self._stop_and_start(instance, to_stop)
            begun = time.monotonic()
            info = self._wait_until_ready(instance, to_boot)
            seconds = time.monotonic() - begun
        if info is None:
            say(
                "ERROR",
                f"{instance} was restarted at {took / MB:.0f} MB, but is not ready {seconds:.0f} s after its start",
            )
            return
        fresh = memory(info["pid"]) or 0
        say(
            "INFO",
            f"{instance} was restarted at {took / MB:.0f} MB (cap {self.limit / MB:.0f} MB); stopped in {stopped:.1f} s,"
            f" ready {seconds:.1f} s later with {fresh / MB:.0f} MB",
        )
        self._pauses[instance] = pause = 0.0 if fresh <= self.limit else self._longer(self._pauses.get(instance, 0.0))
        self._not_before[instance] = time.monotonic() + pause
        if pause:
            say(
                "ERROR",
                f"{instance} is above its cap as soon as it is up; it is left alone for {pause:.0f} s: raise the cap",
            )

    @staticmethod
    def _longer(pause):
        least, most = PAUSES
        return min(most, max(least, 2 * pause))

    def _others_ready(self, instance):
        for info in self.app.serving():
            if info["name"] != instance and not self.app.is_ready(info):
                raise Later(f"{info['name']} is not ready ({info['statename']})")

    def _stop_and_start(self, instance, patience):
        """In a child that outlives this process: what it stops it starts again. Returns the seconds that the stop took."""
        begun = time.monotonic()

        def work():
            try:
                self.app.connect()
                self._stop(instance, patience)
                stopped = time.monotonic() - begun
                self.app.call("startProcess", f"{self.app.name}:{instance}", False)
            except Exception as error:
                say("ERROR", f"{instance} could not be restarted: {error}")
                return ""
            return str(stopped)

        return float(survivor.finish(work) or "nan")

    def _stop(self, instance, patience):
        """Its workers finish what is in flight (TERM); supervisord kills it after stopwaitsecs."""
        self.app.call("stopProcess", f"{self.app.name}:{instance}", False)
        give_up = time.monotonic() + patience
        while self.app.info(instance)["statename"] not in ("STOPPED", "EXITED", "FATAL"):
            if time.monotonic() > give_up:
                raise Later("it does not stop")
            time.sleep(POLL)

    def _wait_until_ready(self, instance, patience):
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            info = self.app.info(instance)
            if self.app.is_ready(info):
                return info
            time.sleep(POLL)
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--app", required=True, help="the app: its group in supervisor")
    parser.add_argument(
        "--max", required=True, type=byte_size, help="the most that one instance may take, such as 500MB"
    )
    parser.add_argument("--conf", required=True, help="the configuration of the app's program")
    parser.add_argument("--code", help="changes when this file does, so that supervisord starts it anew")
    given = parser.parse_args()
    app = App(given.app, given.conf)
    say("INFO", f"watching the instances of {given.app}: {given.max / MB:.0f} MB each")
    Guard(app, given.max).runforever()


if __name__ == "__main__":
    main()
