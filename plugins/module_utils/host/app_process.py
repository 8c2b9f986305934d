# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process of an app that a module starts itself: as the app's user, bounded, and never longer than the module lives."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import shutil
import signal
import subprocess
import typing as t

from .adoption import wait_for_killed
from .keyring import leave_keyring

_OUTPUT_AT_MOST = 256 * 1024


def variables(account: pwd.struct_passwd, home: str, given: t.Mapping[str, str]) -> dict[str, str]:
    """The environment of the process, apart from the app's own variables and what `run.py` of the release adds."""
    return {
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        **given,
        "HOME": home,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
    }


def start(
    command: t.Sequence[str], account: pwd.struct_passwd, environment: dict[str, str], **files: t.Any
) -> subprocess.Popen:
    """Start a program as the app's user, in a session of its own. It is the first that the kernel ends when memory runs out."""
    return subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
        [*as_user(account), *command],
        cwd="/",
        env=environment,
        start_new_session=True,
        preexec_fn=_prepare,
        **files,
    )


def as_user(account: pwd.struct_passwd) -> list[str]:
    """The beginning of a command that root runs as a user."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        return []
    return as_ids(account.pw_uid, account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid))


def as_ids(uid: int, gid: int, groups: t.Iterable[int], *options: str) -> list[str]:
    """The same for numbers, with further options of setpriv.

    A process of root's becomes the user. A user can stop a process of its own between its change of user and its program, and Popen,
    which waits for the program, has no time-out. The first setpriv still opens its program with root's capabilities, the second does not.
    """
    ids = [f"--reuid={uid}", f"--regid={gid}", f"--groups={','.join(map(str, groups))}"]
    return [*without_new_rights(*ids), *without_new_rights(*options)]


def without_new_rights(*options: str) -> list[str]:
    """The beginning of a command to which no program gives other rights: no sudo, and no crontab or at, which would run something later."""
    return [
        shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin:/sbin") or "setpriv",
        *options,
        "--no-new-privs",
        "--",
    ]


def _prepare() -> None:
    leave_keyring()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")


def kill_group(process: subprocess.Popen) -> None:
    """End the process, and what it has started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    wait_for_killed(process)


def tail(stream: t.BinaryIO) -> str:
    """The end of what the process wrote into a file."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - _OUTPUT_AT_MOST))
    return stream.read(_OUTPUT_AT_MOST).decode("utf-8", "replace")  # it may have grown since


@contextlib.contextmanager
def ended_with_us(process: subprocess.Popen) -> t.Iterator[None]:
    """Have the group of ``process`` killed if this process ends within, however it ends: a child of its own waits for that."""
    reading, writing = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()
            os.close(writing)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):  # or Ansible, which reads our output, would wait for the guard
                os.dup2(nowhere, descriptor)
            if os.read(reading, 1) == b"":  # nobody has said that all is well, and nobody is left to
                os.killpg(process.pid, signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.write(writing, b"x")
        os.close(writing)
        os.waitpid(guard, 0)
