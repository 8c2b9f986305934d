# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong on a host, why, and what to do. Changes nothing, and needs to be told nothing about the apps.

What a root cause brings about is not reported beside it: a volume that is not mounted is one finding, not twenty.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import time
import typing as t

from ..diagnosis.log_tail import last_text, plain_lines, raw_text, shorten_tracebacks
from ..diagnosis.symptoms import Diagnosis, diagnose
from ..host import foreign, inspection
from ..instance.discovery import App, find_apps, programs_beside
from ..instance.obstacle import NOT_OPENED, obstacle
from ..instance.probe import ask_bind
from ..instance.public_socket import SystemdSocket
from ..instance.readiness import settle
from ..instance.run_directory import RunDirectory
from ..release.record import health_of_release
from ..release.server_packages import LOSSLESS
from ..release.store import ReleaseStore
from ..supervisor.conf import get, parse, program_files, socket_path
from ..supervisor.other_programs import program_settings, wrong_with
from ..supervisor.rpc import DEAD_STATES, Process, Supervisor, SupervisorError
from .characters import HIDDEN, find_hidden_in_variable, find_lookalike
from .findings import ERROR, WARNING, Finding, Options
from .report import bytes_text, seconds_text

#: Lines of a log that are shown with a finding.
SHOWN_LINES = 15
#: Seconds for which an instance that is not ready is looked at again: it may be between two tries to boot.
SETTLE = 6.0
#: Seconds that one HTTP answer may take.
ANSWER_TIMEOUT = 5.0
#: Share of a file system (percent) and bytes below which it is nearly full.
NEARLY_FULL_PERCENT = 5
FULL_BYTES = 32 * 1024 * 1024
NEARLY_FULL_BYTES = 1024 * 1024 * 1024
#: Seconds by which a clock may differ from another one before logs, certificates and tokens suffer.
CLOCK_WARNING = 30.0
CLOCK_ERROR = 300.0
#: Seconds after which a supervisord that was started has found out whether it can run, and that one try of systemd's takes.
_STAYS = 10.0
_ROUND = 15.0
#: Seconds within which an instance that was started is taken for one more try of one that cannot boot.
_ONE_TRY = 30.0
#: supervisor's own parser. While the unit is stopped there is no /run/supervisor, which is as it should be.
_CONFIGURATION_CHECK = """
import sys
from supervisor import options
directory_exists = options.existing_dirpath
options.existing_dirpath = lambda path: path if path.startswith("/run/") else directory_exists(path)
options.ServerOptions().realize(["--nodaemon", "--configuration", sys.argv[1]])
"""


class Doctor:
    """One examination. Call `examine` once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.findings: list[Finding] = []
        self.facts: dict[str, t.Any] = {}
        self.conf = os.path.join(options.conf_dir, "supervisord.conf")
        self.settings = parse(self.conf)
        self.processes = inspection.processes()
        self.unit: dict[str, str] = {}
        self.supervisord = 0
        self.strangers: dict[int, inspection.HostProcess] = {}
        self.started = time.time()

    def examine(self) -> dict[str, t.Any]:
        """Findings, the worst first, and the facts that matter."""
        apps = self._apps()
        self._look_at_disks(apps)
        self._look_at_clock(apps)
        self._look_at_unit()
        self._look_at_configuration()
        self._look_at_other_supervisors()
        for app in apps:
            self._alone(app, self._look_at_address, app)
        self._look_at_state_of_unit()
        running = self._ask_supervisord() if self.supervisord and not self._tries_in_vain() else None
        for app in apps:
            self._alone(app, self._look_at_app, app, running)
        self._look_at_programs(running or [])
        self._look_at_memory()
        self._look_at_rotation()
        if not apps:
            self._warn(
                "no-app",
                self.options.name or "the host",
                f"there is no app in {self.options.conf_dir}/conf.d, and none in {self.options.base_dir}",
                "Nothing has been deployed here, or it is somewhere else.",
                "Deploy, or tell the doctor flask_app_base_dir and supervisor_conf_dir.",
            )
        self.findings.sort(key=lambda found: found.severity != ERROR)
        return {
            "healthy": not self.findings,
            "findings": [
                {name: foreign.printable_lines(value) for name, value in dataclasses.asdict(found).items()}
                for found in self.findings
            ],
            "facts": self.facts,
        }

    def _alone(self, app: App, look: t.Callable[..., None], *arguments: t.Any) -> None:
        """Look at one app. What it is that cannot be looked at is a finding of its own: the others are looked at all the same."""
        try:
            look(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self._error(
                "not-examined",
                app.name,
                f"{app.name} cannot be looked at to the end: {foreign.printable(f'{type(error).__name__}: {error}')}",
                "Something of the app is not what it has to be, in a way that the doctor does not know.",
                f"Look into {app.run_dir} and {app.root} for what that names. The other apps were examined.",
            )

    # -- telling -----------------------------------------------------------------------------------------------------

    def _error(self, code: str, subject: str, symptom: str, cause: str, remedy: str) -> None:
        self.findings.append(Finding(ERROR, code, subject, symptom, cause, remedy))

    def _warn(self, code: str, subject: str, symptom: str, cause: str, remedy: str) -> None:
        self.findings.append(Finding(WARNING, code, subject, symptom, cause, remedy))

    def _found(self, *codes: str, subject: str = "") -> bool:
        return any(found.code in codes and subject in ("", found.subject) for found in self.findings)

    def _known(self, known: Diagnosis, subject: str, symptom: str = "") -> None:
        """A finding straight from the table."""
        severity = WARNING if known.code == "supervisor-root" else ERROR
        if not self._found(known.code, subject=subject):
            self.findings.append(
                Finding(severity, known.code, subject, symptom or known.symptom, known.cause, known.remedy)
            )

    # -- apps --------------------------------------------------------------------------------------------------------

    def _apps(self) -> list[App]:
        wanted = self.options.name
        found = find_apps(self.options.base_dir, self.options.conf_dir)
        return [app for app in found if wanted in ("", app.name)]

    # -- the host ----------------------------------------------------------------------------------------------------

    def _look_at_disks(self, apps: list[App]) -> None:
        paths = [self.options.base_dir, self.options.conf_dir, "/var/log", "/run", "/tmp", "/dev/shm"]
        paths += [path for app in apps for path in (app.root, f"{app.root}/shared", app.log_dir, app.run_dir)]
        seen = set()
        for path in paths:
            if not os.path.isdir(path):
                continue
            where = inspection.mount_of(path)
            if where in seen:
                continue
            seen.add(where)
            self._look_at_disk(where)

    def _look_at_disk(self, where: str) -> None:
        found = os.statvfs(where)
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if size:
            share = 100 * free // size
            if where == inspection.mount_of(self.options.base_dir):
                self.facts["disk"] = {"mount": where, "free": free, "percent_free": share}
            full = free < min(FULL_BYTES, size // 50)
            if full or (share < NEARLY_FULL_PERCENT and free < NEARLY_FULL_BYTES):
                tell = self._error if full else self._warn
                tell(
                    "disk-full" if full else "disk-nearly-full",
                    where,
                    f"{bytes_text(free)} of {bytes_text(size)} are free on {where}",
                    "No space left on device: releases cannot be built, logs and readiness records cannot be written.",
                    "`du -xh --max-depth=2 " + where + " | sort -h` shows what takes the room. Lower"
                    " flask_app_keep_releases or flask_app_log_backups, or make the volume larger.",
                )
        if found.f_files and found.f_favail < max(16, found.f_files // 200):
            self._error(
                "inodes-full",
                where,
                f"{found.f_favail} of {found.f_files} inodes are free on {where}",
                "No space left on device, though `df -h` shows room: there are too many small files.",
                "`df -i` and `du --inodes -x --max-depth=2 "
                + where
                + " | sort -n` show where; remove them, or make the"
                " file system anew with more inodes.",
            )

    def _look_at_clock(self, apps: list[App]) -> None:
        _code, text = inspection.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
        clock: dict[str, t.Any] = {"synchronized": text == "yes"}
        self.facts["clock"] = clock
        remedy = "Set the clock and keep it set: `timedatectl set-ntp true`, or install chrony."
        if self.options.control_clock:
            ahead = self.started - self.options.control_clock
            clock["ahead_s"] = round(ahead, 1)
            if abs(ahead) > CLOCK_WARNING:
                tell = self._error if abs(ahead) > CLOCK_ERROR else self._warn
                tell(
                    "clock-off",
                    "the clock",
                    f"the host's clock is {seconds_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the control node's",
                    "One of the two clocks is wrong. Certificates and tokens fail, and logs cannot be put in order.",
                    remedy,
                )
                return
        newest, path = 0.0, ""
        for app in apps:
            for candidate in (os.path.join(app.root, "state.json"), os.path.join(app.root, "current", "release.json")):
                try:
                    changed = os.stat(candidate).st_mtime
                except OSError:
                    continue
                if changed > newest:
                    newest, path = changed, candidate
        if newest > self.started + CLOCK_ERROR:
            self._error(
                "clock-off",
                "the clock",
                f"{path} was written {seconds_text(newest - self.started)} in the future",
                "The host's clock is behind, or was ahead when that was deployed.",
                remedy,
            )

    # -- supervisord -------------------------------------------------------------------------------------------------

    def _look_at_unit(self) -> None:
        self._wait_for_unit()
        unit = self.options.unit
        state = f"{unit} is {self.unit.get('UnitFileState') or self.unit.get('LoadState', 'unknown')}"
        state += f" and {self.unit.get('ActiveState', 'unknown')}"
        if self.unit.get("LoadState") == "not-found":
            self._error(
                "unit-missing",
                unit,
                f"there is no {unit}",
                "supervisord was never installed on this host, or its unit was removed.",
                "Deploy: the role pygun.stack.supervisor installs it.",
            )
        elif self.unit.get("LoadState") == "masked":
            self._error(
                "unit-masked",
                unit,
                state,
                "The unit was masked: nothing can start it, and after a reboot nothing runs.",
                f"systemctl unmask {unit} && systemctl enable --now {unit}",
            )
        elif self.unit.get("UnitFileState") == "disabled":
            self._error(
                "unit-disabled",
                unit,
                state,
                "The unit was disabled: after a reboot nothing runs.",
                f"systemctl enable --now {unit}",
            )

    def _wait_for_unit(self) -> None:
        """Read the state of the unit. One that systemd starts again and again looks healthy for a moment in each round."""
        names = "LoadState,UnitFileState,ActiveState,SubState,Result,MainPID,ControlGroup,NRestarts"
        give_up = time.monotonic() + _ROUND
        while True:
            self.unit = inspection.unit_properties(self.options.unit, names)
            pid = self.unit.get("MainPID", "0")
            number = int(pid) if pid.isdigit() else 0
            passing = self.unit.get("SubState") in ("start", "stop-post")
            restarted = self.unit.get("NRestarts", "0") != "0" and inspection.uptime_of(number) < _STAYS
            if time.monotonic() > give_up or not (passing or (self.unit.get("ActiveState") == "active" and restarted)):
                break
            time.sleep(0.2)
        self.processes = inspection.processes()
        self.supervisord = number if number in self.processes else 0

    def _then_start(self) -> str:
        """What is left to do when the thing that keeps supervisord from starting is gone."""
        if self.unit.get("SubState") == "auto-restart":
            return f"systemd then starts {self.options.unit} within seconds: it goes on trying."
        return f"Then `systemctl restart {self.options.unit}`."

    def _look_at_configuration(self) -> None:
        hidden = False
        for path in [self.conf, *program_files(self.options.conf_dir), *sorted(glob.glob("/etc/pygun/*.env"))]:
            hidden = self._look_for_hidden_characters(path) or hidden
        if not os.path.isfile(self.conf):
            if not self._found("unit-missing"):
                self._error(
                    "conf-missing",
                    self.conf,
                    f"there is no {self.conf}",
                    "supervisord's configuration was removed: it cannot start again.",
                    "Deploy: the role pygun.stack.supervisor writes it.",
                )
            return
        python = os.path.join(self.options.tools_dir, "supervisor", "bin", "python")
        code, text = inspection.run([python, "-I", "-c", _CONFIGURATION_CHECK, self.conf])
        if code and not hidden and os.path.exists(python):
            known = diagnose(text, "supervisord")
            said = [line for line in text.splitlines() if line.strip() and not line.startswith("For help")]
            lookalike = find_lookalike(self._file_in(text))
            if known:
                self._known(known, self._file_in(text), "\n".join(said[:4] + lookalike))
            else:
                self._error(
                    "conf-invalid",
                    self._file_in(text),
                    "\n".join(said[-4:] + lookalike) or f"supervisor's parser ends with {code}",
                    "supervisord cannot read its configuration: it runs on with the old one until it is restarted.",
                    "Correct the line that is named, or deploy, which writes the files anew.",
                )
        if code:
            return
        for section, breaks in (
            ("unix_http_server", "no socket is made, so that neither supervisorctl nor a deploy can reach supervisord"),
            ("rpcinterface:supervisor", "supervisord answers nobody"),
            ("supervisorctl", "supervisorctl does not know where supervisord listens"),
        ):
            if not self.settings.has_section(section):
                self._error(
                    "conf-section",
                    self.conf,
                    f"there is no section [{section}] in {self.conf}",
                    f"The section was removed: {breaks}.",
                    "Run the role pygun.stack.supervisor again (a deploy does): it writes the section.",
                )
        if self.settings.has_section("supervisord") and not self.settings.has_option("supervisord", "user"):
            self._warn(
                "supervisor-root",
                self.conf,
                "[supervisord] does not say user=root; supervisord logs `CRIT Supervisor is running as root`",
                "The line was removed. Nothing is broken: supervisord is root to start programs as other users.",
                "Run the role pygun.stack.supervisor again (a deploy does): it writes the line.",
            )

    def _file_in(self, text: str) -> str:
        found = re.search(r"(?:file: |file=|source: |errors: )'?<?([^'>)\n]+?)'?>?[\s),]", text + "\n")
        return found.group(1) if found else self.conf

    def _look_for_hidden_characters(self, path: str) -> bool:
        try:
            with open(path, encoding="utf-8", errors="replace", newline="") as stream:
                lines = stream.read().split("\n")
        except OSError:
            return False
        for number, line in enumerate(lines, 1):
            found = find_hidden_in_variable(line) if path.endswith(".env") else HIDDEN.search(line)
            if found and (not line.lstrip().startswith((";", "#")) or found.group() == "\r"):
                self._error(
                    "hidden-character",
                    path,
                    f"{path}, line {number}, column {found.start() + 1}: U+{ord(found.group()):04X}"
                    + (" (Windows line end)" if found.group() == "\r" else ""),
                    "The file was edited or copied with a character that looks like nothing or like a blank, but is"
                    " part of the value.",
                    f"`grep -nP '[^\\x20-\\x7E\\t]' {path}` shows it; retype the line, or deploy, which writes the file anew.",
                )
                return True
        return False

    def _look_at_other_supervisors(self) -> None:
        """A second supervisord, and whoever has the port of the web page."""
        strangers = self.strangers
        for pid, process in self.processes.items():
            ours = self.supervisord and self.supervisord in (
                pid,
                process.parent,
            )  # its child, about to become a program
            # systemd may have begun its next try since its unit was read.
            next_try = not self.supervisord and process.unit == self.options.unit
            if _is_supervisord(process.command) and not ours and not next_try:
                strangers[pid] = process
        for process in [one for one in strangers.values() if one.parent not in strangers]:
            ours = self.conf in process.command or process.unit == "supervisor.service" or not self.supervisord
            ending = (
                f"systemctl disable --now {process.unit}"
                if process.unit.endswith(".service") and process.unit not in (self.options.unit, "")
                else f"kill {process.pid}"
            )
            (self._error if ours else self._warn)(
                "supervisor-second",
                str(process),
                f"a second supervisord runs beside {self.options.unit}: {process}",
                "The distribution's supervisor, or one that was started by hand. Two of them fight over sockets, ports and"
                " files: the second to start says `Another program is already listening on a port that one of our HTTP"
                " servers is configured to use`.",
                f"Move its programs away, and end it (`{ending}`). {self._then_start()}",
            )
        page = get(self.settings, "inet_http_server", "port")
        address, _sep, port = page.rpartition(":")
        if not port.isdigit():
            return
        for listener in inspection.listeners(int(port)):
            known = {self.supervisord, *strangers}
            if inspection.collide(listener.address, address.strip("[]*")) and not known & set(listener.pids):
                self._error(
                    "web-port-taken",
                    page,
                    f"{self._holders(listener)} listens on {listener.address}:{port}",
                    "supervisord's web page has to listen there, so supervisord cannot start: `Another program is already"
                    " listening on a port that one of our HTTP servers is configured to use`.",
                    "End that program, or choose another supervisor_http_port and deploy.",
                )

    def _holders(self, listener: inspection.Listener) -> str:
        shown = [str(self.processes[pid]) for pid in listener.pids if pid in self.processes]
        if shown:
            return "; ".join(shown[:3])
        candidates = [str(process) for process in self.processes.values() if process.user == listener.user]
        text = (
            f"a process of user {listener.user} (which one, root cannot see on this host, for want of CAP_SYS_PTRACE)"
        )
        return text if len(candidates) > 3 else f"{text}: {' or '.join(candidates) or 'in another container?'}"

    def _look_at_address(self, app: App) -> None:
        """Whoever else has the app's address, and what is left of the app itself."""
        rightful = {self.supervisord, 1 if app.by_systemd else 0} - {0}
        orphans = self._orphans(app)
        if not app.bind or app.bind.startswith("unix:"):
            for process in orphans:
                self._orphan(app, process, "")
            return
        # The instances hold what was handed to them, also when systemd has let go of it.
        lost = {process.pid for process in orphans}
        rightful |= {pid for pid, process in self._ours(app).items() if not {pid, process.parent} & lost}
        address, _sep, port = app.bind.rpartition(":")
        taken = [
            listener
            for listener in (inspection.listeners(int(port)) if port.isdigit() else [])
            if inspection.collide(listener.address, address.strip("[]")) and not rightful & set(listener.pids)
        ]
        for listener in taken:
            if set(listener.pids) & self.strangers.keys():
                continue  # the second supervisord is a finding of its own
            own = [process for process in orphans if process.pid in listener.pids or not listener.pids]
            if own:
                self._orphan(app, own[0], app.bind)
                orphans = [process for process in orphans if process is not own[0]]
                continue
            self._error(
                "port-taken",
                app.name,
                f"{self._holders(listener)} listens on {listener.address}:{port}",
                f"Another program has the address of {app.name} ({app.bind}), so that {'systemd' if app.by_systemd else 'supervisord'}"
                " cannot open it: `[Errno 98] Address already in use`. The other apps are not concerned.",
                "Stop that program (and whatever starts it at boot), or give the app another flask_app_bind."
                f" {self._then_open(app)}",
            )
        for process in orphans:
            self._orphan(app, process, "")

    def _then_open(self, app: App) -> str:
        """What is left to do when the app's address is free."""
        if app.by_systemd:
            return f"Then `systemctl restart {' '.join(SystemdSocket(app.name).sockets)}`."
        return "supervisord tries again every few seconds: the app then comes up by itself."

    def _ours(self, app: App) -> dict[int, inspection.HostProcess]:
        """Every process that runs from a release of the app."""
        return {
            pid: process
            for pid, process in self.processes.items()
            if process.user == app.user and any(part.startswith(f"{app.root}/releases/") for part in process.command)
        }

    def _orphans(self, app: App) -> list[inspection.HostProcess]:
        """gunicorn masters of the app that supervisord does not know."""
        ours = self._ours(app)
        masters = [
            process
            for process in ours.values()
            if process.parent not in ours and any(part.endswith("/bin/gunicorn") for part in process.command)
        ]
        return [process for process in masters if process.parent not in (self.supervisord, *self.strangers)]

    def _orphan(self, app: App, process: inspection.HostProcess, bind: str) -> None:
        self._error(
            "orphan",
            app.name,
            f"{process} runs, and supervisord does not know it" + (f"; it has {bind}" if bind else ""),
            "It was left behind by a supervisord that was killed, or started by hand."
            + (" supervisord cannot open the address: `[Errno 98] Address already in use`." if bind else ""),
            f"kill {process.pid} (it finishes its requests). {self._then_open(app)}",
        )

    def _look_at_state_of_unit(self) -> None:
        """supervisord does not run, and nothing found so far says why."""
        active = self.unit.get("ActiveState")
        if active == "active" or not self.unit:
            return
        explaining = (
            "unit-masked", "unit-disabled", "unit-missing", "conf-missing", "conf-invalid", "supervisor-second",
            "web-port-taken", "hidden-character", "supervisor-value", "supervisor-syntax",
            "supervisor-section",
        )  # fmt: skip
        explained = [found for found in self.findings if found.code in explaining]
        unit = self.options.unit
        for found in explained:
            if unit not in found.symptom:
                found.symptom += f"; {unit} is {active}"
        if explained:
            return
        stale = [path for path in (socket_path(self.settings), self._pid_file()) if path and os.path.exists(path)]
        if stale and not self.supervisord:
            self._error(
                "stale-files",
                " and ".join(stale),
                f"{unit} is {active}, and {' and '.join(stale)} {'is' if len(stale) == 1 else 'are'} still there",
                "A supervisord was killed and could not clean up. Nobody listens there (`refused connection`).",
                f"systemctl start {unit} (supervisord replaces what is stale)",
            )
            return
        _code, text = inspection.run(["journalctl", "--no-pager", "-o", "cat", "-n", "15", "-u", unit])
        log = last_text(self._log_file()).splitlines()[-15:]
        known = diagnose("\n".join([*log, text]), "supervisord") or diagnose(text)
        failed = active in ("failed", "activating")
        self._error(
            "unit-failed" if failed else "unit-stopped",
            unit,
            f"{unit} is {active} ({self.unit.get('Result')})" + (f":\n{text}" if failed else ""),
            known.cause
            if failed and known
            else f"It ends each time that systemd starts it ({self.unit.get('NRestarts')} times so far)."
            if self.unit.get("SubState") == "auto-restart"
            else "It ended, and systemd does not start it again."
            if failed
            else "Somebody stopped it.",
            (known.remedy if failed and known else "")
            or (f"Correct what the lines above say. {self._then_start()}" if failed else f"systemctl start {unit}"),
        )

    def _tries_in_vain(self) -> bool:
        """Whether the supervisord seen here is one of many that systemd starts and that cannot stay."""
        obstacles = ("web-port-taken", "supervisor-second")
        return self._found(*obstacles) and inspection.uptime_of(self.supervisord) < _STAYS

    def _pid_file(self) -> str:
        return get(self.settings, "supervisord", "pidfile")

    def _log_file(self) -> str:
        return get(self.settings, "supervisord", "logfile") or "/var/log/supervisor/supervisord.log"

    def _ask_supervisord(self) -> list[Process] | None:
        """Its processes; None, with a finding, if it does not answer."""
        up = inspection.uptime_of(self.supervisord)
        self.facts["supervisord"] = {"pid": self.supervisord, "uptime_s": round(up)}
        control = os.path.join(self.options.tools_dir, "supervisor", "bin", "supervisorctl")
        code, text = inspection.run([control, "-c", self.conf, "pid"])
        supervisor = Supervisor(socket_path(self.settings), timeout=ANSWER_TIMEOUT)
        broken = self._found("conf-section", "conf-invalid", "conf-missing", "hidden-character")
        if code and not broken:
            known = diagnose(text, "supervisord")
            if known:
                self._known(known, self.options.unit, f"supervisorctl says: {text.splitlines()[0]}")
            elif "timed out" not in text:  # then the same is tried below, and told as what it is
                self._error(
                    "supervisorctl",
                    self.options.unit,
                    f"supervisorctl ends with {code}: {text[-300:]}",
                    "supervisorctl cannot talk to supervisord, which runs.",
                    f"systemctl restart {self.options.unit}",
                )
        try:
            self.facts["supervisord"]["version"] = supervisor.call("supervisor.getSupervisorVersion")
            return supervisor.all_processes()
        except SupervisorError as error:
            if (not code or "timed out" in text) and not broken:
                self._error(
                    "supervisord-silent",
                    self.options.unit,
                    str(error),
                    "supervisord runs but does not answer on its socket: it is stopped (SIGSTOP, a debugger), or hangs in a system call.",
                    f"systemctl restart {self.options.unit}",
                )
            return None

    # -- an app ------------------------------------------------------------------------------------------------------

    def _look_at_app(self, app: App, running: list[Process] | None) -> None:
        store = ReleaseStore(app.root)
        current = store.current()
        facts: dict[str, t.Any] = {"release": current, "address": app.bind, "log_dir": app.log_dir}
        self.facts.setdefault("apps", {})[app.name] = facts
        history = store.history()
        if history:
            facts.update(since=history[-1].get("at"), by=history[-1].get("by") or "")
        if not self._stands(app, store, current):
            return
        if not app.conf:
            if self._found("supervisor-syntax", "supervisor-value", "hidden-character", "conf-invalid"):
                return  # its file is there, but cannot be read
            self._error(
                "program-missing",
                app.name,
                f"{app.root} holds release {current}, but nothing in {self.options.conf_dir}/conf.d starts it",
                "The program's file was removed, or is not readable as one.",
                "Deploy: the file is written anew.",
            )
            return
        self._look_at_program(app)
        self._look_at_permissions(app, current)
        deploying = self._deploying(app)
        if deploying:
            facts["deploying"] = deploying
        elif os.path.exists(os.path.join(app.root, "activation.json")):
            self._error(
                "interrupted-activation",
                app.name,
                f"{app.root}/activation.json is there, and no deploy runs",
                "A deploy, restart or rollback was killed. What serves still serves, perhaps two releases side by side.",
                "Deploy, restart or roll back again: the next run finishes or undoes what was begun.",
            )
        self._look_at_socket_units(app)
        if running is not None:
            self._look_at_instances(app, store, [one for one in running if one.group == app.name], facts)

    def _stands(self, app: App, store: ReleaseStore, current: str | None) -> bool:
        """Whether there is a release to run."""
        if (
            current
            and store.is_complete(current)
            and os.access(os.path.join(app.root, "current", "venv", "bin", "python"), os.X_OK)
        ):
            return True
        wanted = inspection.expected_mounts()
        place = os.path.normpath(app.root)
        while place != "/":
            if place in wanted and not os.path.ismount(place):
                self._error(
                    "mount-missing",
                    app.name,
                    f"{place} is not mounted (/etc/fstab: {wanted[place]}), and {app.root}/current is missing",
                    f"The volume that holds {app.name} was not mounted at boot.",
                    f"mount {place} && systemctl restart {self.options.unit}; if that fails, `journalctl -b -u"
                    f" $(systemd-escape --path --suffix=mount {place})` tells why.",
                )
                return False
            place = os.path.dirname(place)
        if current and store.is_complete(current):
            what = f"{app.root}/current/venv/bin/python cannot be run"
            cause = (
                "The virtual environment is broken, often because the distribution's Python was upgraded or removed."
            )
        elif current:
            what, cause = f"release {current} is not complete", "Files of the release were removed."
        else:
            what = f"there is no {app.root}/current"
            cause = f"The directory was removed, or is an empty mount point ({inspection.mount_of(app.root)} is what is mounted)."
        self._error(
            "release-missing", app.name, what, cause, "Mount what belongs there, or deploy: the release is built anew."
        )
        return False

    def _look_at_program(self, app: App) -> None:
        """What somebody has set by hand in the program's file and what loses requests."""
        parser = parse(app.conf)
        section = next((name for name in parser.sections() if name.partition(":")[2].strip() == app.name), "")
        release = inspection.read_text(f"{app.root}/current/pygun.py")
        graceful = re.search(r"^graceful_timeout *= *(\d+)", release, re.MULTILINE)
        seconds = {
            name: int(get(parser, section, name))
            for name in ("startsecs", "stopwaitsecs")
            if get(parser, section, name).isdigit()
        }
        wrong = []
        if seconds.get("startsecs") == 0:
            wrong.append(
                "startsecs=0: an instance that crashes at once counts as started, and is started again without a pause"
            )
        if graceful and seconds.get("stopwaitsecs", 10) <= int(graceful.group(1)):
            wrong.append(
                f"stopwaitsecs={seconds.get('stopwaitsecs', 10)}: supervisord kills an instance before gunicorn's graceful_timeout"
                f" ({graceful.group(1)} s) is over, with the requests in flight"
            )
        if get(parser, section, "stopsignal") not in ("", "TERM"):
            wrong.append(
                f"stopsignal={get(parser, section, 'stopsignal')}: gunicorn then cuts off its requests, or does not stop"
            )
        for name in ("autostart", "autorestart"):
            if get(parser, section, name).lower() in ("false", "off", "no", "0"):
                wrong.append(
                    f"{name}={get(parser, section, name)}: nothing starts the app after a {'boot' if name == 'autostart' else 'crash'}"
                )
        if wrong:
            self._warn(
                "program-edited",
                app.name,
                f"{app.conf} has {'; '.join(wrong)}",
                "The file was edited by hand: the role writes none of this.",
                "Deploy: the file is written anew. What may be changed has a variable (flask_app_graceful_timeout, for one).",
            )

    def _deploying(self, app: App) -> str:
        """Who deploys right now."""
        path = os.path.join(app.root, "activation.lock")
        try:
            holder = json.loads(inspection.read_text(path) or "{}")
        except ValueError:
            holder = {}
        pid = holder.get("pid")
        if pid in self.processes or inspection.lock_holders(path):
            return f"pid {pid} since {holder.get('since', '?')}, by {holder.get('by') or '?'}"
        return ""

    def _look_at_permissions(self, app: App, release: str) -> None:
        inside = os.path.join(app.root, "releases", release)
        needed = [
            (os.path.join(inside, "pygun.py"), os.R_OK, "read the release"),
            (os.path.join(inside, "venv", "bin", "gunicorn"), os.R_OK | os.X_OK, "run gunicorn"),
            (os.path.join(inside, "lib", "pygun_runtime", "launch.py"), os.R_OK, "read the runtime"),
            (f"/etc/pygun/{app.name}.env", os.R_OK, "read its environment file"),
            (app.run_dir, os.W_OK | os.X_OK, "write its sockets and readiness records"),
            *(
                (os.path.join(app.log_dir, f"{app.name}-{number}.log"), os.W_OK, "write its log")
                for number in range(app.instances)
            ),
            (os.path.join(app.root, "shared"), os.W_OK | os.X_OK, "write its shared directory"),
        ]
        if os.path.isdir(os.path.join(inside, "src")):
            needed.append((os.path.join(inside, "src"), os.R_OK | os.X_OK, "read its source"))
        if not os.path.isdir(app.run_dir):
            self._error(
                "run-dir-missing",
                app.name,
                f"there is no {app.run_dir}",
                f"/run is empty after a boot; /etc/tmpfiles.d/pygun-{app.name}.conf makes the directory anew"
                + ("." if os.path.exists(f"/etc/tmpfiles.d/pygun-{app.name}.conf") else ", and that file is gone."),
                "systemd-tmpfiles --create, then restart the app; or deploy, which makes both.",
            )
        stopped = set()
        for path, wanted, what in needed:
            place = inspection.refusal(app.user, path, wanted)
            if place and place not in stopped:
                stopped.add(place)
                self._error(
                    "permission-denied",
                    app.name,
                    f"the user {app.user} may not {what}: {place} is {inspection.describe_mode(place)}",
                    "Owner or mode was changed by hand, or by another tool: `[Errno 13] Permission denied`.",
                    "Deploy: the role sets owners and modes. For a release itself, remove it and deploy.",
                )
        if not os.path.isdir(app.log_dir):
            # supervisor's parser stumbles over the same.
            follows = [
                one for one in self.findings if one.code == "supervisor-value" and f"{app.log_dir}/" in one.symptom
            ]
            self.findings = [one for one in self.findings if one not in follows]
            self._error(
                "log-dir-missing",
                app.name,
                f"there is no {app.log_dir}",
                "The directory of the logs was removed: supervisord cannot start the instances.",
                "Deploy: the role makes it.",
            )
        env = f"/etc/pygun/{app.name}.env"
        if os.path.exists(env) and os.stat(env).st_mode & 0o007:
            self._warn(
                "secret-readable",
                app.name,
                f"{env} is {inspection.describe_mode(env)}",
                "Every user of the host can read the app's secrets.",
                f"chmod o-rwx {env}",
            )
        if not inspection.refusal(app.user, inside, os.W_OK):
            self._warn(
                "release-writable",
                app.name,
                f"the user {app.user} may write to {inside} ({inspection.describe_mode(inside)})",
                "Owner or mode was changed: an app that is broken into could change its own code.",
                f"chown -R root {inside} && chmod -R go-w {inside}",
            )

    def _look_at_socket_units(self, app: App) -> None:
        socket = SystemdSocket(app.name)
        if not app.by_systemd or self._found("port-taken", "orphan", subject=app.name):
            return
        _code, text = inspection.run(["systemctl", "is-active", *socket.sockets])
        stopped = [f"{unit} is {state}" for unit, state in zip(socket.sockets, text.split()) if state != "active"]
        if stopped or not socket.listening():
            self._error(
                "socket-unit",
                app.name,
                " and ".join(stopped) or f"{socket.sockets[0]} does not listen on {socket.wanted()}",
                "systemd does not hold the app's public socket: the unit is stopped, disabled or failed. Instances that run keep"
                " what they were handed, but no new one gets it.",
                f"supervisorctl stop {app.name}:* && systemctl restart {' '.join(socket.sockets)} && supervisorctl start"
                f" {app.name}:* (callers are refused meanwhile; the instances have to let go of the address first).",
            )

    # -- instances ---------------------------------------------------------------------------------------------------

    def _look_at_instances(
        self, app: App, store: ReleaseStore, running: list[Process], facts: dict[str, t.Any]
    ) -> None:
        if not running:
            if not self._found("port-taken", "orphan", subject=app.name):
                self._error(
                    "program-not-loaded",
                    app.name,
                    f"supervisord does not know the program of {app.conf}",
                    "The file is newer than the running supervisord, or the program was taken out by hand.",
                    "Deploy, or `supervisorctl update`.",
                )
            return
        count = min(app.instances or len(running), len(running))
        supervisor = Supervisor(socket_path(self.settings), timeout=ANSWER_TIMEOUT)
        ready = workers = 0
        for process in running:
            if process.number >= count:
                continue
            process, fine = settle(app, supervisor, process, SETTLE)
            record = RunDirectory(app.run_dir).record(process.name)
            if fine:
                ready += 1
                workers += RunDirectory(app.run_dir).ready_workers(process.name, process.pid)
                self._look_at_release(app, store, process, record)
                facts.setdefault("gunicorn", record.get("gunicorn"))
            else:
                self._look_at_record(app, process)
                self._look_at_failure(app, process)
            if process.pid:
                self._look_at_log(app, process, record)
        facts.update(instances=count, ready=ready, workers=workers)
        if ready:
            self._look_at_answers(app, store, [one for one in running if one.number < count])

    def _look_at_record(self, app: App, process: Process) -> None:
        wrong = RunDirectory(app.run_dir).wrong(process.name)
        if wrong:
            self._error(
                "record-unreadable",
                process.full_name,
                f"{process.name} cannot be told to be ready: {wrong}",
                f"No instance writes that: the app, or somebody who has its user {app.user}, has put it there.",
                "Find out who did. Remove it, and restart the app (playbook restart): an instance that starts writes its record anew.",
            )

    def _look_at_failure(self, app: App, process: Process) -> None:
        """An instance that does not serve: its own words, and what they mean."""
        if NOT_OPENED in process.spawn_error:
            self._look_at_closed_socket(app, process)
            return
        blocked = ("disk-full", "inodes-full")
        if (
            self._found("permission-denied", "run-dir-missing", "log-dir-missing", subject=app.name)
            or self._found("record-unreadable", subject=process.full_name)
            or self._found(*blocked)
        ):
            return  # the cause is told already
        if process.state in ("STOPPED", "STOPPING"):
            self._error(
                "instance-stopped",
                process.full_name,
                f"{process.name} is {process.state}",
                "Somebody stopped it (supervisorctl stop, or the web page).",
                f"supervisorctl start {process.full_name}",
            )
            return
        lines = self._own_words(app, process)
        known = diagnose("\n".join([*lines, process.spawn_error]))
        if not known and inspection.uptime_of(process.pid) < _ONE_TRY:
            # This try has not said anything yet; the one before has, if there was one.
            before = self._own_words(app, process, tries=2)
            known = diagnose("\n".join(before))
            lines = before if known else lines
        state = process.state
        if process.state in DEAD_STATES and process.spawn_error:
            state += f" ({process.spawn_error})"
        elif process.state not in DEAD_STATES:
            directory = RunDirectory(app.run_dir)
            record = directory.record(process.name)
            done, wanted = directory.ready_workers(process.name, process.pid), record.get("workers", "?")
            state += f", but not ready: {done} of {wanted} workers"
        shown = "".join(f"\n    {line}" for line in lines[-SHOWN_LINES:])
        self._error(
            "instance-failed" if process.state in DEAD_STATES or known else "instance-not-ready",
            process.full_name,
            f"{process.name} is {state}." + (f" It says:{shown}" if shown else " It says nothing."),
            known.cause if known else "Not a known one; the lines above are all there is.",
            known.remedy if known else f"Look into {self._log_of(app, process)}, or roll back.",
        )

    def _look_at_closed_socket(self, app: App, process: Process) -> None:
        """supervisord cannot open the app's socket: one finding for all of its instances."""
        if self._found("port-taken", "orphan", "socket-not-opened", subject=app.name):
            return
        seen = obstacle(app.bind)
        self._error(
            "socket-not-opened",
            app.name,
            f"supervisord {process.spawn_error}" + (f": {seen}" if seen else ""),
            f"What stands at the address of {app.name} ({app.bind}) is in the way, or is missing. The other apps are not"
            " concerned.",
            f"Take it away, or make what is missing. {self._then_open(app)} Or give the app another flask_app_bind.",
        )

    def _log_of(self, app: App, process: Process) -> str:
        return process.log_file or os.path.join(app.log_dir, f"{process.name}.log")

    def _own_words(self, app: App, process: Process, tries: int = 1) -> list[str]:
        """What the last tries to boot have logged, without the frames of the loader."""
        log = self._log_of(app, process)
        lines = plain_lines(last_text(log))[-200:]
        starts = [number for number, line in enumerate(lines) if "Starting gunicorn" in line]
        # A crash before gunicorn says that it starts has its words after the last master's end.
        lines = lines[starts[-min(tries, len(starts))] :] if starts else lines
        ends = [number for number, line in enumerate(lines) if "Shutting down: Master" in line]
        if tries == 1 and ends and len(lines) > ends[-1] + 2:
            lines = lines[ends[-1] + 1 :]
        # What ended a process from below Python, or before it had a log, was said at about the same time.
        raw = plain_lines(raw_text(log, _changed_at(log) - 5))[-40:]
        return shorten_tracebacks(raw + lines)

    def _look_at_release(self, app: App, store: ReleaseStore, process: Process, record: dict[str, t.Any]) -> None:
        open_activation = (
            self._found("interrupted-activation", subject=app.name) or "deploying" in self.facts["apps"][app.name]
        )
        if record.get("release") != store.current() and not open_activation:
            self._error(
                "other-release",
                process.full_name,
                f"{process.name} runs release {record.get('release')}, and {app.root}/current is {store.current()}",
                "`current` was moved by hand, or the instance was.",
                "Restart the app (playbook restart) for what `current` says, or deploy or roll back to what you want.",
            )
        if record.get("worker_class") == "gevent" and record.get("lossless") is False:
            self._warn(
                "stock-worker",
                process.full_name,
                f"{process.name} runs gunicorn {record.get('gunicorn')} with its own gevent worker",
                "This gunicorn is not one that the lossless worker was tested with (or the worker class was set by hand):"
                " deploys and restarts can lose requests.",
                f"Have the app's requirements name gunicorn=={LOSSLESS[-1]}, or none, and deploy.",
            )

    def _look_at_log(self, app: App, process: Process, record: dict[str, t.Any]) -> None:
        """Workers that were killed since the master started."""
        log = self._log_of(app, process)
        lines = plain_lines(last_text(log))
        starts = [number for number, line in enumerate(lines) if "Starting gunicorn" in line]
        started = record.get("started")
        raw = plain_lines(raw_text(log, started or 0))
        text = "\n".join((lines[starts[-1] :] if starts else lines) + raw)
        late = re.findall(r"WORKER TIMEOUT \(pid:(\d+)\)", text)
        killed = [
            pid
            for pid in re.findall(r"Worker \(pid:(\d+)\) was sent SIGKILL! Perhaps out of memory\?", text)
            if pid not in late
        ]
        if late:
            self._worker_timeout(app, process, record, text, late)
        if killed:
            self._worker_killed(process, killed)

    def _worker_timeout(self, app: App, process: Process, record: dict[str, t.Any], text: str, late: list[str]) -> None:
        requests = re.findall(r"Worker timeout, cut off: (.+)", text)
        where = _blocking_frame(text, app.root)
        symptom = f"WORKER TIMEOUT: {len(late)} worker(s) of {process.name} were killed (last: pid {late[-1]})"
        if requests:
            symptom += f", with {requests[-1]}"
        if record.get("worker_class") != "gevent":
            self._error(
                "slow-request",
                process.full_name,
                symptom + (f", at {where}" if where else ""),
                f"A {record.get('worker_class')} worker serves one request at a time, and this one took longer than"
                " flask_app_timeout.",
                "Make the request faster, raise flask_app_timeout, or use gevent or gthread workers: there a slow request"
                " does not stop the worker.",
            )
            return
        self._error(
            "worker-blocked",
            process.full_name,
            symptom + (f". The worker was blocked at {where}" if where else ". Its log does not say at which line"),
            "Not a slow request: gevent workers wait for those without stopping. This call blocked the event loop, and"
            " every other request of the worker with it, for longer than flask_app_timeout.",
            "Give the call to a thread (gevent.get_hub().threadpool.apply), use a driver that gevent can patch, or set"
            " flask_app_worker_class: gthread. Raising flask_app_timeout only makes everybody wait longer.",
        )

    def _look_at_programs(self, running: list[Process]) -> None:
        """Programs and listeners that are no apps."""
        known = find_apps(self.options.base_dir, self.options.conf_dir)
        others = programs_beside(running, known, self.options.name)
        supervisor = Supervisor(socket_path(self.settings), timeout=ANSWER_TIMEOUT)
        settings = program_settings(supervisor) if others else {}
        for process in others:
            wrong = wrong_with(process, settings.get((process.group, process.name), {}))
            if not wrong:
                continue
            stopped = process.state in ("STOPPED", "STOPPING")
            lines = [] if stopped else plain_lines(last_text(process.log_file))[-SHOWN_LINES:]
            shown = "".join(f"\n    {line}" for line in lines)
            self._error(
                "program-stopped" if stopped else "program-failed",
                process.full_name,
                f"{process.name} {wrong}." + (f" It says:{shown}" if shown else ""),
                "Somebody stopped it (supervisorctl stop, or the web page)."
                if stopped
                else "It ends by itself, or cannot be started. Its own words are all there is.",
                f"supervisorctl start {process.full_name}"
                if stopped
                else f"Correct what it says (all of it: supervisorctl tail {process.full_name}), then `supervisorctl"
                f" start {process.full_name}`. Its settings are in supervisor_programs.",
            )

    def _look_at_memory(self) -> None:
        """An out-of-memory kill that no log of an instance has told about."""
        evidence = self._memory_kills() if not self._found("out-of-memory", "worker-killed") else ""
        if evidence:
            self._warn(
                "out-of-memory",
                self.options.unit,
                evidence,
                "The kernel killed a process because memory ran out (of the host, or of the unit's MemoryMax).",
                "Lower the number of workers (flask_app_workers), load less, or give the host or the unit more memory.",
            )

    def _look_at_rotation(self) -> None:
        if not glob.glob("/etc/pygun/logrotate.d/*.conf"):
            return
        timer = "pygun-logrotate.timer"
        state = inspection.unit_properties(timer, "UnitFileState,ActiveState")
        if state.get("UnitFileState") != "enabled" or state.get("ActiveState") != "active":
            self._warn(
                "rotation-off",
                timer,
                f"{timer} is {state.get('UnitFileState') or 'not there'} and {state.get('ActiveState', 'unknown')}",
                "The timer that rotates the logs of the apps was stopped or disabled: they grow until the volume is full.",
                f"systemctl enable --now {timer}; if it is not there, deploy.",
            )

    def _worker_killed(self, process: Process, killed: list[str]) -> None:
        evidence = self._memory_kills()
        symptom = f"{len(killed)} worker(s) of {process.name} were killed with SIGKILL (last: pid {killed[-1]})"
        if evidence:
            self._error(
                "out-of-memory",
                process.full_name,
                f"{symptom}; {evidence}",
                "The kernel killed them because memory ran out (of the host, or of the unit's MemoryMax).",
                "Lower the number of workers (flask_app_workers), load less, or give the host or the unit more memory.",
            )
        else:
            self._warn(
                "worker-killed",
                process.full_name,
                f"{symptom}; gunicorn asks: Perhaps out of memory?",
                "No out-of-memory kill is recorded for the unit or in the kernel's log (as far as it can be read), so"
                " somebody else sent the signal.",
                "`dmesg -T | grep -i -e oom -e 'killed process'` on the host (not in a container) is the last word.",
            )

    def _memory_kills(self) -> str:
        group = self.unit.get("ControlGroup", "")
        for path, name in (
            (f"/sys/fs/cgroup{group}/memory.events", "oom_kill"),
            (f"/sys/fs/cgroup/memory{group}/memory.oom_control", "oom_kill"),
        ):
            found = re.search(rf"^{name} (\d+)", inspection.read_text(path), re.MULTILINE)
            if found and int(found.group(1)):
                return f"{path} counts {found.group(1)} out-of-memory kills"
        _code, text = inspection.run(["journalctl", "-k", "--no-pager", "-o", "cat", "--since", "-1day", "-n", "2000"])
        found = re.findall(r".*(?:Out of memory: Killed process|oom-kill:|Memory cgroup out of memory).*", text)
        return f"the kernel's log says: {found[-1].strip()}" if found else ""

    def _look_at_answers(self, app: App, store: ReleaseStore, running: list[Process]) -> None:
        directory = RunDirectory(app.run_dir)
        path, host = health_of_release(store.path(str(store.current())))
        well = True
        for process in running:
            record = directory.record(process.name)
            if record.get("pid") != process.pid or self._found(
                "instance-failed", "instance-not-ready", subject=process.full_name
            ):
                continue
            answer = directory.ask(process.name, process.pid, path or "/", ANSWER_TIMEOUT, host)
            if answer.is_healthy(path):
                continue
            well = False
            if answer.status:
                known = diagnose(f"GET {path or '/'} answered {answer.status}")
                self._error(
                    "health-failing",
                    process.full_name,
                    f"GET {path or '/'} of {process.name} answers {answer.status}: {answer.text[:200]}",
                    known.cause if known else "The app runs, but says that it is not well.",
                    known.remedy if known else "Its log tells more.",
                )
            else:
                self._error(
                    "instance-silent",
                    process.full_name,
                    f"GET {path or '/'} of {process.name} gives no answer within {ANSWER_TIMEOUT:g} s: {answer.text}",
                    "The worker is up but busy: a call blocks its event loop, or all of its threads wait for something.",
                    f"If it lasts longer than flask_app_timeout, gunicorn kills the worker and {self._log_of(app, process)}"
                    " names the line; then ask the doctor again.",
                )
        if well and app.bind:
            answer = ask_bind(app.bind, path or "/", ANSWER_TIMEOUT, host)
            if not answer.status:
                self._error(
                    "not-answering",
                    app.name,
                    f"GET {path or '/'} on {app.bind} gives no answer: {answer.text}",
                    "The instances answer on their private sockets, but the public address does not lead to them.",
                    "Restart the app (playbook restart). If that does not help, look at the firewall.",
                )


def _is_supervisord(command: tuple[str, ...]) -> bool:
    """Whether that is supervisord: by itself, as the script of a Python, or behind our launcher."""
    scripts = [part for part in command[2:4] if "/" in part] if "python" in "".join(command[:1]) else []
    return "supervisord" in [os.path.basename(part) for part in (*command[:2], *scripts)]


def _blocking_frame(text: str, root: str) -> str:
    """File, line and function at which a worker hung: the innermost frame of the app's own code, else the innermost."""
    told = [found.end() for found in re.finditer(r"Worker blocked, it is at:|Timeout \(\d+:\d\d:\d\d", text)]
    stack = text[told[-1] :][:20000] if told else ""
    frames = re.findall(r'File "([^"]+)", line (\d+),? in (\S+)', stack)
    if not frames:
        return ""
    newest_first = "most recent call first" in stack  # as faulthandler writes it
    frames = frames if newest_first else frames[::-1]
    own = [frame for frame in frames if frame[0].startswith(root + "/") and "/src/" in frame[0]]
    path, line, function = (own or frames)[0]
    return f"{path}:{line} in {function}"


def _changed_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
