# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talk to supervisord: XML-RPC over its unix socket, standard library only."""

from __future__ import annotations

import dataclasses
import http.client
import socket
import typing as t
import xml.parsers.expat
import xmlrpc.client

from ..host.inspection import environment_of

#: How the names of variables begin that are of one process.
_ITS_OWN = ("SUPERVISOR_", "NOTIFY_", "LISTEN_", "PYGUN_", "INVOCATION_ID", "JOURNAL_STREAM")
#: States in which no process exists and none will be started by supervisord on its own (EXITED may be restarted).
STOPPED_STATES = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")
#: States in which a stop request is accepted.
STOPPABLE_STATES = ("STARTING", "RUNNING", "BACKOFF")
#: States of a process that did not survive its start.
DEAD_STATES = ("BACKOFF", "FATAL", "EXITED", "UNKNOWN")


class SupervisorError(Exception):
    """supervisord has refused a call; the text says why."""


class Unreachable(SupervisorError):
    """supervisord does not answer on the socket, or another program does."""


class BadName(SupervisorError):
    """supervisord knows no such process or group."""


class NotRunning(SupervisorError):
    """The process to stop is not running."""


class AlreadyStarted(SupervisorError):
    """The process to start is running."""


class AlreadyAdded(SupervisorError):
    """The group to add is there."""


class StillRunning(SupervisorError):
    """A group with running processes cannot be removed."""


class CannotReread(SupervisorError):
    """supervisord's configuration on disk does not parse."""


class NoFile(SupervisorError):
    """The program's command does not exist."""


class NotExecutable(SupervisorError):
    """The program's command is not executable."""


class SpawnError(SupervisorError):
    """The process could not be started."""


class ShuttingDown(SupervisorError):
    """supervisord is stopping or restarting."""


def unusable(error: SupervisorError) -> str:
    """The error text if supervisord does not answer before the first change."""
    if isinstance(error, CannotReread):
        return (
            f"supervisord cannot read its configuration: {error}. Correct that file, then run this again."
            " Nothing was changed."
        )
    return f"{error}. `systemctl status supervisord` shows more. Nothing was changed."


_FAULTS: dict[int, type[SupervisorError]] = {
    6: ShuttingDown,
    10: BadName,
    20: NoFile,
    21: NotExecutable,
    50: SpawnError,
    60: AlreadyStarted,
    70: NotRunning,
    90: AlreadyAdded,
    91: StillRunning,
    92: CannotReread,
}


class UnixHTTPConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: t.Any) -> http.client.HTTPConnection:
        # A connection for each call: supervisord may be restarted between two of them, and a forked child must
        # never share one with its parent.
        self.close()
        connection = UnixHTTPConnection(self._path, self._timeout)
        self._connection = (host, connection)
        return connection


@dataclasses.dataclass(frozen=True)
class Process:
    """The state of one process in supervisord."""

    group: str
    name: str
    state: str
    pid: int
    spawn_error: str
    exit_status: int
    log_file: str

    @property
    def full_name(self) -> str:
        """The name supervisorctl takes."""
        return f"{self.group}:{self.name}"

    @property
    def number(self) -> int:
        """The number at the end of the name (scoring-1: 1)."""
        tail = self.name.rpartition("-")[2]
        return int(tail) if tail.isdecimal() and tail.isascii() and len(tail) < 10 else 0


class Supervisor:
    """supervisord behind a unix socket. Every method raises a SupervisorError when it cannot do its job."""

    def __init__(self, socket_path: str, timeout: float = 20.0) -> None:
        self.socket_path = socket_path
        self._timeout = timeout

    def call(self, method: str, *arguments: t.Any) -> t.Any:
        """Call one method of supervisord's API, for example ``supervisor.getState``."""
        transport = _UnixTransport(self.socket_path, self._timeout)
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport)
        try:
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise _FAULTS.get(fault.faultCode, SupervisorError)(fault.faultString) from fault
        except xmlrpc.client.ProtocolError as error:
            if error.errcode == 401:
                raise Unreachable(f"supervisord at {self.socket_path} asks for a password") from error
            raise SupervisorError(f"supervisord answered {error.errcode} {error.errmsg} to {method}") from error
        except FileNotFoundError as error:
            raise Unreachable(f"supervisord is not running: there is no {self.socket_path}") from error
        except ConnectionRefusedError as error:
            raise Unreachable(f"supervisord is not running: no process listens on {self.socket_path}") from error
        except socket.timeout as error:
            raise Unreachable(f"supervisord at {self.socket_path} did not answer within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, xml.parsers.expat.ExpatError) as error:
            raise Unreachable(f"supervisord at {self.socket_path} does not answer: {error}") from error
        finally:
            transport.close()

    def reload_config(self) -> tuple[list[str], list[str], list[str]]:
        """Make supervisord read its configuration; return the groups (added, changed, removed).

        It only compares: nothing is started, stopped or changed by it (supervisor 4.3, ``reloadConfig``).
        """
        added, changed, removed = self.call("supervisor.reloadConfig")[0]
        return added, changed, removed

    def all_processes(self) -> list[Process]:
        """The processes of all groups."""
        found = [_process(info) for info in self.call("supervisor.getAllProcessInfo")]
        return sorted(found, key=lambda process: (process.group, process.number, process.name))

    def processes(self, group: str) -> list[Process]:
        """The processes of one group in the order of their numbers; empty if supervisord has no such group."""
        return [process for process in self.all_processes() if process.group == group]

    def process(self, full_name: str) -> Process:
        """One process, by ``group:name``."""
        return _process(self.call("supervisor.getProcessInfo", full_name))

    def start(self, full_name: str) -> None:
        """Start a process without waiting for it."""
        self.call("supervisor.startProcess", full_name, False)

    def stop(self, full_name: str) -> None:
        """Ask a process to stop without waiting for it."""
        self.call("supervisor.stopProcess", full_name, False)

    def add_group(self, group: str) -> None:
        """Take a group of the re-read configuration into service; its autostart processes start."""
        try:
            self.call("supervisor.addProcessGroup", group)
        except SupervisorError as error:
            if type(error) is not SupervisorError:  # pylint: disable=unidiomatic-typecheck
                raise
            # supervisord answers 500 without a word; its log has the reason (for example: address in use).
            raise SupervisorError(f"{error}; {self._last_error()}") from error

    def remove_group(self, group: str) -> None:
        """Take a stopped group out of service."""
        self.call("supervisor.removeProcessGroup", group)

    def environment(self) -> dict[str, str]:
        """The environment that supervisord gives to every program, without the variables of one process; empty if it does not run."""
        try:
            found = environment_of(int(self.call("supervisor.getPID")))
        except (SupervisorError, OSError):
            return {}
        return {name: value for name, value in found.items() if not name.startswith(_ITS_OWN)}

    def _last_error(self) -> str:
        try:
            text = self.call("supervisor.readLog", -4000, 0)
        except SupervisorError as error:
            return f"its log cannot be read: {error}"
        lines = [line.strip() for line in text.splitlines() if "Error" in line]
        return f"its log says: {lines[-1]}" if lines else "its log does not say why"


def _process(info: dict[str, t.Any]) -> Process:
    return Process(
        group=info["group"],
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        spawn_error=info["spawnerr"],
        exit_status=info["exitstatus"],
        log_file=info["stdout_logfile"],
    )
