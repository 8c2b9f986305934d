# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The jobs of an app: commands in its current release that systemd starts by the clock.

Each is a timer and a oneshot service, `pygun-APP.job-NAME`. A service that runs is not started again. It starts `run` of `current`, which
goes on by the real path of its release, so a job that runs through a deploy ends in the release in which it began. A rollback takes
jobs along in the same way: the units name no release, and need no transaction.
"""

from __future__ import annotations

import calendar
import dataclasses
import glob
import os
import re
import shlex
import time
import typing as t

from ..host import foreign, inspection
from ..host.atomic import remove_file, write_atomically

UNITS = "/etc/systemd/system"
_STAMPS = "/var/lib/systemd/timers"
_HEAD = "# Managed by Ansible (pygun.stack.flask_app): changes here are overwritten.\n"
_PROPERTIES = (
    "Id,ActiveState,UnitFileState,NeedDaemonReload,LastTriggerUSec,NextElapseUSecRealtime,Result,ExecMainStatus,"
    "ExecMainStartTimestamp,ExecMainExitTimestamp"
)
#: Restrictions of a job that hold unless `sandbox` has another value. A job has no capability in any case.
_SANDBOX = dict.fromkeys(
    """
    NoNewPrivileges LockPersonality PrivateTmp ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs
    ProtectKernelModules ProtectKernelTunables RestrictRealtime RestrictSUIDSGID
    """.split(),
    "true",
)
ARGUMENT_SPEC = {
    "app": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "log_dir": {"type": "path", "required": True},
    "sandbox": {"type": "dict", "default": {}},
    "is_first": {"type": "str", "default": "yes", "choices": ["yes", "no", "unknown"]},
    "jobs": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "schedule": {"type": "str", "required": True},
            "command": {"type": "raw", "required": True},
            "timeout": {"type": "int", "default": 3600},
            "persistent": {"type": "bool", "default": False},
            "host": {"type": "str", "default": "all", "choices": ["all", "first"]},
        },
    },
}


class JobError(Exception):
    """The jobs cannot be as they are wanted; the text says why."""


def unit(app: str, job: str) -> str:
    """The name of a job's units, without their type. No app has a dot in its name."""
    return f"pygun-{app}.job-{job}"


def log(log_dir: str, app: str, job: str) -> str:
    """The log of a job."""
    return os.path.join(log_dir, f"{app}.job-{job}.log")


def names(app: str, folder: str = UNITS) -> list[str]:
    """The jobs of an app that have a unit on this host."""
    pattern = re.compile(rf"{re.escape(unit(app, ''))}([a-z][a-z0-9_-]*)\.(?:timer|service)")
    matches = (pattern.fullmatch(os.path.basename(path)) for path in glob.glob(f"{folder}/pygun-*.job-*"))
    return sorted({match.group(1) for match in matches if match})


def units(app: str, folder: str = UNITS) -> list[str]:
    """The units of an app's jobs that are there, the timers first."""
    found = [f"{unit(app, job)}.{kind}" for kind in ("timer", "service") for job in names(app, folder)]
    return [name for name in found if os.path.lexists(os.path.join(folder, name))]


def leftovers(app: str, folder: str = UNITS) -> list[str]:
    """The files that systemd has written for jobs: links by which timers start at boot, and the times at which persistent ones ran last."""
    timers = [f"{unit(app, job)}.timer" for job in names(app, folder)]
    places = (f"{folder}/timers.target.wants/", f"{_STAMPS}/stamp-")
    return [place + timer for place in places for timer in timers]


class Jobs:
    """The jobs that an app is to have on this host, from the parameters that ARGUMENT_SPEC describes."""

    def __init__(self, given: dict[str, t.Any], folder: str = UNITS) -> None:
        self.given, self.folder = given, folder
        self.there = names(given["app"], folder)
        self.undecided = [
            job["name"]
            for job in given["jobs"]
            if job["host"] == "first" and given["is_first"] == "unknown" and job["name"] not in self.there
        ]
        self.jobs = [job for job in given["jobs"] if job["host"] == "all" or self._is_here(job["name"])]
        self.files = {path: text for job in self.jobs for path, text in self._texts(job).items()}
        self.removed = [name for name in self.there if name not in {job["name"] for job in self.jobs}]

    def _is_here(self, name: str) -> bool:
        """Whether a job of the first host belongs to this one. With `--limit` the first host is not known, so nothing changes."""
        return self.given["is_first"] == "yes" or (self.given["is_first"] == "unknown" and name in self.there)

    def _texts(self, job: dict[str, t.Any]) -> dict[str, str]:
        given, name = self.given, unit(self.given["app"], job["name"])
        words = shlex.split(job["command"]) if isinstance(job["command"], str) else job["command"]
        directives = {**_SANDBOX, **given["sandbox"]}
        directives = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in directives.items()
        }
        sandbox = "".join(f"{key}={value}\n" for key, value in sorted(directives.items()) if value != "")
        title = f"job {job['name']} of {given['app']}"
        service = (
            f"{_HEAD}[Unit]\nDescription=The {title}\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\n"
            f"Type=oneshot\nExecStart={given['root']}/current/run {' '.join(map(quoted, words))}\n"
            f"User={given['user']}\nGroup={given['group']}\nEnvironment=HOME={given['root']}/shared\n"
            f"TimeoutStartSec={job['timeout']}\n"
            f"StandardOutput=append:{log(given['log_dir'], given['app'], job['name'])}\nCapabilityBoundingSet=\n{sandbox}"
        )
        timer = (
            f"{_HEAD}[Unit]\nDescription=Starts the {title}\n\n[Timer]\nOnCalendar={job['schedule']}\n"
            f"Persistent={'true' if job['persistent'] else 'false'}\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
        )
        path = os.path.join(self.folder, name)
        return {f"{path}.service": service, f"{path}.timer": timer}

    def refuse_unusable(self) -> None:
        """Refuse what systemd does not understand, before anything is written."""
        for job in self.jobs:
            path = f"{os.path.join(self.folder, unit(self.given['app'], job['name']))}.timer"
            if inspection.read_text(path) == self.files[path]:
                continue
            status, said = inspection.run(["systemd-analyze", "calendar", "--", job["schedule"]])
            if status > 0:
                raise JobError(
                    f"flask_app_jobs: {job['name']}: systemd does not understand the schedule {job['schedule']!r}: {foreign.printable(said)}."
                    " `systemd-analyze calendar` tries one; see systemd.time(7)."
                )

    def differences(self) -> list[dict[str, str]]:
        """The diffs of the files that `apply` would write and remove."""
        after = {**self.files, **{os.path.join(self.folder, name): "" for name in self._removed_units()}}
        pairs = {path: (inspection.read_text(path), text) for path, text in after.items()}
        return [
            {"before_header": path, "after_header": path, "before": old, "after": new}
            for path, (old, new) in pairs.items()
            if old != new
        ]

    def idle(self) -> list[str]:
        """Timers that are wanted and do not run, do not start at boot, or have older files in systemd's memory."""
        wanted = [unit(self.given["app"], job["name"]) for job in self.jobs]
        states = _show([f"{name}.{kind}" for name in wanted for kind in ("timer", "service")])
        return [
            name
            for name in wanted
            if (states.get(f"{name}.timer", {}).get("ActiveState") != "active")
            or (states[f"{name}.timer"].get("UnitFileState") != "enabled")
            or any(states.get(f"{name}.{kind}", {}).get("NeedDaemonReload") == "yes" for kind in ("timer", "service"))
        ]

    def is_settled(self) -> bool:
        """Whether `apply` would change nothing."""
        return not self.differences() and not (self.jobs and self.idle())

    def apply(self) -> None:
        """Write and start the wanted jobs, and remove all others. A job that runs goes on to its end."""
        try:
            self._apply()
        except OSError as error:
            raise JobError(f"{error}. Remove the cause, then run this again.") from error

    def _apply(self) -> None:
        removed = self._removed_units()
        timers = [name for name in removed if name.endswith(".timer")]
        if timers:
            _systemctl("disable", "--quiet", "--now", *timers)
        for name in removed:
            remove_file(os.path.join(self.folder, name))
        for name in timers:
            remove_file(f"{_STAMPS}/stamp-{name}")
        changed = {one["after_header"] for one in self.differences()}
        for path in sorted(changed & self.files.keys()):
            write_atomically(path, self.files[path].encode(), 0o644)
        _systemctl("daemon-reload")
        if removed:  # systemd remembers a unit that failed without its file, and says so if there is nothing to forget
            inspection.run(["systemctl", "reset-failed", *removed])
        timers = [f"{unit(self.given['app'], job['name'])}.timer" for job in self.jobs]
        again = [name for name in timers if os.path.join(self.folder, name) in changed]
        if timers:
            _systemctl("enable", "--quiet", *timers)
            _systemctl("start", *timers)
        if again:
            _systemctl("restart", *again)

    def _removed_units(self) -> list[str]:
        wanted = {os.path.basename(path) for path in self.files}
        return [name for name in units(self.given["app"], self.folder) if name not in wanted]


def quoted(word: str) -> str:
    """A word of a command line in a unit: systemd expands % and $ in it."""
    for character in ("\\", '"'):
        word = word.replace(character, f"\\{character}")
    return '"' + word.replace("%", "%%").replace("$", "$$") + '"'


# -- what systemd says of them ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class JobState:
    """A job on this host. Times are in seconds since 1970; 0 is never, or not known."""

    name: str
    unit: str
    timer: str = "active"
    runs: bool = False
    last: int = 0
    next: int = 0
    #: How the last run failed, such as "ended with status 3"; empty if it did not, or nothing is known of it.
    failure: str = ""
    known: bool = False

    @property
    def result(self) -> str:
        """In a word or two, for a table."""
        return "runs now" if self.runs else self.failure or ("ok" if self.known else "-")


def observe(app: str, folder: str = UNITS) -> list[JobState]:
    """The jobs of an app, as systemd has them."""
    found = names(app, folder)
    states = _show([f"{unit(app, job)}.{kind}" for job in found for kind in ("timer", "service")])
    return [_state(job, unit(app, job), states) for job in found]


def _state(job: str, name: str, states: dict[str, dict[str, str]]) -> JobState:
    timer, service = states.get(f"{name}.timer", {}), states.get(f"{name}.service", {})
    ended = _seconds(service.get("ExecMainExitTimestamp", ""))
    return JobState(
        job,
        name,
        timer.get("ActiveState") or "unknown",
        service.get("ActiveState") in ("activating", "active"),
        max(_seconds(timer.get("LastTriggerUSec", "")), _seconds(service.get("ExecMainStartTimestamp", ""))),
        _seconds(timer.get("NextElapseUSecRealtime", "")),
        _failure(service),
        bool(ended),
    )


def _failure(service: dict[str, str]) -> str:
    result = service.get("Result", "success")
    if result == "success":
        return ""
    if result == "exit-code":
        return f"ended with status {service.get('ExecMainStatus', '?')}"
    if result == "timeout":
        return "took longer than its timeout"
    if result in ("signal", "core-dump"):
        return f"was killed by signal {service.get('ExecMainStatus', '?')}"
    return f"failed ({result})"


def _seconds(timestamp: str) -> int:
    """A time as systemctl prints it in UTC, such as ``Mon 2026-11-30 09:09:40 UTC``."""
    match = re.fullmatch(r"\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", timestamp)
    return calendar.timegm(time.strptime(match.group(1), "%Y-%m-%d %H:%M:%S")) if match else 0


def _show(wanted: list[str]) -> dict[str, dict[str, str]]:
    """The properties of units, by their names; empty where systemd says nothing."""
    if not wanted:
        return {}
    command = ["env", "TZ=UTC", "systemctl", "show", f"--property={_PROPERTIES}", "--", *wanted]
    _status, text = inspection.run(command)
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def _systemctl(*words: str) -> None:
    status, said = inspection.run(["systemctl", *words], timeout=60.0)
    if status:
        raise JobError(f"systemctl {' '.join(words)}: {foreign.printable(said)}")
