# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How an activation fails."""

from __future__ import annotations

import errno
import time
import typing as t

from ..diagnosis.log_tail import LogMark
from ..instance.public_socket import SocketError
from ..supervisor.rpc import SupervisorError


class ActivationError(Exception):
    """The activation did not happen. ``facts`` is what the module returns besides the message."""

    def __init__(self, message: str, **facts: t.Any) -> None:
        super().__init__(message)
        self.facts = facts


class StepFailure(Exception):
    """Something failed inside the transaction; the way back begins here."""

    def __init__(
        self,
        why: str,
        instance: str = "",
        log_file: str = "",
        log: str = "",
        blames_release: bool = False,
        reproduce: str = "",
        command: str = "",
    ) -> None:
        super().__init__(why)
        self.why = why
        self.instance = instance
        self.log_file = log_file
        self.log = log
        self.blames_release = blames_release
        self.reproduce = reproduce  # a command that shows the same failure, if the report cannot work it out
        self.command = command  # of a program; {release} is the release's directory

    @classmethod
    def of(cls, name: str, why: str, begun: float, mark: LogMark | None, **facts: t.Any) -> StepFailure:
        """The failure of a process: the seconds since its start, and its log lines since the mark."""
        return cls(
            f"{name}: {why}, after {time.monotonic() - begun:.1f} s",
            instance=name,
            log_file=mark.path if mark else "",
            log=mark.since() if mark else "",
            **facts,
        )


def error_text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}"
    if isinstance(error, (StepFailure, SupervisorError, SocketError, OSError)):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"
