# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start, stop and restart the instances of an app that is deployed. Needs only the name of the app.

A restart of the whole app is an activation of the release that serves. This file has the actions that change no
release: they need no journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
import typing as t

from .activation.errors import ActivationError, StepFailure, error_text
from .activation.files import ManagedFile
from .activation.instances import UP, Instances
from .activation.journal import Journal
from .activation.options import Options as ActivationOptions
from .activation.programs import Programs
from .activation.report import Report
from .activation.transaction import Activation
from .control_programs import ProgramControl
from .host import places
from .instance import discovery, readiness
from .release.lock import Held, locked
from .release.store import ID_PATTERN, ReleaseStore
from .supervisor import conf
from .supervisor.rpc import STOPPABLE_STATES, STOPPED_STATES, NotRunning, Process, SupervisorError, unusable

NOTHING = "Nothing was changed."


@dataclasses.dataclass(frozen=True)
class Options:
    """The parameters; the documentation of the module `control` describes them."""

    name: str
    state: str
    instance: str = ""
    force: bool = False
    base_dir: str = places.BASE_DIR
    conf_dir: str = places.CONF_DIR
    by: str = ""


def control(options: Options, warn: t.Callable[[str], None], check: bool) -> dict[str, t.Any]:
    """Do the action, or in check mode return what it would do; raise ActivationError."""
    app = _find(options)
    settings = _as_activation(app, options)
    if options.state == "restarted" and not options.instance and not options.force:
        activation = Activation(settings, warn)
        return activation.predict() if check else activation.run()
    return Control(app, options, settings, warn).control(check)


def _find(options: Options) -> discovery.App:
    if options.force and options.state != "restarted":
        raise ActivationError(f"force belongs to a restart, not to {options.state}. {NOTHING}", step="prepare")
    found = discovery.find_apps(options.base_dir, options.conf_dir)
    known = f"Apps on this host: {discovery.names(found)}."
    if not options.name:
        raise ActivationError(f"Name the app: -e flask_app_name=NAME. {known} {NOTHING}", step="prepare")
    for app in found:
        if app.name == options.name and app.conf:
            return app
    raise ActivationError(
        f"There is no app {options.name} that supervisord could start: nothing in {options.conf_dir}/conf.d is one."
        f" {known} {NOTHING}",
        step="prepare",
    )


def _as_activation(app: discovery.App, options: Options) -> ActivationOptions:
    return ActivationOptions(
        name=app.name,
        release="current",
        root=app.root,
        run_dir=app.run_dir,
        log_dir=app.log_dir,
        supervisor_socket=conf.socket_path(conf.parse(os.path.join(options.conf_dir, "supervisord.conf"))),
        program_conf=ManagedFile(app.conf, None, 0o644),
        env_file=ManagedFile(places.env_file(app.name), None, 0o640),
        restart=True,
        keep=sys.maxsize,  # to prune is a deploy's business
        by=options.by,
    )


class Control:
    """One start, stop or restart. Has the same `Instances` as an activation."""

    def __init__(
        self, app: discovery.App, asked: Options, settings: ActivationOptions, warn: t.Callable[[str], None]
    ) -> None:
        self.app = app
        self.asked = asked
        self.options = settings
        self.warn = warn
        self.store = ReleaseStore(settings.root)
        self.instances = Instances(settings, self.store)
        self.report = Report(settings, self.store, self.instances, warn)
        programs = Programs(settings, self.store, Journal(settings.root), self.instances, self.report)
        self.programs = ProgramControl(programs, self._release_of)
        self.current = ""
        self._before: dict[str, str] = {}
        self._holding: list[Process] = []

    def control(self, check: bool) -> dict[str, t.Any]:
        """Do the action, or in check mode return what it would do."""
        self.report.step = {"started": "start", "stopped": "stop", "restarted": "restart"}[self.asked.state]
        if check:
            return self._predict()
        patience = max(self.instances.program.stop_timeout(), self.programs.programs.stop_timeout()) + conf.STOP_MARGIN
        try:
            with locked(self.options.root, self.options.by, patience):
                return self._act()
        except Held as error:
            raise ActivationError(str(error), step="lock", holder=error.holder) from error
        except OSError as error:
            gone = not os.path.isdir(self.options.root)
            why = f"There is no {self.options.root}" if gone else error_text(error).rstrip(".")
            raise ActivationError(f"{why}. {NOTHING}", step="prepare") from error

    # -- what is there -----------------------------------------------------------------------------------------------

    def _look(self) -> list[Process]:
        """The instances to act on; refuse an action that is not possible."""
        self.current = self.store.current() or ""
        if not self.current and self.asked.state == "stopped":
            self.current = self.store.remembered() or "?"  # a stop goes by no link
        if not self.current and self.store.remembered():
            raise ActivationError(
                f"{self.store.link}, by which every start goes, is gone. Deploy, or restart the whole app: both link it to release"
                f" {self.store.remembered()} again. {NOTHING}",
                step="prepare",
            )
        if not self.current:
            raise ActivationError(
                f"No release of {self.app.name} is in service here. Deploy one first. {NOTHING}", step="prepare"
            )
        try:
            self.instances.look()
            self.programs.programs.look()
        except SupervisorError as error:
            raise ActivationError(unusable(error), step="prepare") from error
        running = self.instances.processes
        if not running:
            raise ActivationError(
                f"supervisord does not know the program of {self.app.conf}. Deploy the app, or `supervisorctl update`."
                f" {NOTHING}",
                step="prepare",
            )
        if Journal(self.options.root).load():
            self.warn(
                f"A deploy, restart or rollback of {self.app.name} was interrupted before. Restart the whole app, deploy"
                " or roll back to finish or undo it."
            )
        instances, self._holding = readiness.serving(self.app, running)
        self.instances.count = len(instances)
        self._before = {process.name: process.state for process in [*running, *self.programs.named("")]}
        wanted = self.asked.instance.rpartition(":")[2]
        if not wanted:
            return instances
        if self.programs.named(wanted):
            return []
        for process in instances:
            if process.name == wanted:
                return [process]
        if wanted in (process.name for process in self._holding):
            known = f"{wanted} only holds the socket open and serves nothing"
        else:
            known = f"There is no instance {wanted}"
        raise ActivationError(
            f"{known}. Instances of {self.app.name}: {', '.join(one.name for one in instances)}."
            f"{self._programs_in_words()} {NOTHING}",
            step="prepare",
        )

    def _programs_in_words(self) -> str:
        names = sorted({process.group for process in self.programs.named("")})
        return f" Its programs: {', '.join(names)}." if names else ""

    def _programs_meant(self, instances: list[Process]) -> list[Process]:
        """The processes of programs that are meant: those named, or all with the whole app. Force is for instances."""
        wanted = self.asked.instance.rpartition(":")[2]
        return [] if (wanted and instances) or self.asked.force else self.programs.named(wanted)

    def _release_of(self, process: Process) -> str:
        """The release that a start of the instance runs: launch.py decides, this must agree."""
        name = self.instances.candidates.release_of(process.name)
        return name if ID_PATTERN.fullmatch(name) else self.current

    def _refuse_damaged(self, instances: list[Process]) -> None:
        """Refuse a release that cannot start, before an instance or a program stops for it."""
        for process in [*instances, *self._programs_meant(instances)]:
            if self.asked.state == "restarted" or process.state not in UP:
                release = self._release_of(process)
                damage = self.store.damage(release) if self.store.is_complete(release) else "is not whole"
                if damage:
                    raise ActivationError(
                        f"{process.name} could not start: release {release} {damage}. Deploy what was in it again. {NOTHING}",
                        step="prepare",
                    )

    # -- what is done ------------------------------------------------------------------------------------------------

    def _act(self) -> dict[str, t.Any]:
        instances = self._look()
        if self.asked.state != "stopped":
            self._refuse_damaged(instances)
        try:
            if self.asked.state == "started":
                self._start_all(instances)
            elif self.asked.state == "stopped":
                self._stop_all(instances)
            elif self.asked.force:
                self._restart_by_force(instances)
            elif instances:
                self._restart_one(instances[0])
            self.programs.act(self.asked.state, self._programs_meant(instances))
        except (StepFailure, SupervisorError, OSError) as error:
            failure = error if isinstance(error, StepFailure) else StepFailure(str(error))
            raise self._failed(failure) from error
        return self._told()

    def _failed(self, failure: StepFailure) -> ActivationError:
        what = f"The {self.report.step} of {self.app.name} did not come to its end."
        after = "supervisord goes on trying to start what did not start; `ansible-playbook pygun.stack.doctor` looks for the cause."
        if self.report.step == "stop":
            after = "What did not stop still runs."
        return self.report.error(failure, self.current, what, after)

    def _start_all(self, instances: list[Process]) -> None:
        started = {}
        for process in [*self._holding, *instances] if instances else ():
            if process.state not in UP:
                if process.state not in STOPPED_STATES:
                    # supervisord calls a process started that waits for its next try
                    self.instances.stop([process.full_name])
                self.instances.gate.mark(process.name, process.log_file)
                self.instances.start(process.full_name)
                started[process.name] = self.instances.supervisor.process(process.full_name)
        self._wait([started.get(process.name, process) for process in instances], set(started), "started")

    def _wait(self, processes: list[Process], touched: set[str], action: str) -> None:
        for process in processes:
            begun = time.monotonic()
            fresh = process.name in touched
            release = self._release_of(process)
            if not fresh:
                record = self.instances.run_dir.record(process.name)
                release = record.get("release", release) if record.get("pid") == process.pid else release
            self.instances.gate.wait(process.full_name, release, process.pid)
            ready = time.monotonic() - begun if fresh else 0.0
            self.report.account(process, action if fresh else "kept", release, ready_s=ready)

    def _stop_all(self, instances: list[Process]) -> None:
        # The socket closes with its last holder. Until then, instances answer the callers that wait.
        for group in (instances, [] if self.asked.instance else self._holding) if instances else ():
            begun = time.monotonic()
            self.instances.stop([process.full_name for process in group])
            for process in group if group is instances else ():
                stopped = process.state not in STOPPED_STATES
                seconds = time.monotonic() - begun if stopped else 0.0
                self.report.account(process, "stopped" if stopped else "kept", self._release_of(process), 0, seconds)

    def _restart_one(self, process: Process) -> None:
        others = [one for one in self.instances.serving() if one.name != process.name]
        if others and self.instances.serves(process) and not any(self.instances.serves(one) for one in others):
            names = ", ".join(one.name for one in others)
            raise ActivationError(
                f"{process.name} is the only instance that serves: a restart would leave none. Start {names}"
                f" first (ansible-playbook pygun.stack.start), or restart the whole app, which takes care of the order. {NOTHING}",
                step="prepare",
            )
        for holder in self._holding:
            if holder.state in STOPPED_STATES:
                self.instances.start(holder.full_name)
        done = self.instances.protected(lambda: self.instances.stop_and_start(process), f"restarting {process.name}")
        self.instances.gate.mark(process.name, process.log_file, done["mark"])
        self._ready_again(process, done)

    def _ready_again(self, process: Process, done: dict[str, t.Any]) -> None:
        begun, release = time.monotonic(), self._release_of(process)
        self.instances.gate.wait(process.full_name, release, done["pid"])
        action = "restarted" if self._before[process.name] in UP else "started"
        self.report.account(process, action, release, done["pid"], done["stop_s"], time.monotonic() - begun)

    def _restart_by_force(self, instances: list[Process]) -> None:
        """Kill, start, and only then wait: one after the other, so that the socket stays open for new callers."""
        for holder in self._holding:
            if holder.state in STOPPED_STATES:
                self.instances.start(holder.full_name)
        done = {}
        for process in instances:

            def work(process: Process = process) -> dict[str, t.Any]:
                left = self.instances.leftovers([process])
                self._kill(process)
                return self.instances.stop_and_start(process, left)

            done[process.name] = self.instances.protected(work, f"restarting {process.name}")
            self.instances.gate.mark(process.name, process.log_file, done[process.name]["mark"])
        for process in instances:
            self._ready_again(process, done[process.name])
        self.warn(f"{self.app.name} was restarted by force: requests that were in flight got no answer.")

    def _kill(self, process: Process) -> None:
        """End an instance at once, with its workers. supervisord stops it first, or it would start it again."""
        if process.state in STOPPABLE_STATES:
            with contextlib.suppress(NotRunning):
                self.instances.supervisor.stop(process.full_name)
        now = self.instances.supervisor.process(process.full_name)
        with contextlib.suppress(ProcessLookupError):
            if now.pid and os.getpgid(now.pid) == now.pid:  # supervisord gives every program a group of its own
                os.killpg(now.pid, signal.SIGKILL)
            elif now.pid:
                os.kill(now.pid, signal.SIGKILL)

    # -- what is told ------------------------------------------------------------------------------------------------

    def _predict(self) -> dict[str, t.Any]:
        instances = self._look()
        if self.asked.state != "stopped":
            self._refuse_damaged(instances)
        for process in instances:
            runs = process.state in UP
            if self.asked.state == "restarted":
                action = "restarted" if runs else "started"
            elif self.asked.state == "started":
                action = "kept" if runs else "started"
            else:
                action = "kept" if process.state in STOPPED_STATES else "stopped"
            self.report.account(process, action, self._release_of(process))
        self.programs.predict(self.asked.state, self._programs_meant(instances))
        idle = [one for one in self._holding if not self.asked.instance]
        if self.asked.state == "stopped":
            touched = any(one.state not in STOPPED_STATES for one in idle)
        else:
            touched = any(one.state in STOPPED_STATES for one in idle)
        return self._result(touched or any(one["action"] != "kept" for one in self.report.accounts.values()))

    def _told(self) -> dict[str, t.Any]:
        states: dict[str, str] = {}
        with contextlib.suppress(SupervisorError):  # it is done, whatever happens to supervisord now
            states = {process.name: process.state for process in self.instances.now()}
        # A process that was starting and now runs was not changed by this.
        moved = any(
            states[name] != state and not (states[name] in UP and state in UP)
            for name, state in self._before.items()
            if name in states
        )
        return self._result(moved or any(one["action"] != "kept" for one in self.report.accounts.values()))

    def _result(self, changed: bool) -> dict[str, t.Any]:
        accounts = {**self.report.accounts, **self.report.programs}
        changed = changed or any(one["action"] != "kept" for one in accounts.values())
        pairs = [self._difference(name, account["action"]) for name, account in sorted(accounts.items())]
        return self.report.result(changed, self.current, [pair for pair in pairs if pair["before"] != pair["after"]])

    def _difference(self, name: str, action: str) -> dict[str, str]:
        after = {"kept": self._before[name], "stopped": "STOPPED"}.get(action, "RUNNING")
        again = " (another process)" if action == "restarted" else ""
        header = f"{self.app.name}:{name}"
        return {
            "before_header": header,
            "after_header": header,
            "before": f"{self._before[name]}\n",
            "after": f"{after}{again}\n",
        }
