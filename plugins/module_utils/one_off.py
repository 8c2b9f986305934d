# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One command in a release of an app, as the app's user and with its environment: a shell, a migration, a look at the data.

The environment never reaches a command line: `run.py` of the release sets it, in the process of the app's user.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import threading
import typing as t

from .host.adoption import daemons_ended, wait_for_killed
from .host.app_process import as_user, without_new_rights
from .host.foreign import printable
from .host.keyring import leave_keyring
from .instance import discovery
from .release.store import ReleaseStore
from .supervisor import conf
from .supervisor.rpc import Supervisor

NOTHING = "Nothing was run."
#: Bytes of its output that are kept of a command without a terminal: the last ones.
LARGEST_OUTPUT = 256 * 1024
#: Seconds between SIGTERM and SIGKILL for a command that is late.
PATIENCE = 5.0
#: Variables of the user's terminal that the command may have.
_OF_TERMINAL = ("TERM", "COLORTERM", "NO_COLOR")
_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Refused(Exception):
    """The command cannot be run; says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, as a shell has it, and the end of its output."""

    status: int
    output: str
    timed_out: bool = False


@dataclasses.dataclass(frozen=True)
class OneOff:
    """A command that is ready to be run."""

    app: str
    release: str
    command: tuple[str, ...]  # with what sets the environment
    account: pwd.struct_passwd
    environment: dict[str, str]

    def in_terminal(self) -> int:
        """Run it with the terminal of this process; return its exit status.

        A command of the app's user must not have the terminal of root itself: what it puts into the input (TIOCSTI), root's shell
        would execute. So it gets another terminal, or none and a session of its own.
        """
        if os.isatty(0):
            runuser = shutil.which("runuser", path="/usr/sbin:/sbin:/usr/bin:/bin")
            if not runuser:
                raise Refused(f"There is no runuser on this host, which gives the command a terminal. {NOTHING}")
            command = [runuser, "--pty", "-u", self.account.pw_name, "--", *without_new_rights(), *self.command]
            terminal = {name: os.environ[name] for name in _OF_TERMINAL if name in os.environ}
            os.chdir("/")
            os.umask(0o022)
            leave_keyring()
            os.execve(runuser, command, {**self.environment, **terminal})
        process = self._start()
        for number in _FORWARDED:
            signal.signal(number, lambda number, _frame: _signal(process, number))
        return _status(process.wait())

    def collect(self, seconds: float) -> Outcome:
        """Run it without a terminal, for so long at most. What it leaves running ends with it."""
        with daemons_ended():
            return self._collected(seconds)

    def _collected(self, seconds: float) -> Outcome:
        process = self._start(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        kept = bytearray()
        reader = threading.Thread(target=_read, args=(process.stdout.fileno(), kept), daemon=True)
        reader.start()
        late = False
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            _signal(process, signal.SIGKILL)
            wait_for_killed(process)
        reader.join(1.0)  # what it has left running may hold the pipe
        return Outcome(_status(process.returncode), bytes(kept).decode("utf-8", "replace"), late)

    def _start(self, **files: t.Any) -> subprocess.Popen:
        return subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
            [*as_user(self.account), *self.command],
            cwd="/",
            env=self.environment,
            umask=0o022,
            start_new_session=True,
            preexec_fn=leave_keyring,
            **files,
        )


def prepare(base_dir: str, conf_dir: str, name: str, release: str, words: t.Sequence[str]) -> OneOff:
    """Find the app, its user, its environment and the release (the current one if none is named); raises `Refused`."""
    if not words:
        raise Refused(f"Name the command, such as: flask routes. {NOTHING}")
    apps = discovery.find_apps(base_dir, conf_dir)
    app = next((one for one in apps if one.name == name), None)
    if app is None:
        raise Refused(f"There is no app {name!r} on this host. Apps: {discovery.names(apps)}. {NOTHING}")
    try:
        account = pwd.getpwnam(app.user)
    except KeyError:
        raise Refused(f"{name} has no user {app.user} on this host; a deploy makes it. {NOTHING}") from None
    store = ReleaseStore(app.root)
    chosen = _release(store, name, release)
    folder = store.path(chosen)
    run = os.path.join(folder, "lib", "pygun_runtime", "run.py")
    if not os.path.exists(run):
        raise Refused(
            f"Release {chosen} of {name} was built by an older version, and cannot run commands. Deploy {name} again. {NOTHING}"
        )
    home, settings = os.path.join(app.root, "shared"), conf.parse(os.path.join(conf_dir, "supervisord.conf"))
    environment = {
        "LANG": "C.UTF-8",
        "PATH": _SEARCH_PATH,
        **Supervisor(conf.socket_path(settings), timeout=5.0).environment(),
        "HOME": home,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
    }
    python = os.path.join(folder, "venv", "bin", "python")
    return OneOff(name, chosen, (python, "-IS", run, *words), account, environment)


def _release(store: ReleaseStore, name: str, asked: str) -> str:
    if not asked or asked == "current":
        current = store.current()
        if not current:
            raise Refused(f"No release of {name} is in service. Deploy it, or name a release. {NOTHING}")
        found = [current]
    else:
        found = [one for one in store.named(asked) if one in store.ids()]
    if len(found) != 1:
        what = "is no release of" if not found else "begins the ids of several releases of"
        raise Refused(f"{printable(asked, 40)} {what} {name}. Releases: {', '.join(store.ids()) or 'none'}. {NOTHING}")
    damage = store.damage(found[0])
    if damage:
        raise Refused(f"Release {found[0]} of {name} {damage}. Deploy {name} again, or name another release. {NOTHING}")
    return found[0]


def shown(words: t.Sequence[str]) -> str:
    """A command as a person would type it."""
    return printable(shlex.join(words), 200)


def _read(descriptor: int, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            kept += chunk
            del kept[:-LARGEST_OUTPUT]


def _signal(process: subprocess.Popen, number: int) -> None:
    """Send a signal to the command and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _status(code: int) -> int:
    """An exit status as a shell has it."""
    return code if code >= 0 else 128 - code
