# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a release into service without losing a request, or leave the host as it was.

The transaction of one app::

    lock -> recover -> files -> roll -> reconfigure -> verify -> commit -> prune
                          \\________ back _________/

``current`` moves only at commit. Until then an instance runs the release through a candidate link in a directory of
root's, so an unverified release is never what a crash or a reboot comes back with. The exception is a first
install, which has nothing to come back to.

The journal (``activation.json``) holds what the host was like before. A run that finds one takes it over: it finishes
the commit if that had begun; otherwise it goes on from there, and if it fails, it goes back to the state that the
interrupted run had found.

Stop and start of an instance happen in a child process that outlives a kill of this one, so that whatever was stopped
is started again.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shlex
import signal
import stat
import time
import typing as t

from ..diagnosis.log_tail import LAST_LINES, LogMark, plain_lines, shorten_tracebacks
from ..diagnosis.symptoms import Diagnosis, advice, diagnose
from ..host.atomic import now, remove_file, write_atomically
from ..host.inspection import memory_of_host
from ..instance.candidates import Candidates
from ..instance.leftovers import Leftovers
from ..instance.obstacle import NOT_OPENED, obstacle
from ..instance.probe import Answer, ask_bind
from ..instance.public_socket import SocketError, SystemdSocket
from ..instance.run_directory import RunDirectory
from ..python_env import made_from, usable
from ..release.lock import Held, locked
from ..release.record import environment_digest
from ..release.server_packages import stock_worker
from ..release.store import ReleaseStore
from ..release.trial import too_many_workers, try_release, warnings_of
from ..supervisor.rpc import (
    DEAD_STATES,
    STOPPABLE_STATES,
    STOPPED_STATES,
    AlreadyStarted,
    CannotReread,
    NotRunning,
    Process,
    SpawnError,
    Supervisor,
    SupervisorError,
    Unreachable,
    unusable,
)
from .errors import ActivationError, StepFailure, error_text
from .files import ManagedFile, put_back, remove_leftovers, set_aside
from .instances import ANSWER_TIMEOUT, BOOT_MARGIN, POLL, STOP_MARGIN, VERIFY_TIMEOUT, instances_in, positive_or_one
from .journal import Journal, parse_entries
from .options import Options


class Activation:
    """One run of the transaction. Call `run`, or `predict` for check mode; not both."""

    def __init__(self, options: Options, warn: t.Callable[[str], None] = lambda text: None) -> None:
        self.options = options
        self.warn = warn
        self.store = ReleaseStore(options.root)
        self.run_dir = RunDirectory(options.run_dir)
        self.candidates = Candidates(options.run_dir, options.root)
        self.socket = SystemdSocket(options.name)
        self.supervisor = Supervisor(options.supervisor_socket)
        self.journal: Journal | None = None
        self.baseline: str | None = None
        self.wanted = ""
        self.step = "prepare"
        self.accounts: dict[str, dict[str, t.Any]] = {}
        self._started = time.monotonic()
        self._processes: list[Process] = []
        self._serving = 0
        self._reconfigure = False
        self._marks: dict[str, LogMark] = {}
        self._differences: list[dict[str, str]] = []
        self._ended: list[str] = []

    def checkpoint(self, name: str) -> None:
        """Called between two steps, with the name of what has just become true. Tests interrupt here."""

    # -- the two ways through ----------------------------------------------------------------------------------------

    def run(self) -> dict[str, t.Any]:
        """Bring the wanted release into service; raises ActivationError and leaves the host as it was."""
        options = self.options
        if not os.path.isdir(options.root):
            raise ActivationError(f"There is no {options.root}. Nothing was changed.", step="prepare")
        try:
            with locked(options.root, options.by, options.stop_timeout + STOP_MARGIN):
                return self._run_locked()
        except Held as error:
            raise ActivationError(str(error), step="lock", holder=error.holder) from error

    def _run_locked(self) -> dict[str, t.Any]:
        self.checkpoint("locked")
        finished = self._recover()
        try:
            self._resolve(may_be_missing=False)
            self._inspect()
        except SupervisorError as error:
            raise ActivationError(unusable(error), step="prepare") from error
        self._compare()
        if self.journal is None and not self._work():
            self._check_untouched()
            return self._result(changed=finished)
        self._refuse_blocked()
        self._transact()
        self._prune()
        return self._result(changed=True)

    def _blocked(self) -> bool:
        """Whether supervisord cannot open the public socket, so that no process of the app runs."""
        return bool(self._processes) and all(NOT_OPENED in process.spawn_error for process in self._processes)

    def _refuse_blocked(self) -> None:
        """Without its socket no release can start. What the app itself has left behind is not in the way for long."""
        if not self._blocked() or self._reconfigure or self.journal is not None:
            return
        self._ended += Leftovers(self.supervisor, [], self._uid()).end()
        seen = obstacle(self._bind(), self._processes)
        if seen:
            raise ActivationError(
                f"supervisord {self._processes[0].spawn_error}: {seen}. Take away what is in the way: supervisord tries"
                " again every few seconds. Or give the app another flask_app_bind. Nothing was changed.",
                step="prepare",
            )

    def predict(self) -> dict[str, t.Any]:
        """What `run` would do, on a host of any state. Writes nothing and touches no process."""
        interrupted = Journal.load(self._journal_path)
        self.journal = interrupted
        self._resolve(may_be_missing=True)
        try:
            self._inspect()
            work = self._work()
        except Unreachable:
            work = ["install"]
        except SupervisorError as error:
            raise ActivationError(unusable(error), step="prepare") from error
        self._compare()
        return self._result(changed=bool(work) or interrupted is not None)

    def settled(self) -> bool:
        """Whether `run` would find nothing to do, and an app that answers. If not, `run` tells why."""
        options = self.options
        try:
            with locked(options.root, options.by, patience=0):
                if Journal.load(self._journal_path) is not None:
                    return False
                self._recover()  # of an interrupted run, no more than leftovers
                self._resolve(may_be_missing=False)
                self._inspect()
                if self._work():
                    return False
                self._verify()
                return True
        except (Held, ActivationError, StepFailure, SupervisorError, SocketError, OSError):
            return False

    # -- prepare -----------------------------------------------------------------------------------------------------

    @property
    def _journal_path(self) -> str:
        return os.path.join(self.options.root, "activation.json")

    def _recover(self) -> bool:
        """Take over what an interrupted run left; say whether that finished a commit."""
        journal = Journal.load(self._journal_path)
        for path in (self._journal_path, self.store.state_file, self.store.link):
            remove_leftovers(path)
        if journal is None:
            return False
        for file in journal.entries["files"]:
            remove_leftovers(file["path"])
        self.journal = journal
        if journal.entries["step"] != "commit":
            return False
        self.warn("An earlier activation was interrupted while it committed; that has been finished.")
        self.wanted, self.baseline = journal.entries["release"], journal.entries["baseline"]
        self._finish_commit()
        self.journal = None
        return True

    def _resolve(self, may_be_missing: bool) -> None:
        """Decide which release is wanted, and refuse what may not run."""
        options, store = self.options, self.store
        self.baseline = self.journal.entries["baseline"] if self.journal else store.current()
        if options.release == "previous":
            wanted = store.previous()
            if wanted is None:
                raise ActivationError(
                    f"There is no release of {options.name} to go back to. {self._standing()} Nothing was changed.",
                    step="prepare",
                )
        elif options.release == "current":
            wanted = self.baseline
            if wanted is None:
                raise ActivationError(
                    f"No release of {options.name} has ever been in service here. Deploy one first."
                    " Nothing was changed.",
                    step="prepare",
                )
        else:
            wanted = options.release
        try:
            complete = store.is_complete(wanted)
        except ValueError as error:
            raise ActivationError(f"{error}. {self._standing()} Nothing was changed.", step="prepare") from error
        failure = store.failed().get(wanted)
        if failure and not options.retry_failed and wanted != self.baseline:
            raise ActivationError(
                f"Release {wanted} failed when it was tried at {failure.get('at', '?')}"
                f" (step {failure.get('step', '?')}: {failure.get('message', '?')}). A rollback does not choose it;"
                f" deploy it again to give it another chance. {self._standing()} Nothing was changed.",
                step="prepare",
            )
        if not complete and not may_be_missing:
            raise ActivationError(
                f"Release {wanted} of {options.name} does not stand on this host, or is half-built."
                f" {self._standing()} Nothing was changed.",
                step="prepare",
            )
        venv = os.path.join(store.path(wanted), "venv")
        if complete and wanted != self.baseline and not usable(venv):
            raise ActivationError(
                f"Release {wanted} of {options.name} was built for Python {made_from(venv) or '?'}, which this host does not"
                f" have any more: it cannot start. Deploy what was in it again. {self._standing()} Nothing was changed.",
                step="prepare",
            )
        self.wanted = wanted

    def _standing(self) -> str:
        failed = self.store.failed()
        names = []
        for release in self.store.ids():
            remark = "current" if release == self.store.current() else "failed" if release in failed else ""
            names.append(f"{release} ({remark})" if remark else release)
        return f"Releases on this host: {', '.join(names)}." if names else "There are no releases on this host."

    def _inspect(self) -> None:
        """Look at what runs and what must change."""
        options = self.options
        conf = options.program_conf
        self._processes = self.supervisor.processes(options.name)
        self._count_instances()
        try:
            added, changed, _removed = self.supervisor.reload_config()
        except CannotReread:
            if not (conf and conf.differs()):
                raise
            added, changed = [], []
        differs = conf is not None and conf.differs()
        ours = conf is not None and conf.content is not None and options.name in changed
        if options.name in changed and not ours:
            self.warn(
                f"The program of {options.name} was changed on disk since supervisord read it; this run leaves that"
                " alone. The next deploy decides."
            )
        new_socket = any(unit.differs() for unit in options.socket_units) or not self.socket.settled()
        self._reconfigure = differs or ours or new_socket or not self._processes
        if not self._processes and not differs and options.name not in added:
            raise ActivationError(
                f"supervisord has no program {options.name}. Deploy it first. Nothing was changed.", step="prepare"
            )

    def _count_instances(self) -> None:
        conf = self.options.program_conf
        told = instances_in((conf.on_disk() if conf else None) or b"") or self.options.instances
        self._serving = min(told or len(self._processes), len(self._processes))

    def _instances(self) -> list[Process]:
        return [process for process in self._processes if process.number < self._serving]

    def _holders(self) -> list[Process]:
        return [process for process in self._processes if process.number >= self._serving]

    def _work(self) -> list[str]:
        """What has to be done, in words; empty if everything is as wanted."""
        options = self.options
        work = []
        if self._reconfigure:
            work.append("program")
        if options.env_file is not None and options.env_file.differs():
            work.append("env")
        if self.wanted != self.baseline:
            work.append("release")
        work.extend(process.name for process in self._instances() if not self._is_fresh(process))
        work.extend(process.name for process in self._holders() if process.state not in ("RUNNING", "STARTING"))
        if options.restart:
            work.append("restart")
        return work

    def _is_fresh(self, process: Process) -> bool:
        """Whether the instance runs the wanted release with the wanted environment."""
        if not self._runs(process, self.wanted):
            return False
        record = self.run_dir.record(process.name)
        file = self.options.env_file
        if file is None:
            return True
        content = file.content if file.content is not None else file.on_disk() or b""
        return record.get("env_digest") == environment_digest(content)

    def _runs(self, process: Process, release: str) -> bool:
        record = self.run_dir.record(process.name)
        return (
            process.state in ("RUNNING", "STARTING")
            and record.get("pid") == process.pid
            and record.get("release") == release
        )

    def _check_untouched(self) -> None:
        """Nothing is to be done; still, "ok" must mean that the service answers."""
        self.step = "verify"
        try:
            self._verify()
        except StepFailure as failure:
            raise self._error(failure, "The wanted release runs already, but:", "Nothing was changed.") from failure

    # -- the transaction ---------------------------------------------------------------------------------------------

    def _transact(self) -> None:
        options = self.options
        if self.journal is None:
            self.journal = Journal(self._journal_path, {"version": 1, "baseline": self.baseline, "files": []})
            self.journal.entries.update(rolled=[], reconfigured=False, had_program=bool(self._processes))
            self.journal.entries["stopped"] = [
                process.name for process in self._instances() if process.state in ("STOPPED", "STOPPING")
            ]
        begun = {"pid": os.getpid(), "started": now(), "by": options.by, "rollout": options.rollout}
        try:
            self.journal.save(step="files", release=self.wanted, **begun)
        except OSError as error:
            raise ActivationError(
                f"The journal cannot be written: {error_text(error)}. Nothing was changed.", step="prepare"
            ) from error
        self.checkpoint("journal")
        try:
            self.step = "files"
            self._restore_foreign_files()
            self._write(options.env_file)
            self.checkpoint("files")
            self._preflight()
            self._roll()
            if self._reconfigure:
                self._replace_program()
            self.step = "verify"
            self.journal.save(step=self.step)
            self.checkpoint("rolled")
            self._verify()
            self.step = "commit"
            self.journal.save(step="commit", committed_at=now(), rollback=not options.retry_failed)
        except Exception as error:  # pylint: disable=broad-except
            failure = error if isinstance(error, StepFailure) else StepFailure(error_text(error))
            raise self._back(failure) from error
        self.checkpoint("commit")
        self._finish_commit()

    def _restore_foreign_files(self) -> None:
        """Undo the files of an interrupted run that this run does not write itself."""
        conf, env = self.options.program_conf, self.options.env_file
        own = {file.path for file in (conf, env, *self.options.socket_units) if file is not None and file.managed()}
        kept, ours = [], self.options.name
        for entry in self.journal.entries["files"]:
            if entry["path"] in own:
                kept.append(entry)
                continue
            put_back(entry)
            if conf is not None and conf.path == entry["path"]:
                added, changed, _removed = self.supervisor.reload_config()
                self._reconfigure = ours in added or ours in changed or not self._processes
                self._count_instances()
        self._reconfigure = self._reconfigure or not self.socket.settled()
        self.journal.save(files=kept)

    def _write(self, file: ManagedFile | None) -> None:
        """Write a file, with the old bytes kept beside it until the transaction ends."""
        if file is None or not file.differs():
            return
        others = [entry for entry in self.journal.entries["files"] if entry["path"] != file.path]
        known = [entry for entry in self.journal.entries["files"] if entry["path"] == file.path]
        if not known or (known[0]["aside"] and not os.path.exists(known[0]["aside"])):
            self.journal.save(files=[*others, set_aside(file.path)])
            self.checkpoint(f"set aside {os.path.basename(file.path)}")
        if file.content is None:
            remove_file(file.path)
            return
        root = os.geteuid() == 0
        try:
            gid = grp.getgrnam(file.group).gr_gid if file.group else 0 if root else -1
        except KeyError:
            raise StepFailure(f"the group {file.group} of {file.path} does not exist") from None
        write_atomically(file.path, file.content, file.mode, 0 if root else -1, gid)

    # -- preflight ---------------------------------------------------------------------------------------------------

    def _preflight(self) -> None:
        """Try a release that does not serve yet, before anything that serves is touched."""
        options = self.options
        user = self._user()
        if not options.preflight or not user or self.wanted == self.baseline:
            return
        self.step = "preflight"
        self.journal.save(step=self.step)
        self.checkpoint("preflight")
        home = os.path.join(options.root, "shared")
        outcome = try_release(self.store.path(self.wanted), user, home, options.boot_timeout)
        if outcome.problem:
            raise StepFailure(
                f"tried without serving, at its step {outcome.step!r}: {outcome.problem}",
                log_file="that try",
                log=outcome.output,
                blames_release=True,
            )
        for text in warnings_of(outcome.facts):
            self.warn(text)
        crowd = too_many_workers(outcome.facts, options.instances or 1, memory_of_host("MemTotal"))
        if crowd:
            self.warn(crowd)

    def _user(self) -> str:
        """The app's user, as asked for or as the program's configuration names it; empty if neither does."""
        conf = self.options.program_conf
        text = (conf.content or conf.on_disk() or b"") if conf else b""
        found = re.search(rb"^user\s*=\s*([^\s:]+)", text, re.MULTILINE)
        return self.options.user or (found.group(1).decode() if found else "")

    # -- roll --------------------------------------------------------------------------------------------------------

    def _roll(self) -> None:
        """Restart the instances that need it, one after the other; those that serve nothing come first."""
        self.step = "roll"
        if not self._can_go_back():
            # Every start goes through the launcher of `current`: what is not there cannot start anything.
            self.store.set_current(self.wanted)
            self.checkpoint("first current")
            if self.baseline is not None:
                self.warn(
                    f"Release {self.baseline}, which was current, cannot start any more (it, or its Python, is gone from this host): there is no way back."
                )
        for process in self._holders():
            if process.state not in ("RUNNING", "STARTING", "STOPPING"):
                self._start(process.full_name)
        todo = []
        for process in self._instances():
            if self.options.restart or not self._is_fresh(process):
                todo.append(process)
                continue
            if not self._serves(process):  # an interrupted run has started it, and it is still booting
                self._mark(process)
                self._gate(process.full_name, self.wanted, process.pid, self.options.boot_timeout + BOOT_MARGIN)
            self._account(process, "kept")
        todo.sort(key=lambda process: (self._serves(process), process.number))
        if self._reconfigure:
            # The whole group restarts once its program changes. One instance shows before whether the release
            # boots at all: a bad release must not cost the gap that only a new program is worth.
            # Where the old program cannot have its socket, nobody serves, and no instance can show anything.
            todo = [process for process in todo[:1] if self.wanted != self.baseline and not self._blocked()]
        for process in todo:
            action = "restarted" if self._serves(process) else "started"
            self._restart(process, self.wanted, action)
            self.checkpoint(f"gated {process.name}")

    def _can_go_back(self) -> bool:
        if self.baseline is None or not self.store.is_complete(self.baseline):
            return False
        folder = self.store.path(self.baseline)
        needed = (os.path.join("venv", "bin", "python"), os.path.join("lib", "pygun_runtime", "launch.py"))
        return all(os.path.exists(os.path.join(folder, name)) for name in needed) and usable(
            os.path.join(folder, "venv")
        )

    def _serves(self, process: Process) -> bool:
        return process.state in ("RUNNING", "STARTING") and bool(self.run_dir.ready_workers(process.name, process.pid))

    def _restart(self, process: Process, release: str, action: str) -> None:
        """Restart one instance on a candidate release and wait until it is ready."""
        rolled = self.journal.entries["rolled"]
        if process.name not in rolled:
            self.journal.save(step=f"roll {process.name}", rolled=[*rolled, process.name])
        self.checkpoint(f"before {process.name}")

        def work() -> dict[str, t.Any]:
            self.candidates.put(process.name, self.store.path(release))
            return self._stop_and_start(process)

        done = self._protected(work, f"restarting {process.name}")
        self._mark(process, done["mark"])
        self.checkpoint(f"restarted {process.name}")
        begun = time.monotonic()
        self._gate(process.full_name, release, done["pid"], self.options.boot_timeout + BOOT_MARGIN)
        self._account(process, action, release, done["pid"], done["stop_s"], time.monotonic() - begun)

    def _stop_and_start(self, process: Process, left: Leftovers | None = None) -> dict[str, t.Any]:
        begun = time.monotonic()
        self._stop([process.full_name], left)
        stopped = time.monotonic() - begun
        mark = LogMark(self._log_file(process))
        self._start(process.full_name)
        return {"pid": self.supervisor.process(process.full_name).pid, "stop_s": stopped, "mark": mark.position}

    def _stop(self, full_names: list[str], left: Leftovers | None = None) -> None:
        """Stop processes of the app, and end what they leave behind: it could hold what the next one needs."""
        before = self._now()
        left = left or self._leftovers([process for process in before if process.full_name in full_names])
        self._wait_until_stopped(full_names)
        self._ended += left.end(idle=[process.pid for process in before if process.number >= self._serving])

    def _leftovers(self, processes: list[Process]) -> Leftovers:
        return Leftovers(self.supervisor, [process.pid for process in processes], self._uid())

    def _uid(self) -> int | None:
        """The number of the app's user; None if it has none on this host."""
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(self._user()).pw_uid
        return None

    def _wait_until_stopped(self, full_names: list[str]) -> None:
        give_up = time.monotonic() + self.options.stop_timeout + STOP_MARGIN
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
                raise StepFailure(
                    f"{waiting[0].name} (pid {waiting[0].pid}) did not stop within"
                    f" {self.options.stop_timeout + STOP_MARGIN:g} s",
                    instance=waiting[0].name,
                )
            time.sleep(POLL)

    def _make_log(self, name: str) -> None:
        """Make the file that an instance appends its lines to, the app's own in a directory that is root's.

        What cannot be made here does not stop an instance: it then writes to its raw log.
        """
        user = self._user()
        path = os.path.join(self.options.log_dir, f"{name}.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with contextlib.suppress(OSError, KeyError):
            descriptor = os.open(path, flags, 0o640)
            try:
                found = os.fstat(descriptor)
                if os.geteuid() == 0 and user and stat.S_ISREG(found.st_mode):
                    account = pwd.getpwnam(user)
                    if found.st_uid != account.pw_uid:
                        os.fchown(descriptor, account.pw_uid, os.stat(self.options.log_dir).st_gid)
                        os.fchmod(descriptor, 0o640)
            finally:
                os.close(descriptor)

    def _start(self, full_name: str) -> None:
        self._make_log(full_name.partition(":")[2])
        try:
            self.supervisor.start(full_name)
        except AlreadyStarted:
            pass
        except SpawnError as error:
            process = self.supervisor.process(full_name)
            why = self._no_socket(process) if NOT_OPENED in process.spawn_error else process.spawn_error or str(error)
            raise StepFailure(f"{process.name}: {why}", instance=process.name) from error

    def _protected(self, work: t.Callable[[], dict[str, t.Any]], during: str) -> dict[str, t.Any]:
        """Run ``work`` in a child that outlives a kill of this process: what it stops it starts again."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reading)
                os.setsid()
                for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_IGN)
                nowhere = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2):  # or whoever reads our output would wait for the child
                    os.dup2(nowhere, descriptor)
                try:
                    answer = {"done": work(), "ended": self._ended}
                except StepFailure as error:
                    answer = {"why": error.why, "instance": error.instance}
                except Exception as error:  # pylint: disable=broad-except
                    answer = {"why": error_text(error), "instance": ""}
                with os.fdopen(writing, "w", encoding="utf-8") as stream:
                    json.dump(answer, stream)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        self.checkpoint(during)
        with os.fdopen(reading, encoding="utf-8") as stream:
            text = stream.read()
        os.waitpid(child, 0)
        answer = parse_entries(text)
        if "done" in answer:
            self._ended = answer["ended"]
            return answer["done"]
        raise StepFailure(answer.get("why") or f"{during} ended without a word", instance=answer.get("instance", ""))

    # -- gate --------------------------------------------------------------------------------------------------------

    def _log_file(self, process: Process) -> str:
        return process.log_file or os.path.join(self.options.log_dir, f"{process.name}.log")

    def _mark(self, process: Process, position: list[int] | None = None) -> None:
        self._marks[process.name] = LogMark(self._log_file(process), position)

    def _gate(self, full_name: str, release: str, pid: int, patience: float, strict: bool = True) -> None:
        """Wait until the instance serves the release. Raises StepFailure as soon as it cannot any more.

        Not strict, for the way back, any HTTP answer will do: the old release is put back even if something that it
        depends on is down at the moment.
        """
        begun = time.monotonic()
        name = full_name.partition(":")[2]
        answer = None
        health_path, host = self._health(release)
        while True:
            process = self.supervisor.process(full_name)
            if process.state in DEAD_STATES or process.pid != pid or not pid:
                why = f"{process.state}: {process.spawn_error}" if process.spawn_error else process.state
                if process.state not in DEAD_STATES:
                    why = f"pid {pid} is gone, supervisord started another"
                if NOT_OPENED in process.spawn_error:
                    raise self._refusal(name, self._no_socket(process), begun, blames_release=False)
                raise self._refusal(name, f"it ended while it was booting ({why})", begun)
            if process.state in ("STOPPED", "STOPPING"):
                raise self._refusal(name, "somebody else stopped it meanwhile", begun, blames_release=False)
            record = self.run_dir.record(name)
            ready = self.run_dir.ready_workers(name, pid)
            left = begun + patience - time.monotonic()
            if record.get("pid") == pid:
                if record.get("release") != release:
                    raise self._refusal(name, f"it runs release {record.get('release')} instead", begun, False)
                if ready and ready >= positive_or_one(record.get("workers")):
                    answer = self._ask(name, pid, health_path or "/", left, host)
                    if answer.is_healthy(health_path) or (answer.status and not strict):
                        return
            if left <= 0:
                if answer is not None:
                    said = f"answered {answer.status}" if answer.status else "did not answer"
                    raise self._refusal(name, f"GET {health_path or '/'} {said}: {answer.text[:300]}", begun)
                wrong = self.run_dir.wrong(name)
                raise self._refusal(
                    name,
                    f"it did not become ready within {patience:g} s ({ready} workers are ready)"
                    + (f"; {wrong}" if wrong else ""),
                    begun,
                )
            if answer is not None and patience > VERIFY_TIMEOUT:
                # Ready but not healthy: a moment of grace, not the whole time that a boot may take.
                patience = min(patience, time.monotonic() - begun + VERIFY_TIMEOUT)
            time.sleep(POLL)

    def _no_socket(self, process: Process) -> str:
        """Why supervisord cannot open the public socket, and who is in the way."""
        seen = obstacle(self._bind(), self.supervisor.all_processes())
        return f"supervisord {process.spawn_error}" + (f": {seen}" if seen else "")

    def _bind(self) -> str:
        """The public address as supervisord was told it."""
        conf = self.options.program_conf
        found = re.search(
            rb"^socket\s*=\s*(?:tcp://(\S+)|unix://(\S+))", (conf.on_disk() if conf else None) or b"", re.MULTILINE
        )
        if found is None:
            return self.socket.wanted() or self.options.bind
        return found.group(1).decode() if found.group(1) else f"unix:{found.group(2).decode()}"

    def _ask(self, name: str, pid: int, path: str, left: float, host: str) -> Answer:
        return self.run_dir.ask(name, pid, path, max(0.1, min(ANSWER_TIMEOUT, left)), host)

    def _refusal(self, name: str, why: str, begun: float, blames_release: bool = True) -> StepFailure:
        mark = self._marks.get(name)
        return StepFailure(
            f"{name}: {why}, after {time.monotonic() - begun:.1f} s",
            instance=name,
            log_file=mark.path if mark else "",
            log=mark.since() if mark else "",
            blames_release=blames_release,
        )

    def _health(self, release: str) -> tuple[str, str]:
        """Path and Host header of the health check, as the release has them.

        An older release may not have today's endpoint, so what its own pygun.py says has precedence.
        """
        try:
            with open(os.path.join(self.store.path(release), "pygun.py"), encoding="utf-8") as stream:
                settings = stream.read()
        except (OSError, UnicodeDecodeError):
            settings = ""
        found = dict(re.findall(r"^\s*health_(path|host)\s*=\s*[\"']([^\"'\n]*)[\"']", settings, re.MULTILINE))
        return found.get("path", self.options.health_path), found.get("host") or "localhost"

    def _verify(self) -> None:
        """Everything at once, as callers will see it: every instance, then the public address."""
        instances = [process for process in self._now() if process.number < self._serving]
        if not instances:
            raise StepFailure("supervisord runs no instance of the app")
        for process in instances:
            self._gate(process.full_name, self.wanted, process.pid, VERIFY_TIMEOUT)
            self.accounts.setdefault(process.name, self._describe(process, "kept", self.wanted))
        for text in sorted({stock_worker(self.run_dir.record(process.name)) for process in instances} - {""}):
            self.warn(f"{self.options.name}: {text}")
        if self.options.bind:
            path, host = self._health(self.wanted)
            give_up = time.monotonic() + VERIFY_TIMEOUT
            while True:
                answer = ask_bind(self.options.bind, path or "/", ANSWER_TIMEOUT, host)
                if answer.status:
                    return
                if time.monotonic() > give_up:
                    raise StepFailure(f"the public address {self.options.bind} does not answer: {answer.text}")
                time.sleep(POLL)

    def _now(self) -> list[Process]:
        return self.supervisor.processes(self.options.name)

    # -- reconfigure -------------------------------------------------------------------------------------------------

    def _replace_program(self) -> None:
        """Give supervisord the new program. The group restarts at once and the socket is closed for a moment."""
        self.step = "reconfigure"
        self._write(self.options.program_conf)
        for unit in self.options.socket_units:
            self._write(unit)
        self.journal.save(step=self.step, reconfigured=True)
        self.checkpoint("program conf")
        self.supervisor.reload_config()
        count = self._configured_instances()
        names = [f"{self.options.name}-{number}" for number in range(count)]
        known = {process.name: process for process in self._processes}
        for name in names:
            log_file = known[name].log_file if name in known else ""
            self._marks[name] = LogMark(log_file or os.path.join(self.options.log_dir, f"{name}.log"))
            self.candidates.put(name, self.store.path(self.wanted))
        self.checkpoint("candidates")
        self._update_group()
        self._serving = count
        failed: StepFailure | None = None
        begun = time.monotonic()
        for process in self._now():
            if process.number >= count:
                continue
            try:
                self._gate(process.full_name, self.wanted, process.pid, self.options.boot_timeout + BOOT_MARGIN)
            except StepFailure as failure:
                # A release that an instance served a moment ago is not to blame for what the new program does to it.
                failure.blames_release = failure.blames_release and not self.journal.entries["rolled"]
                failed = failed or failure
                continue
            action = "restarted" if process.name in known else "started"
            self._account(process, action, self.wanted, process.pid, 0.0, time.monotonic() - begun)
        if failed:
            raise failed
        self.checkpoint("reconfigured")

    def _configured_instances(self) -> int:
        conf = self.options.program_conf
        return instances_in((conf.on_disk() if conf else None) or b"") or self.options.instances or 2

    def _update_group(self) -> None:
        """Stop the group, take it out, put it in again as configured now, and have it started."""
        name = self.options.name

        def work() -> dict[str, t.Any]:
            running = self.supervisor.processes(name)
            if running:
                self._stop([process.full_name for process in running])
                self.supervisor.remove_group(name)
            try:
                self.socket.settle()  # between the two, nobody else holds the address
            except SocketError as error:
                seen = obstacle(self._bind(), self.supervisor.all_processes())
                raise StepFailure(f"{error}" + (f"\n{seen}" if seen else "")) from error
            for number in range(self._configured_instances()):
                self._make_log(f"{name}-{number}")
            self.supervisor.add_group(name)
            for process in self.supervisor.processes(name):
                self._start(process.full_name)
            return {}

        self._protected(work, "updating the group")

    # -- commit ------------------------------------------------------------------------------------------------------

    def _finish_commit(self) -> None:
        """Everything is verified; make it the truth."""
        try:
            self._write_down()
        except OSError as error:
            raise ActivationError(
                f"Release {self.wanted} of {self.options.name} passed its gate and serves, but that cannot be written down:"
                f" {error_text(error)}. Repair that, then run this again: the next run goes on from here.",
                step="commit",
            ) from error

    def _write_down(self) -> None:
        """Each line may be repeated after an interruption."""
        entries, store = self.journal.entries, self.store
        store.set_current(entries["release"])
        self.checkpoint("current")
        last = store.history()[-1:]
        if entries["release"] != entries["baseline"] and not (
            last and last[0].get("journal") == entries["committed_at"]
        ):
            store.record_activation(
                entries["release"],
                entries["baseline"],
                entries["by"],
                rollback=bool(entries.get("rollback")),
                journal=entries["committed_at"],
                rollout=entries.get("rollout", ""),
            )
        self.checkpoint("state")
        self._remove_candidates()
        self.checkpoint("links")
        for file in entries["files"]:
            if file["aside"]:
                remove_file(file["aside"])
        self.journal.close()
        self.checkpoint("committed")

    def _remove_candidates(self) -> None:
        count = max(len(self._processes), self._configured_instances())
        self.candidates.remove_all(f"{self.options.name}-{number}" for number in range(count))

    def _prune(self) -> None:
        running = [self.run_dir.record(process.name).get("release") for process in self._now()]
        protect = [release for release in [self.baseline, self.wanted, *running] if isinstance(release, str)]
        try:
            self.store.prune(self.options.keep, protect)
        except OSError as error:
            self.warn(f"Old releases could not be removed: {error_text(error)}.")

    # -- back --------------------------------------------------------------------------------------------------------

    def _back(self, failure: StepFailure) -> ActivationError:
        """Bring the host to what it was before, as far as that can be done, and say what happened."""
        failed_step = self.step
        problems: list[str] = []
        blamed = failure.blames_release and self.wanted != self.baseline
        self.checkpoint("back")
        try:
            with contextlib.suppress(OSError):  # a full disk must not stand in the way
                self.journal.save(step="back")
            for file in self.journal.entries["files"]:
                put_back(file)
            with contextlib.suppress(OSError):
                if blamed:
                    self.store.mark_failed(self.wanted, failed_step, failure.why)
                self.journal.save(files=[])
            self.checkpoint("files back")
            if self.baseline is None or (self.journal.entries["reconfigured"] and not self._had_program()):
                self._uninstall()
            elif not self._can_go_back():
                problems.append(f"release {self.baseline} that served before, or its Python, is gone from this host")
                if not any(self._runs(process, self.wanted) for process in self._now()):
                    self.store.set_current(self.baseline)
            elif self.journal.entries["reconfigured"]:
                self._program_back(problems)
            else:
                self._instances_back(failure, problems)
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error_text(error))
        if not problems:
            self.journal.close()
            with contextlib.suppress(OSError):
                # Only failed releases beyond the last: a good one is worth keeping until something took its place.
                self.store.prune(len(self.store.ids()), [self.wanted, *([self.baseline] if self.baseline else [])])
        self.step = failed_step
        what = f"Release {self.wanted} of {self.options.name} was not put into service (step: {failed_step})."
        if problems:
            after = (
                "THE WAY BACK FAILED TOO: " + "; ".join(problems) + ". What answers has been left alone. Repair the"
                " cause, then deploy or roll back: the next run takes over from here."
            )
        elif not self.journal.entries["rolled"] and not self.journal.entries["reconfigured"]:
            after = "Nothing was changed."
        elif self.baseline is None:
            after = "It was the first release: the program has been removed again, and nothing serves."
        else:
            after = "The host is as it was before."
        if blamed:
            after += f" Release {self.wanted} is marked as failed; a rollback will not choose it."
        return self._error(failure, what, after, rolled_back=not problems)

    def _had_program(self) -> bool:
        return bool(self.journal.entries["had_program"])

    def _uninstall(self) -> None:
        """A first install failed: nothing of it stays."""
        name = self.options.name
        running = self._now()
        self._stop([process.full_name for process in running])
        _added, _changed, removed = self.supervisor.reload_config()
        if running and (name in removed or not self._had_program()):
            self.supervisor.remove_group(name)
        self.socket.settle()
        self._remove_candidates()
        if self.baseline is None:
            self.store.clear_current()

    def _program_back(self, problems: list[str]) -> None:
        """The old program and the old release for the whole group."""
        self._remove_candidates()
        self.supervisor.reload_config()
        self._update_group()
        conf = self.options.program_conf
        count = instances_in((conf.on_disk() if conf else None) or b"") or self._serving
        for process in self._now():
            if process.number < count:
                self._gate_back(process.full_name, process.pid, problems)
            if process.name in self.journal.entries["stopped"]:
                self._stop([process.full_name])

    def _instances_back(self, failure: StepFailure, problems: list[str]) -> None:
        """The old release for every instance that this transaction touched; the broken ones first."""
        rolled = set(self.journal.entries["rolled"])
        touched = [process for process in self._now() if process.name in rolled]
        touched.sort(key=lambda process: (process.name != failure.instance, self._serves(process), process.number))
        for process in touched:
            stopped = process.name in self.journal.entries["stopped"]

            def work(process: Process = process, stay: bool = stopped) -> dict[str, t.Any]:
                self.candidates.remove(process.name)
                if stay:
                    self._stop([process.full_name])
                    return {"pid": 0}
                return self._stop_and_start(process)

            done = self._protected(work, f"back {process.name}")
            if not stopped and not self._gate_back(process.full_name, done["pid"], problems):
                return  # the instances that are still on the new release answer; they stay

    def _gate_back(self, full_name: str, pid: int, problems: list[str]) -> bool:
        try:
            self._gate(full_name, self.baseline, pid, self.options.boot_timeout + BOOT_MARGIN, strict=False)
        except StepFailure as failure:
            problems.append(f"the release {self.baseline} that served before did not come back on {failure.why}")
            return False
        return True

    # -- what is told ------------------------------------------------------------------------------------------------

    def _account(
        self,
        process: Process,
        action: str,
        release: str | None = None,
        pid: int | None = None,
        stop_s: float = 0.0,
        ready_s: float = 0.0,
    ) -> None:
        account = self._describe(process, action, release or self.wanted)
        account.update(pid=process.pid if pid is None else pid, stop_s=round(stop_s, 2), ready_s=round(ready_s, 2))
        self.accounts[process.name] = account

    def _describe(self, process: Process, action: str, release: str) -> dict[str, t.Any]:
        return {
            "name": process.name,
            "pid": process.pid,
            "release": release,
            "action": action,
            "stop_s": 0.0,
            "ready_s": 0.0,
        }

    def _result(self, changed: bool) -> dict[str, t.Any]:
        if self._ended:
            self.warn(
                f"{self.options.name} left processes behind when its instances stopped. They have been ended:"
                f" {', '.join(self._ended[:5])}{', ...' if len(self._ended) > 5 else ''}."
            )
        return {
            "changed": changed,
            "release": self.wanted,
            "previous": self.store.previous(),
            "instances": [self.accounts[name] for name in sorted(self.accounts)],
            "seconds": round(time.monotonic() - self._started, 2),
            "diff": self._differences,
        }

    def _compare(self) -> None:
        """Remember what is about to differ, before it does."""
        release = f"{self.options.name}: release"
        found = [(release, f"{self.baseline or 'none'}\n", f"{self.wanted}\n")]
        conf, env = self.options.program_conf, self.options.env_file
        if conf is not None and conf.differs():
            before = (conf.on_disk() or b"").decode("utf-8", "replace")
            found.append((conf.path, before, conf.content.decode("utf-8", "replace")))
        for unit in self.options.socket_units:
            if unit.differs():
                before = (unit.on_disk() or b"").decode("utf-8", "replace")
                found.append((unit.path, before, (unit.content or b"").decode("utf-8", "replace")))
        if env is not None and env.differs():
            before = "none\n" if env.on_disk() is None else "as before\n"
            found.append((env.path, before, "changed (its values are not shown)\n"))
        self._differences = [
            {"before_header": header, "after_header": header, "before": before, "after": after}
            for header, before, after in found
            if before != after
        ]

    def _serving_now(self) -> tuple[str, list[dict[str, t.Any]]]:
        try:
            processes = self._now()
        except SupervisorError as error:
            return f"What serves now is not known: {error}.", []
        found: dict[str, list[str]] = {}
        facts = []
        for process in processes:
            record = self.run_dir.record(process.name)
            if record.get("pid") == process.pid and self._serves(process):
                release = str(record.get("release"))
                found.setdefault(release, []).append(f"{process.name} (pid {process.pid})")
                facts.append({"name": process.name, "pid": process.pid, "release": release})
        if not found:
            return "No instance serves now.", facts
        return "; ".join(f"Release {key} serves now: {', '.join(value)}" for key, value in found.items()) + ".", facts

    def _error(self, failure: StepFailure, what: str, after: str, **facts: t.Any) -> ActivationError:
        lines = shorten_tracebacks(plain_lines(failure.log))
        known = diagnose("\n".join([*lines, failure.why]))
        reproduce = self._reproduce(failure, known)
        serving, instances = self._serving_now()
        why = failure.why.rstrip(".") + "."
        parts = [what, why if failure.instance and why.startswith(failure.instance) else why[:1].upper() + why[1:]]
        if lines:
            shown = lines[-LAST_LINES:]
            parts.append(f"Last lines of {failure.log_file}:\n" + "\n".join(f"    {line}" for line in shown))
        elif failure.log_file:
            parts.append(f"It logged nothing in {failure.log_file}.")
        if known:
            parts.append(advice(known))
        if reproduce:
            parts.append(f"To reproduce: {reproduce}")
        parts.append(f"{serving} {after}")
        facts.update(
            step=self.step,
            release=self.wanted,
            instance=failure.instance or None,
            log=lines[-LAST_LINES:],
            cause=known.cause if known else None,
            remedy=known.remedy if known else None,
            reproduce=reproduce or None,
            serving=instances,
        )
        return ActivationError("\n".join(parts), **facts)

    def _reproduce(self, failure: StepFailure, known: Diagnosis | None) -> str:
        """A command that shows the same failure without touching what serves."""
        if not failure.blames_release:
            return ""
        release = self.store.path(self.wanted)
        user = self._user() or self.options.name
        place, up = (
            (os.path.join(release, "src"), "../") if os.path.isdir(os.path.join(release, "src")) else (release, "")
        )
        run = f"sudo -u {shlex.quote(user)} env -C {shlex.quote(place)} {up}venv/bin/python {up}venv/bin/gunicorn"
        if known is not None and "health endpoint" in known.cause:
            path, _host = self._health(self.wanted)
            return (
                f"{run} -c {up}pygun.py --bind 127.0.0.1:8999"
                f"    and, beside it: curl -i http://127.0.0.1:8999{path or '/'}"
            )
        return f"{run} --check-config -c {up}pygun.py"
