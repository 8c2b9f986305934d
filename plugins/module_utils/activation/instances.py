# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inspect, stop and start the instances of an app, and wait for them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import time
import typing as t

from ..diagnosis.log_tail import LogMark
from ..host import survivor
from ..host.inspection import collide
from ..instance.candidates import Candidates
from ..instance.discovery import find_apps
from ..instance.leftovers import Leftovers
from ..instance.obstacle import NOT_OPENED, obstacle
from ..instance.public_socket import SocketError, SystemdSocket
from ..instance.run_directory import RunDirectory
from ..release.record import environment_digest
from ..release.store import ReleaseStore
from ..supervisor.conf import STOP_MARGIN
from ..supervisor.rpc import (
    STOPPABLE_STATES,
    STOPPED_STATES,
    AlreadyStarted,
    NotRunning,
    Process,
    SpawnError,
    Supervisor,
    Unreachable,
)
from .errors import StepFailure, error_text
from .gate import POLL, Gate
from .options import Options
from .program import Program

#: States of a process that runs, ready or not.
UP = ("RUNNING", "STARTING")


class Instances:
    """The processes of one app. Owns the last answer of supervisord about them, and how many of them serve.

    :param checkpoint: called while a child stops and starts instances
    """

    def __init__(
        self, options: Options, store: ReleaseStore, checkpoint: t.Callable[[str], None] = lambda name: None
    ) -> None:
        self.options = options
        self.checkpoint = checkpoint
        self.supervisor = Supervisor(options.supervisor_socket)
        self.socket = SystemdSocket(options.name)
        self.run_dir = RunDirectory(options.run_dir)
        self.candidates = Candidates(options.run_dir, options.root)
        self.program = Program(options, self.socket)
        self.gate = Gate(store, self.supervisor, self.run_dir, self.program)
        self.processes: list[Process] = []
        self.count = 0
        self.ended: list[str] = []

    # -- what runs ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Ask supervisord for the processes, and count those that serve."""
        self.processes = self.now()
        self.count_again()

    def now(self) -> list[Process]:
        """The processes as supervisord knows them now."""
        return self.supervisor.processes(self.options.name)

    def count_again(self) -> None:
        """Count the processes that serve, by the program's configuration on disk."""
        self.count = min(self.program.on_disk().instances or len(self.processes), len(self.processes))

    def serving(self) -> list[Process]:
        """The instances: processes that serve while they run."""
        return [process for process in self.processes if process.number < self.count]

    def holders(self) -> list[Process]:
        """Processes that only hold the socket open."""
        return [process for process in self.processes if process.number >= self.count]

    def runs(self, process: Process, release: str) -> bool:
        """Whether the process runs this release."""
        record = self.run_dir.record(process.name)
        return process.state in UP and record.get("pid") == process.pid and record.get("release") == release

    def is_fresh(self, process: Process, release: str) -> bool:
        """Whether the process runs this release with the wanted environment."""
        if not self.runs(process, release):
            return False
        record, file = self.run_dir.record(process.name), self.options.env_file
        if file is None:
            return True
        content = file.content if file.content is not None else file.on_disk() or b""
        return record.get("env_digest") == environment_digest(content)

    def serves(self, process: Process) -> bool:
        """Whether a worker of the process is ready."""
        return process.state in UP and bool(self.run_dir.ready_workers(process.name, process.pid))

    # -- stop and start ----------------------------------------------------------------------------------------------

    def stop_and_start(self, process: Process, left: Leftovers | None = None) -> dict[str, t.Any]:
        """Restart a process; return its new pid, the seconds that the stop took, and the end of its log before the start."""
        begun = time.monotonic()
        self.stop([process.full_name], left)
        stopped = time.monotonic() - begun
        mark = LogMark(process.log_file or self.program.log_file(process.name))
        self.start(process.full_name)
        return {"pid": self.supervisor.process(process.full_name).pid, "stop_s": stopped, "mark": mark.position}

    def stop(self, full_names: list[str], left: Leftovers | None = None) -> None:
        """Stop processes of the app, and end their leftovers: these could hold a resource that the next process needs."""
        before = self.now()
        left = left or self.leftovers([process for process in before if process.full_name in full_names])
        self.wait_until_stopped(full_names, self.program.stop_timeout() + STOP_MARGIN)
        self.ended += left.end(idle=[process.pid for process in before if process.number >= self.count])

    def leftovers(self, processes: list[Process]) -> Leftovers:
        """The processes that these programs will leave behind. Call it before they stop."""
        return Leftovers(self.supervisor, [process.pid for process in processes], self.program.uid())

    def wait_until_stopped(self, full_names: list[str], patience: float) -> None:
        """Stop processes and wait for their end; raise StepFailure after these seconds."""
        give_up = time.monotonic() + patience
        while True:
            waiting = []
            for full_name in full_names:
                process = self.supervisor.process(full_name)
                if process.state in STOPPABLE_STATES:
                    with contextlib.suppress(NotRunning):
                        self.supervisor.stop(full_name)
                    process = self.supervisor.process(full_name)
                if process.state not in STOPPED_STATES:
                    waiting.append(process)
            if not waiting:
                return
            if time.monotonic() > give_up:
                slow = waiting[0]
                raise StepFailure(
                    f"{slow.name} (pid {slow.pid}) did not stop within {patience:g} s", instance=slow.name
                )
            time.sleep(POLL)

    def start(self, full_name: str) -> None:
        """Start a process without waiting for it."""
        self.make_log(full_name.partition(":")[2])
        try:
            self.supervisor.start(full_name)
        except AlreadyStarted:
            pass
        except SpawnError as error:
            process = self.supervisor.process(full_name)
            blocked = NOT_OPENED in process.spawn_error
            why = self.gate.no_socket(process) if blocked else process.spawn_error or str(error)
            raise StepFailure(f"{process.name}: {why}", instance=process.name) from error

    def make_log(self, name: str) -> None:
        """Make the file that an instance appends its lines to, the app's own in a directory that is root's.

        An error here does not stop an instance: it then writes to its raw log.
        """
        user = self.program.user()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with contextlib.suppress(OSError, KeyError):
            descriptor = os.open(self.program.log_file(name), flags, 0o640)
            try:
                status = os.fstat(descriptor)
                if os.geteuid() == 0 and user and stat.S_ISREG(status.st_mode):
                    account = pwd.getpwnam(user)
                    if status.st_uid != account.pw_uid:
                        os.fchown(descriptor, account.pw_uid, os.stat(self.options.log_dir).st_gid)
                        os.fchmod(descriptor, 0o640)
            finally:
                os.close(descriptor)

    def protected(self, work: t.Callable[[], dict[str, t.Any]], during: str) -> dict[str, t.Any]:
        """Run ``work`` in a child that outlives a kill of this process, so that every instance that was stopped starts again."""

        def answer() -> str:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):  # or Ansible, which reads our output, would wait for the child
                os.dup2(nowhere, descriptor)
            try:
                return json.dumps({"done": work(), "ended": self.ended})
            except StepFailure as error:
                return json.dumps({"why": error.why, "instance": error.instance})
            except Exception as error:  # pylint: disable=broad-except
                return json.dumps({"why": error_text(error), "instance": ""})

        text = survivor.finish(answer, lambda: self.checkpoint(during))
        try:
            said = json.loads(text)
        except ValueError:  # the child was killed
            said = {}
        if "done" in said:
            self.ended = said["ended"]
            return said["done"]
        raise StepFailure(said.get("why") or f"{during} ended without a word", instance=said.get("instance", ""))

    # -- the group ---------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment that supervisord gives to every instance, without the variables that differ between processes."""
        return {**self.supervisor.environment(), "PYGUN_INSTANCES": str(self.program.wanted().instances or 1)}

    def configured(self) -> int:
        """How many instances the program has by its configuration."""
        return self.program.on_disk().instances or self.program.wanted().instances or 2

    def update_group(self) -> None:
        """Stop the group, remove it from supervisord, add it again as configured now, and start it."""
        name = self.options.name

        def work() -> dict[str, t.Any]:
            running = self.now()
            if running:
                self.stop([process.full_name for process in running])
                self.supervisor.remove_group(name)
            try:
                self.socket.settle()  # between the two, nobody else holds the address
            except SocketError as error:
                seen = obstacle(self.program.bind(), self.supervisor.all_processes())
                raise StepFailure(f"{error}" + (f"\n{seen}" if seen else "")) from error
            for number in range(self.configured()):
                self.make_log(f"{name}-{number}")
            self.supervisor.add_group(name)
            for process in self.now():
                self.start(process.full_name)
            return {}

        self.protected(work, "updating the group")

    def remove_candidates(self) -> None:
        """Remove the candidate links, so that every start runs ``current``."""
        count = max(len(self.processes), self.configured())
        self.candidates.remove_all(f"{self.options.name}-{number}" for number in range(count))

    def blocked(self) -> bool:
        """Whether supervisord cannot open the public socket, so that no process of the app runs."""
        return bool(self.processes) and all(NOT_OPENED in process.spawn_error for process in self.processes)

    def taken(self, check: bool = False) -> str:
        """Describe the process, file or other app at the app's new address; empty if it is free, or the app has it already.

        :param check: end nothing; what only leftovers have is as good as free
        """
        wanted = self.program.new_bind()
        if not wanted or (self.processes and _same_place(self.program.bind(), wanted)):
            return ""
        conf_dir = os.path.dirname(os.path.dirname(self.options.program_conf.path))
        for app in find_apps(os.path.dirname(self.options.root), conf_dir):
            if app.name != self.options.name and _same_place(app.bind, wanted):
                return f"{wanted}: the app {app.name} of this host has {app.bind}"
        seen = self._in_the_way(wanted)
        if seen and not self.processes:  # what an app of this user has left behind is not in the way for long
            seen = self._without_leftovers(lambda: self._in_the_way(wanted), check)
        return f"{wanted}: {seen}" if seen else ""

    def _in_the_way(self, bind: str) -> str:
        run_dir = self.options.run_dir
        if os.path.dirname(bind.removeprefix("unix:")) == run_dir and not os.path.exists(run_dir):
            return ""  # a check on a fresh host: the deploy makes the directory
        try:
            running = self.supervisor.all_processes()
        except Unreachable:
            running = []
        return obstacle(bind, running)

    def clear_address(self, check: bool = False) -> str:
        """End the leftovers of the app itself; return the obstacle that still keeps its public socket closed."""
        return self._without_leftovers(lambda: obstacle(self.program.bind(), self.processes), check)

    def _without_leftovers(self, look: t.Callable[[], str], check: bool) -> str:
        left = self.leftovers([])
        with contextlib.suppress(Unreachable):  # a check on a fresh host
            if check and left.are_there():
                return ""
            if not check:
                self.ended += left.end()
        return look()


def _same_place(one: str, other: str) -> bool:
    """Whether two public addresses cannot both be listened on."""
    (address, _colon, port), (address_of_other, _colon, port_of_other) = one.rpartition(":"), other.rpartition(":")
    if "unix" in (address, address_of_other):
        return one == other
    return port == port_of_other and collide(address.strip("[]"), address_of_other.strip("[]"))
