# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of a host as data: everything that the checks look at. `observe` fills it, tests write it down."""

from __future__ import annotations

import dataclasses
import typing as t

from ..balancer_state import Balancer
from ..host import places
from ..host.inspection import HostProcess, Listener, Outcome
from ..instance.discovery import App
from ..instance.jobs import JobState
from ..instance.probe import Answer
from ..instance.running_programs import RunningProgram
from ..release.record import Question
from ..supervisor.rpc import Process

#: Options of the sections of a configuration file.
Settings = dict[str, dict[str, str]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Where things are; see the documentation of the module `doctor`."""

    name: str = ""
    base_dir: str = places.BASE_DIR
    conf_dir: str = places.CONF_DIR
    tools_dir: str = places.TOOLS_DIR
    unit: str = "supervisord.service"
    control_clock: float = 0.0


@dataclasses.dataclass(frozen=True)
class Disk:
    """One file system; sizes in bytes."""

    mount: str
    size: int
    free: int
    inodes: int
    inodes_free: int


@dataclasses.dataclass
class Unit:
    """supervisord's unit. Without properties systemd says nothing."""

    properties: dict[str, str] = dataclasses.field(default_factory=dict)
    #: The last lines of its journal, and of supervisord's log; of a unit that is not active only.
    journal: str = ""
    log: str = ""

    @property
    def load(self) -> str:
        return self.properties.get("LoadState", "unknown")

    @property
    def enabled(self) -> str:
        return self.properties.get("UnitFileState") or self.load

    @property
    def active(self) -> str:
        return self.properties.get("ActiveState", "unknown")

    @property
    def starts_again(self) -> bool:
        """Whether systemd goes on trying to start it."""
        return self.properties.get("SubState") == "auto-restart"


@dataclasses.dataclass
class Configuration:
    """supervisord.conf, the files that it includes, and the environment files of the apps."""

    path: str
    exists: bool = True
    settings: Settings = dataclasses.field(default_factory=dict)
    #: Where supervisord listens.
    socket: str = ""
    #: Path -> text.
    files: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    #: The error of supervisor's own parser, and whether that parser is installed.
    parser: Outcome = Outcome(0, "")
    parser_exists: bool = True
    #: Files of a supervisord that ran: its socket and its pid file, as far as they are there.
    run_files: list[str] = dataclasses.field(default_factory=list)

    def get(self, section: str, option: str) -> str:
        """The text of an option; empty if there is none."""
        return self.settings.get(section, {}).get(option, "") or ""


@dataclasses.dataclass
class Supervisord:
    """The supervisord that the unit runs, and its answers. Without a pid none runs."""

    pid: int = 0
    uptime: float = 0.0
    control: Outcome = Outcome(0, "")
    version: str = ""
    #: Why it does not answer on its socket; empty if it does.
    error: str = ""
    #: None if it does not answer.
    running: list[Process] | None = None


@dataclasses.dataclass
class Log:
    """The end of an instance's log, and of its raw log."""

    path: str
    text: str = ""
    changed: float = 0.0
    raw: str = ""
    raw_changed: float = 0.0


@dataclasses.dataclass
class InstanceState:
    """One instance that supervisord runs or should run."""

    process: Process
    ready: bool
    log: Log
    uptime: float = 0.0
    record: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    #: Why its record cannot be read; empty if it can.
    record_error: str = ""
    ready_workers: int = 0
    #: Its dirty arbiter: how many dirty workers it wants, how many are up, how often one has begun.
    dirty: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Its answer on its private socket; None if it was not asked.
    answer: Answer | None = None


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Something that the app's user may not do: the part of the path that stops it, and its owner and mode."""

    purpose: str
    place: str
    mode: str


@dataclasses.dataclass
class Release:
    """The release that the app's `current` links to."""

    id: str | None = None
    is_complete: bool = False
    python_runs: bool = False
    #: The mount point that the app's directory lies on.
    mount: str = "/"
    #: The volume above it that is not mounted (mount point, device); None if there is none.
    unmounted: tuple[str, str] | None = None
    graceful_timeout: float = 0.0  # seconds; 0 is what the release does not say
    question: Question = Question("")
    history: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    #: The damage of the file of the history, as the end of a sentence about it.
    damage_of_state: str = ""

    @property
    def can_run(self) -> bool:
        return bool(self.id) and self.is_complete and self.python_runs


@dataclasses.dataclass
class Files:
    """The app's directories and files, and what their modes allow."""

    run_dir_exists: bool = True
    #: Whether systemd-tmpfiles makes the run directory at boot.
    tmpfiles_exists: bool = True
    log_dir_exists: bool = True
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    #: Owner and mode of the environment file if every user can read it, and of the release if the app's user can write to it.
    open_environment: str = ""
    writable_release: str = ""


@dataclasses.dataclass
class SocketUnits:
    """The units by which systemd holds the app's public socket."""

    states: dict[str, str] = dataclasses.field(default_factory=dict)
    wanted: str = ""
    listening: bool = True

    @property
    def names(self) -> str:
        return " ".join(self.states)


@dataclasses.dataclass
class AppState:
    """One app. A field that could not be observed keeps its default, and `error` says why."""

    app: App
    error: str = ""
    #: Files of it that deploys write, and when they were written.
    written: dict[str, float] = dataclasses.field(default_factory=dict)
    release: Release = dataclasses.field(default_factory=Release)
    #: The options of its program.
    program: dict[str, str] = dataclasses.field(default_factory=dict)
    files: Files = dataclasses.field(default_factory=Files)
    socket_units: SocketUnits | None = None
    #: The holder of the app's lock, if a deploy runs now.
    deploying: str = ""
    #: Whether a deploy, restart or rollback has begun and not ended.
    has_journal: bool = False
    #: The reason why it cannot be read, as the end of a sentence about it.
    damage_of_journal: str = ""
    #: Why it failed, if its way back failed too; empty if it was interrupted.
    failed_because: str = ""
    #: Whether supervisord knows its program; None if it was not asked.
    is_loaded: bool | None = None
    instances: list[InstanceState] = dataclasses.field(default_factory=list)
    jobs: list[JobState] = dataclasses.field(default_factory=list)
    #: The last lines of the log of each job that failed.
    job_logs: dict[str, str] = dataclasses.field(default_factory=dict)
    #: The obstacle that keeps the public socket from being opened; looked for when supervisord says that it cannot open it.
    obstacle: str = ""
    #: The answer on the public address; None if it was not asked.
    answer: Answer | None = None


@dataclasses.dataclass
class ProgramState:
    """A program that is not an instance of an app, as supervisord's configuration has it."""

    process: Process
    settings: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    log: str = ""
    of_release: RunningProgram | None = None  # a program of an app


@dataclasses.dataclass
class HostState:
    """One look at a host."""

    options: Options
    configuration: Configuration
    now: float = 0.0
    clock_is_synchronized: bool = True
    #: The mount point of the base directory.
    base_mount: str = "/"
    disks: list[Disk] = dataclasses.field(default_factory=list)
    unit: Unit = dataclasses.field(default_factory=Unit)
    supervisord: Supervisord = dataclasses.field(default_factory=Supervisord)
    processes: dict[int, HostProcess] = dataclasses.field(default_factory=dict)
    #: The listeners on the ports of the apps and of the web page.
    listeners: dict[int, list[Listener]] = dataclasses.field(default_factory=dict)
    apps: list[AppState] = dataclasses.field(default_factory=list)
    programs: list[ProgramState] = dataclasses.field(default_factory=list)
    #: The state of HAProxy, on a balancer.
    balancer: Balancer | None = None
    #: The evidence that the kernel killed a process for want of memory; empty if there is none.
    memory_kills: str = ""
    #: The properties of the timer that rotates the logs; None if no app has logs to rotate.
    rotation: dict[str, str] | None = None

    @property
    def is_balancer_alone(self) -> bool:
        """Whether this is a balancer on which supervisord was never installed."""
        return (
            self.balancer is not None
            and self.unit.load in ("unknown", "not-found")
            and not self.configuration.exists
            and not self.apps
        )
