# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends what supervisord has left running; systemd calls this after every stop of the unit: `end_orphans.py CONF.D`

Without it, the next supervisord would start every program a second time beside its orphan, and what an app has forked
would keep its socket. Whatever is left in the unit's control group is asked to end (SIGTERM), and soon made to
(SIGKILL): 2 s later if supervisord has stopped its programs itself, for then it is no program, and 10 s later if it has
not. Only gunicorn masters and workers of an app may finish their requests meanwhile, and programs of its release their
tasks, for as long as the program has to stop (stopwaitsecs). A process of its own sees to that, so that the new supervisord
can start their successors. A singleton, which must not have one beside it, gets the 10 s.

A process is known by its pid and its control group, for what it inherits, its children inherit. Which pid is a
gunicorn's, its app says. All that an app can gain by a lie is that time.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parent))  # root's, as this file
from pygun_reader.host import foreign, places  # noqa: E402
from pygun_reader.host.text import stat_of, status_of  # noqa: E402
from pygun_reader.supervisor.app_program import app_programs  # noqa: E402
from pygun_reader.supervisor.conf import STOPWAITSECS, get, parse, variables  # noqa: E402

PATIENCE, AFTER_A_CRASH = 2.0, 10.0  # seconds between SIGTERM and SIGKILL
LONGEST_GRACE = 3600.0  # seconds, whatever stopwaitsecs says
KILLING = 5.0  # seconds for which what goes on forking is killed
MOST_INSTANCES = 1000  # of one app, beyond which nobody looks
DRAIN = "--drain"


class Process:
    """One process, as /proc tells it; ProcessLookupError if it is gone."""

    def __init__(self, pid):
        self.pid = pid
        fields, status = stat_of(pid), status_of(pid)
        if not fields or "Uid" not in status:
            raise ProcessLookupError(pid)
        self.parent, self.group, self.started = int(fields[1]), int(fields[2]), int(fields[19])
        self.uid = int(status["Uid"].split()[0])
        self.name = re.sub(r"[^ -~]", "?", status["Name"])

    def __str__(self):
        return f"{self.pid} ({self.name}, uid {self.uid})"

    def signal(self, number):
        """Send a signal to this process and to no later one of the same pid."""
        try:
            handle = os.pidfd_open(self.pid)
            try:
                if Process(self.pid).started == self.started:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
        except ProcessLookupError:
            pass


def members():
    """The processes in this unit's control group by their pids, this one aside."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        root = {"": "/sys/fs/cgroup", "name=systemd": "/sys/fs/cgroup/systemd"}.get(controllers)
        listing = Path(f"{root}{path}/cgroup.procs")
        if root and listing.exists():
            for pid in {int(pid) for pid in listing.read_text().split()} - {os.getpid()}:
                try:
                    found[pid] = Process(pid)
                except ProcessLookupError:
                    pass
            break
    return found


# -- gunicorn ---------------------------------------------------------------------------------------------------------


def recorded(path):
    """The pid in a record that an app's master has written about itself, and the record's owner; (0, 0) without one."""
    try:
        owner = os.lstat(path).st_uid
        pid = foreign.record(path, {"pid": int}).get("pid", 0)
    except (OSError, foreign.Unreadable):
        return 0, 0
    return (pid, owner) if pid else (0, 0)


def gunicorns(folder, left):
    """Masters of apps and their workers among the processes that are left: process -> seconds that it may finish in."""
    found = {}
    programs = [program for path in sorted(Path(folder).glob("*.conf")) for program in app_programs(parse(path))]
    for program in programs:
        run_dir = program.run_dir or places.run_dir(program.name)
        for number in range(min(program.instances, MOST_INSTANCES)):
            instance = f"{run_dir}/{program.name}-{number}"
            master, owner = recorded(f"{instance}.json")
            for process in left.values():
                ready = f"{instance}.{master}.{process.pid}.ready"
                worker = master in (process.parent, process.group) and os.path.lexists(ready)
                if master > 1 and process.uid == owner and (process.pid == master or worker):
                    found[process] = min(program.stop_timeout, LONGEST_GRACE)
    return found


def workers(folder, left):
    """Programs of releases and what they have forked among the processes that are left: process -> seconds that it may finish in."""
    found = {}
    for parser in (parse(path) for path in sorted(Path(folder).glob("*.conf"))):
        for section in parser.sections():
            kind, _colon, name = section.partition(":")
            given = variables(get(parser, section, "environment"))
            if kind != "program" or "." not in name or "PYGUN_RUN_DIR" not in given or "PYGUN_SINGLETON" in given:
                continue
            processes, seconds = number(get(parser, section, "numprocs"), 1), get(parser, section, "stopwaitsecs")
            names = [f"{name}-{index}" for index in range(min(processes, MOST_INSTANCES))] if processes > 1 else [name]
            for one in names:
                master, owner = recorded(f"{given['PYGUN_RUN_DIR']}/{one}.json")
                for process in left.values():
                    if master > 1 and process.uid == owner and descends(process, master, left):
                        found[process] = min(number(seconds, STOPWAITSECS), LONGEST_GRACE)
    return found


def descends(process, master, left):
    """Whether a process is this one, or was forked by it or below it: RQ gives each task a process group of its own."""
    passed = set()
    while process and process.pid not in passed:
        if master in (process.pid, process.group):
            return True
        passed.add(process.pid)
        process = left.get(process.parent)
    return False


def number(text, default):
    return int(text) if text.isdecimal() and len(text) < 10 else default


# -- the end of what is left ------------------------------------------------------------------------------------------


def drained(left):
    """Pids that an earlier run lets finish, with those of the processes that see to it: root's own say so."""
    found = set()
    for process in left.values():
        if process.uid != 0:  # what an app has for arguments may be megabytes in each of its processes
            continue
        try:
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if os.path.abspath(__file__) in command and DRAIN in command:
            found.add(process.pid)
            for pid, started, _seconds in map(triple, command[command.index(DRAIN) + 1 : -1]):
                if pid in left and left[pid].started == started:
                    found.add(pid)
    return found


def triple(text):
    pid, started, seconds = text.split(":")
    return int(pid), int(started), float(seconds)


def end(folder, patience):
    """End what is left, and say so; what may finish first is left to a process of its own."""
    left = members()
    busy = drained(left)
    free = {pid: one for pid, one in left.items() if pid not in busy}
    tasks = workers(folder, free)
    graceful = {**gunicorns(folder, free), **tasks}
    spared = busy | {process.pid for process in graceful}
    others = {pid: one for pid, one in left.items() if pid not in spared}
    if graceful:
        named = [f"{one.pid}:{one.started}:{seconds}" for one, seconds in graceful.items()]
        print(f"these finish their requests and tasks: {', '.join(map(str, graceful))}", flush=True)
        subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(__file__), DRAIN, *named],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    if others:
        print(f"ending what supervisord left behind: {', '.join(map(str, others.values()))}", flush=True)
    for process in [*graceful, *others.values()]:
        if process in tasks:
            continue  # it had SIGTERM when supervisord died (launch.py); RQ gives its task up at a second one
        if process.parent not in (left if process in graceful else others):
            process.signal(signal.SIGTERM)
    spared.update(drained(members()))  # the one that was started here
    give_up = time.monotonic() + patience
    while others and time.monotonic() < give_up:
        time.sleep(0.05)
        others = remaining(spared)
    kill(lambda: remaining(spared))


def remaining(spared):
    left = members()
    return {pid: one for pid, one in left.items() if pid not in spared | drained(left)}


def kill(look):
    """Kill what *look* finds until it finds nothing; what forks faster than that has its limits elsewhere."""
    give_up, told = time.monotonic() + KILLING, False
    while found := look():
        if not told:
            print(f"killing what did not end: {', '.join(map(str, found.values()))}", flush=True)
        elif time.monotonic() > give_up:
            print(f"these could not be killed: {', '.join(map(str, found.values()))}", flush=True)
            return
        told = True
        for process in found.values():
            process.signal(signal.SIGKILL)
        time.sleep(0.02)


def drain(named):
    """Give each of these processes its time, then kill it, and with the last of them whatever they have forked."""
    handles, waiting = {}, select.poll()
    begun = time.monotonic()
    for pid, started, seconds in named:
        try:
            handle = os.pidfd_open(pid)
            if Process(pid).started == started:
                handles[handle] = (pid, begun + seconds)
                waiting.register(handle, select.POLLIN)
        except ProcessLookupError:
            pass
    while handles:
        soonest = min(until for _pid, until in handles.values())
        for handle, _event in waiting.poll(max(0.0, soonest - time.monotonic()) * 1000 + 1):
            waiting.unregister(handle)
            del handles[handle]
        for handle, (pid, until) in handles.items():
            if time.monotonic() >= until:
                print(f"killing what did not finish in time: {pid}", flush=True)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                handles[handle] = (pid, until + KILLING)
    groups = {pid for pid, _started, _seconds in named}
    kill(lambda: {pid: one for pid, one in members().items() if one.group in groups})


def main(arguments):
    if arguments[:1] == [DRAIN]:
        drain([triple(text) for text in arguments[1:]])
    else:
        in_order = os.environ.get("SERVICE_RESULT") == "success"
        end(arguments[0] if arguments else "/etc/supervisor/conf.d", PATIENCE if in_order else AFTER_A_CRASH)


if __name__ == "__main__":
    main(sys.argv[1:])
