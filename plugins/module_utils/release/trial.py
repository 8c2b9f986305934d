# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a release could serve, found out before anything that runs is touched.

The release is tried in a process of its own, as the app's user, within limits of time and memory
(`pygun_runtime/preflight.py`, which travels in the release). What that process says, and how it ends, is the answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import resource
import signal
import subprocess
import tempfile
import typing as t

from ..diagnosis import phrases
from ..host import foreign
from ..host.inspection import memory_of_host

#: Seconds beyond the release's own boot timeout, after which the process group is killed.
MARGIN = 5.0
_OUTPUT_AT_MOST = 256 * 1024
_WARNINGS_AT_MOST = 5
_WARNING_AT_MOST = 1000  # characters


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the try ended. ``problem`` is empty when the release may serve; ``output`` is what it printed."""

    step: str
    problem: str
    output: str
    facts: dict[str, t.Any]


def try_release(path: str, user: str, home: str, boot_timeout: float, memory_limit: int = 0) -> Outcome:
    """Try the release at ``path`` as ``user``.

    :param boot_timeout: seconds for importing the app and its health check, as in the release's pygun.py
    :param memory_limit: bytes of memory it may take; 0 is what the host has free
    """
    program = os.path.join(path, "lib", "pygun_runtime", "preflight.py")
    account = pwd.getpwnam(user)
    environment = {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }
    limit = memory_limit or memory_of_host("MemAvailable")
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as answer,
    ):  # files: a pipe that a daemon inherits never ends
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
            [os.path.join(path, "venv", "bin", "python"), "-I", program, str(answer.fileno())],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[answer.fileno()],
            start_new_session=True,
            preexec_fn=lambda: _become(account, limit),
        )
        try:
            process.wait(boot_timeout + MARGIN)
            late = False
        except subprocess.TimeoutExpired:
            late = True
        _kill_group(process)
        said = list(_announced(_tail(answer)))
        text = _tail(output)
    return _judge(said, text, process.returncode, late, boot_timeout)


def _tail(stream: t.BinaryIO) -> str:
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - _OUTPUT_AT_MOST))
    return stream.read().decode("utf-8", "replace")


def _announced(text: str) -> t.Iterator[dict[str, t.Any]]:
    """The lines that can be understood; the app could have written between them."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            if line.startswith("{"):
                yield foreign.parse(line)


def _become(account: pwd.struct_passwd, memory: int) -> None:
    """In the child: the app's user, and no more memory than the limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if os.geteuid() == 0:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # also what the app has started
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def warnings_of(facts: dict[str, t.Any]) -> list[str]:
    """What a release that may serve has to be warned of; the app could have written it, so it is bounded."""
    said = facts.get("warnings")
    said = [text for text in said if isinstance(text, str)] if isinstance(said, list) else []
    return [
        "".join(sign if sign.isprintable() else " " for sign in text[:_WARNING_AT_MOST])
        for text in said[:_WARNINGS_AT_MOST]
    ]


def too_many_workers(facts: dict[str, t.Any], instances: int, total: int) -> str:
    """A warning if the workers that a release asks for cannot all be in memory, by what one took when it was tried.

    The estimate is a low one: requests take memory too. With `preload_app` the workers of an instance share what was imported,
    until they write to it.

    :param total: bytes of memory that the host has
    """
    workers, own = facts.get("workers", 0), facts.get("own_memory_kb", 0) * 1024
    needed = own * instances * (1 if facts.get("preload") else workers)
    if not total or needed <= total:
        return ""
    return (
        f"{instances} instances with {workers} workers each need {needed >> 20} MB of memory, before the first request, and the host"
        f" has {total >> 20} MB: one took {own >> 20} MB when it was tried. Lower flask_app_workers, or load the app once in each"
        " instance (flask_app_preload)."
    )


def _ended_by_watchdog(output: str, code: int) -> bool:
    """Whether the release's own limit ended the process where no code of it could run any more and announce it.

    A release of an older runtime announces nothing, but prints that the master is late.
    """
    return phrases.MASTER_LATE in output or (code == 1 and phrases.STACKS in output)


def _judge(said: list[dict[str, t.Any]], output: str, code: int, late: bool, boot_timeout: float) -> Outcome:
    step = next((line["step"] for line in reversed(said) if "step" in line), "start")
    facts = next((line["done"] for line in said if "done" in line), None)
    problem = next((line["problem"] for line in said if "problem" in line), "")
    if facts is not None:
        return Outcome(step, "", output, facts)
    if problem:
        return Outcome(step, problem, output, {})
    if late or any(line.get("late") for line in said) or _ended_by_watchdog(output, code):
        asked = next((line["asks"] for line in reversed(said) if "asks" in line), "")
        problem = f"GET {asked} did not answer" if asked else "not ready"
        problem += f" within {boot_timeout:g} s"
    elif code < 0:
        problem = f"the process was terminated by {signal.Signals(-code).name}"
    elif code == 1 and "Traceback (most recent call last)" in output:
        problem = output.rstrip().splitlines()[-1]
    else:
        problem = f"the app ended the process with exit code {code}"
    return Outcome(step, problem, output, {})
