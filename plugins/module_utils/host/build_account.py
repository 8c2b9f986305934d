# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The accounts that install, build and compile, so that root need not: a package may bring code that runs when it is
built, when it is installed, and whenever the Python of its environment starts (a ``.pth`` file).

Each app has one, and the tools have one. It is in no group but its own and has no home, no shell and no secret. Root gives it
folders to work in (`hand_over`), runs programs as it (`run`), and takes over the files that come of that (`take_over`): by then
none of its processes is alive, and no other account can write any of the files. Where we are not root, all this is the caller's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import grp
import hashlib
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import typing as t

from . import inspection
from .adoption import adopt, wait_for_killed
from .app_process import as_ids, tail
from .atomic import remove_tree
from .inspection import memory_of_host
from .keyring import leave_keyring
from .text import stat_of, status_of

#: The account of the tools; an app's has its name behind it. No user of an app may be called so (plugin_utils/validate.py).
PREFIX = "pygun-build"
#: Caches that root had before there were such accounts, in the folder that the accounts' are in.
FORMER_CACHES = ("uv", "pip")
_NOWHERE = "/nonexistent"
_NAME_AT_MOST = 32  # of useradd
_FIRST_PERSON = 1000
#: Seconds within which processes that were killed must be gone.
_PATIENCE = 10.0
#: Seconds between two looks for daemons that a program waits for.
_LOOK_EVERY = 5.0
_ENTRIES_AT_MOST = 1_000_000
_DEPTH_AT_MOST = 100
#: Bits that remain in the mode of a file that root takes over.
_MODE_KEPT = 0o755
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY = ".pygun-taken-over"
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


class InstallError(Exception):
    """Something cannot be installed; the message says why, with the last lines that the installer wrote. ``cause`` and
    ``remedy``, if they are known, are for people. ``whole`` is all that the installer wrote: the line that names the cause may
    be far from the last.
    """

    def __init__(
        self, message: str, cause: str | None = None, remedy: str | None = None, whole: str | None = None
    ) -> None:
        super().__init__(message)
        self.whole = whole or message
        self.cause = cause
        self.remedy = remedy


@dataclasses.dataclass(frozen=True)
class Account:
    """A user that programs are run as. One of ours has no processes but those that root has it start."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return is_name(self.name)


def is_name(name: str) -> bool:
    """Whether an account of this name is one that installs."""
    return name == PREFIX or name.startswith(f"{PREFIX}-")


def name_for(app: str = "") -> str:
    """The name of an app's account; of the tools' without an app. One that is too long ends with a digest."""
    name = f"{PREFIX}-{app}" if app else PREFIX
    if len(name) < _NAME_AT_MOST:
        return name
    digest = hashlib.sha256(app.encode()).hexdigest()[:8]
    return f"{name[: _NAME_AT_MOST - len(digest) - 1]}-{digest}"


def have(app: str = "") -> Account | None:
    """The account of an app, or of the tools, made if it is missing. None where we are not root."""
    if os.geteuid():
        return None
    name = name_for(app)
    if not _standing(name):
        places = ["--no-create-home", "--home-dir", _NOWHERE, "--shell", "/usr/sbin/nologin"]
        code, text = inspection.run(["useradd", "--system", "--user-group", *places, name])
        if code:
            raise InstallError(f"The account {name}, which is to install, cannot be made: useradd says {text}")
    found = _standing(name)
    if not found or not _was_made_here(found):
        raise InstallError(
            f"{name} is to install, and the account of that name is not the one that this collection makes. Rename or remove it."
        )
    return Account(name, found.pw_uid, found.pw_gid)


def nobody() -> Account | None:
    """The account that inspects untrusted files, if we are root."""
    return None if os.geteuid() else Account("nobody", 65534, 65534)


def standing() -> list[Account]:
    """Those that were made on this host."""
    found = [entry for entry in pwd.getpwall() if is_name(entry.pw_name) and _was_made_here(entry)]
    return [Account(entry.pw_name, entry.pw_uid, entry.pw_gid) for entry in found]


def _standing(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _was_made_here(entry: pwd.struct_passwd) -> bool:
    """A system account for no person, with a group of the same name, as `have` makes it."""
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return False
    return entry.pw_dir == _NOWHERE and 0 < entry.pw_uid < _FIRST_PERSON and group == entry.pw_name


def run(
    command: t.Sequence[str],
    account: Account | None,
    environment: dict[str, str],
    timeout: float,
    network: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program as an account, and end all processes that it has started. The output is the end of its own.

    :param network: whether it needs one. Without CAP_SYS_ADMIN, as in some containers, it cannot be kept from it
    :raises subprocess.TimeoutExpired: it was ended
    :raises OSError: it cannot be run
    """
    if account:
        adopt(True)  # whatever it starts stays below us
    limits = _limits()
    # Files: a pipe that a daemon inherits never ends.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
            # It ends with us, and has no sudo, and no crontab or at, which would run something later.
            [*(as_ids(account.uid, account.gid, [account.gid], "--pdeathsig=KILL") if account else []), *command],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            umask=0o022,
            preexec_fn=(lambda: _confine(limits, network)) if account else None,
        )
        try:
            _wait(process, account, timeout)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            wait_for_killed(process)
            end_processes(account)
        return subprocess.CompletedProcess(command, process.returncode, tail(output), tail(errors))


def _wait(process: subprocess.Popen[bytes], account: Account | None, timeout: float) -> None:
    """Wait for a program. A daemon of a package keeps the pipe that the program reads to its end: once the program has
    nothing else that runs, end the daemon.
    """
    give_up = time.monotonic() + timeout
    while True:
        try:
            process.wait(max(0.0, min(_LOOK_EVERY, give_up - time.monotonic())) if account else timeout)
            return
        except subprocess.TimeoutExpired:
            if not account or time.monotonic() >= give_up:
                raise subprocess.TimeoutExpired(process.args, timeout) from None
        alive = {
            pid: inspection.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split() for pid in _processes(account)
        }
        parents = {pid: int(fields[1]) for pid, fields in alive.items() if fields}
        if process.pid not in parents.values():
            for pid, parent in parents.items():
                if parent == os.getpid() and pid != process.pid:
                    _kill(pid, account)


def _kill(pid: int, account: Account) -> None:
    """Kill a process of the account, and no later one of the same pid."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if str(account.uid) in status_of(pid).get("Uid", "").split():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _limits() -> dict[int, int]:
    """Generous ones: they keep a mistake, or malice, from taking the host along."""
    return {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: max(memory_of_host("MemTotal"), 2 << 30),
        resource.RLIMIT_FSIZE: 16 << 30,
        resource.RLIMIT_NPROC: 4096,
    }


def _confine(limits: dict[int, int], network: bool) -> None:
    """In the child: limits, and the first to go when the host runs out of memory."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if not network:
        _LIBC.unshare(_CLONE_NEWNET)
    leave_keyring()


def end_processes(account: Account | None, everywhere: bool = False) -> None:
    """Kill all processes of an account: an installer may leave a daemon behind. Raise an error if one does not end.

    :param everywhere: whether to kill processes that others have started as well, as for our own accounts
    """
    if not account:
        return
    give_up = time.monotonic() + _PATIENCE
    while found := _processes(account, everywhere):
        if time.monotonic() > give_up:
            raise InstallError(f"processes of {account.name} do not end: {', '.join(map(str, found))}")
        for pid in found:
            _kill(pid, account)
        time.sleep(0.01)


def _processes(account: Account, everywhere: bool = False) -> list[int]:
    """Those of ours, and those that we have started. A container may run programs of its own under the same number."""
    parents, candidates = {}, []
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = status_of(name)  # not the owner of the folder: a process can have that say root
        if "Uid" not in fields:
            continue  # it ended meanwhile
        pid, parents[int(name)] = int(name), int(fields["PPid"])
        zombie = not stat_of(name)
        if str(account.uid) in fields["Uid"].split() and (not zombie or parents[pid] == os.getpid()):
            candidates.append(pid)
    return [
        pid
        for pid in candidates
        if _descends(pid, parents) or ((everywhere or account.is_ours) and not _is_of_container(pid))
    ]


def _descends(pid: int, parents: dict[int, int]) -> bool:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def _is_of_container(pid: int) -> bool:
    """Whether root has made the namespace of pids that a process is in. A user can make one only within a namespace of users."""
    theirs, ours = ([inspection.namespace_of(name, kind) for kind in ("pid", "user")] for name in (pid, "self"))
    return theirs[0] not in (ours[0], "") and theirs[1] in (ours[1], "")


def own_folder(path: str, account: Account) -> None:
    """Make a folder that only the account can read and write; the folder above is root's."""
    if os.path.lexists(path) and os.lstat(path).st_uid != account.uid:  # of an account that had the name before
        remove_tree(path)
    if not os.path.isdir(path):
        os.mkdir(path, 0o700)
        os.chown(path, account.uid, account.gid)


def hand_over(path: str, account: Account | None, folders_only: bool = False) -> set[tuple[int, int]]:
    """Give files that root has made to the account, to work on them.

    :param folders_only: the files stay root's: the account can remove them, and not change them
    :return: device and inode of each file that stays root's
    """
    kept: set[tuple[int, int]] = set()
    if not account or not os.path.isdir(path):
        return kept
    os.lchown(path, account.uid, account.gid)
    for folder, names, others in os.walk(path):
        for name in (*names, *others):
            entry = os.path.join(folder, name)
            status = os.lstat(entry)
            if folders_only and not stat.S_ISDIR(status.st_mode):
                kept.add((status.st_dev, status.st_ino))
            else:
                os.lchown(entry, account.uid, account.gid)
    return kept


def take_over(path: str, account: Account | None, kept: t.Container[tuple[int, int]] = ()) -> set[tuple[int, int]]:
    """Make root the owner of all that the account has made in a folder, and of nothing else.

    Nothing is followed. Links stay as they are; devices, pipes, sockets and the files of others are refused. Afterwards
    no other account can write any of it, neither through a link from outside nor through a descriptor that is still open.

    :param kept: paths that `hand_over` has left to root; they stay as they are
    :return: those of them that are still there. The inode of one that is gone may be another file's by now
    """
    if not account or not os.path.lexists(path):
        return set()
    end_processes(account)
    descriptor = os.open(path, _OPEN | os.O_DIRECTORY)
    try:
        work = _TakeOver(account, kept)
        work.folder(descriptor, path)
        return work.remaining
    finally:
        os.close(descriptor)


class _TakeOver:
    def __init__(self, account: Account, kept: t.Container[tuple[int, int]]) -> None:
        self.account = account
        self.kept = kept
        self.remaining: set[tuple[int, int]] = set()
        self.entries = 0

    def folder(self, descriptor: int, path: str, depth: int = 0) -> None:
        status = os.fstat(descriptor)
        self._check(status, path)
        if depth > _DEPTH_AT_MOST:
            self._refuse(path, f"is the {depth}th folder in a folder")
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, status.st_mode & _MODE_KEPT)
        for name in os.listdir(descriptor):
            self._entry(descriptor, name, os.path.join(path, name), depth)

    def _entry(self, folder: int, name: str, path: str, depth: int) -> None:
        self.entries += 1
        if self.entries > _ENTRIES_AT_MOST:
            self._refuse(path, f"is one of more than {_ENTRIES_AT_MOST} files")
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        identity = (status.st_dev, status.st_ino)
        if identity in self.kept and status.st_uid == 0 and not stat.S_ISDIR(status.st_mode):
            self.remaining.add(identity)
            return
        self._check(status, path)
        if stat.S_ISLNK(status.st_mode):
            os.chown(name, 0, 0, dir_fd=folder, follow_symlinks=False)
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        descriptor = os.open(name, _OPEN | (os.O_DIRECTORY if is_folder else 0), dir_fd=folder)
        try:
            if is_folder:
                self.folder(descriptor, path, depth + 1)
            else:
                self._file(folder, name, descriptor)
        finally:
            os.close(descriptor)

    def _file(self, folder: int, name: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if status.st_nlink == 1:
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, status.st_mode & _MODE_KEPT)
            if _is_open_for_nobody(descriptor):
                return
        _replace_by_copy(folder, name, descriptor, status)

    def _check(self, status: os.stat_result, path: str) -> None:
        if status.st_uid != self.account.uid:
            self._refuse(path, f"belongs to {inspection.user_name(status.st_uid)}")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            self._refuse(path, "is a device, a pipe or a socket")

    @staticmethod
    def _refuse(path: str, why: str) -> None:
        raise InstallError(f"a package has left something that no release may hold: {ascii(path)} {why}")


def _is_open_for_nobody(descriptor: int) -> bool:
    """Whether no process has a file open for writing that only root can open: then the kernel grants a lease on it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


def _replace_by_copy(folder: int, name: str, source: int, status: os.stat_result) -> None:
    """Put a file of root's in the place of one that has another name, or a writer, elsewhere."""
    copy = os.open(_COPY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(source, "rb", closefd=False) as old, os.fdopen(copy, "wb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fchmod(new.fileno(), status.st_mode & _MODE_KEPT)
        os.utime(new.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))  # byte code names the time of its source
    os.rename(_COPY, name, src_dir_fd=folder, dst_dir_fd=folder)
