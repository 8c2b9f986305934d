# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process of an app that a module starts itself: as the app's user, bounded, and never longer than the module lives."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import signal
import subprocess
import typing as t

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


def become(account: pwd.struct_passwd) -> None:
    """In the child: the app's user, and the first that the kernel ends when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")
    if os.geteuid() == 0 and account.pw_uid != 0:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def kill_group(process: subprocess.Popen) -> None:
    """End the process, and what it has started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
