# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find out whether a release could serve, before a running instance is touched.

The release is tried in a process of its own, as the app's user, within limits of time and memory
(`pygun_runtime/preflight.py`, which travels in the release). The answer is its output and the way in which it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import subprocess
import tempfile
import time
import typing as t

from ..diagnosis import phrases
from ..diagnosis.symptoms import TOOK_TOO_MUCH
from ..host import foreign
from ..host.adoption import daemons_ended
from ..host.app_process import kill_group, start, tail, variables
from ..host.inspection import memory_of_host, memory_used
from ..host.text import name_of_signal

#: Seconds beyond the release's own boot timeout, after which the process group is killed.
MARGIN = 5.0
#: Seconds between two looks at the memory.
_LOOK = 0.05
_ENDED, _LATE, _TOO_BIG = "ended", "late", "too big"
_WARNINGS_AT_MOST = 5
_WARNING_AT_MOST = 1000  # characters


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the try ended. ``problem`` is empty when the release may serve; ``output`` is what it printed."""

    step: str
    problem: str
    output: str
    facts: dict[str, t.Any]


def try_release(
    path: str,
    user: str,
    home: str,
    boot_timeout: float,
    memory_limit: int = 0,
    environment: t.Mapping[str, str] | None = None,
) -> Outcome:
    """Try the release at ``path`` as ``user``.

    :param boot_timeout: seconds for importing the app and its health check, as in the release's pygun.py
    :param memory_limit: bytes of memory it may take; 0: the free memory of the host
    :param environment: variables that an instance gets from supervisord, without the app's own
    """
    account = pwd.getpwnam(user)
    limit = memory_limit or memory_of_host("MemAvailable")
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as answer,
        daemons_ended(),
    ):  # files: a pipe that a daemon inherits never ends
        process = start(
            _command(path, str(answer.fileno())),
            account,
            {**variables(account, home, environment or {}), "PYGUN_PREFLIGHT": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[answer.fileno()],
        )
        end = _wait(process, boot_timeout + MARGIN, limit)
        kill_group(process)  # also what the app has started
        said = list(_announced(tail(answer)))
        text = tail(output)
    if end == _TOO_BIG:
        given = "" if memory_limit else ", which the host has free"
        problem = f"the app {TOOK_TOO_MUCH} {limit >> 20} MB{given}"
        return Outcome(_step(said), problem, text, {})
    return _judge(said, text, process.returncode, end == _LATE, boot_timeout)


def _command(path: str, descriptor: str) -> list[str]:
    """The program that tries a release, with the app's environment; an older runtime reads that later."""
    python = os.path.join(path, "venv", "bin", "python")
    program, run = (os.path.join(path, "lib", "pygun_runtime", name) for name in ("preflight.py", "run.py"))
    if os.path.exists(run):
        return [python, "-IS", run, python, program, descriptor]
    return [python, "-I", program, descriptor]


def _wait(process: subprocess.Popen, seconds: float, limit: int) -> str:
    """Wait until the process has ended, is late, or has taken too much memory with its children.

    Reserved memory does not count: libraries reserve much more than they use.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            process.wait(_LOOK)
            return _ENDED
        except subprocess.TimeoutExpired:
            if limit and memory_used(process.pid) > limit:
                return _TOO_BIG
            if time.monotonic() > deadline:
                return _LATE


def _announced(text: str) -> t.Iterator[dict[str, t.Any]]:
    """The lines that can be understood; the app could have written them, so each value is of its kind."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            if line.startswith("{"):
                said = foreign.parse(line)
                yield {
                    name: _bounded(name, said[name])
                    for name in ("step", "asks", "problem", "late", "done")
                    if name in said
                }


def _bounded(name: str, value: t.Any) -> t.Any:
    if name == "done":
        return {str(key): fact for key, fact in value.items() if _is_fact(fact)} if isinstance(value, dict) else {}
    return value is True if name == "late" else foreign.printable(str(value), _WARNING_AT_MOST)


def _is_fact(value: t.Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) and _can_be_sent(one) for one in value)
    if isinstance(value, (int, float)):
        return 0 <= value < foreign.LARGEST_NUMBER
    return isinstance(value, str) and _can_be_sent(value)


def _can_be_sent(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def warnings_of(facts: dict[str, t.Any]) -> list[str]:
    """Warnings of a release that may serve. The app could have written them, so their size is bounded."""
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
    workers, own = (value if isinstance(value, int) else 0 for value in map(facts.get, ("workers", "own_memory_kb")))
    own *= 1024
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


def _step(said: list[dict[str, t.Any]]) -> str:
    return next((line["step"] for line in reversed(said) if "step" in line), "start")


def _judge(said: list[dict[str, t.Any]], output: str, code: int, late: bool, boot_timeout: float) -> Outcome:
    step = _step(said)
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
        problem = f"the process was terminated by {name_of_signal(-code)}"
    elif code == 1 and "Traceback (most recent call last)" in output:
        problem = foreign.printable(output.rstrip().splitlines()[-1])
    else:
        problem = f"the app ended the process with exit code {code}"
    return Outcome(step, problem, output, {})
