# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leave out findings that another finding explains: a reader wants causes, not consequences."""

from __future__ import annotations

import typing as t

from .findings import Finding


def _anywhere(_cause: Finding, _effect: Finding) -> bool:
    return True


def _same_app(cause: Finding, effect: Finding) -> bool:
    return cause.app == effect.app


def _same_subject(cause: Finding, effect: Finding) -> bool:
    return cause.subject == effect.subject


def _same_folder(cause: Finding, effect: Finding) -> bool:
    """Whether the file that the effect misses belongs into the directory that the cause misses."""
    return bool(cause.missing) and effect.missing.startswith(f"{cause.missing}/")


#: An instance asks the keeper of its app for the socket.
_IS_FROZEN = (_same_app, ("process-stopped",))
_INSTANCE_IS_DOWN = (
    (_anywhere, ("disk-full", "inodes-full")),
    (_same_app, ("permission-denied", "run-dir-missing", "log-dir-missing")),
    (_same_subject, ("record-unreadable",)),
)
_SOCKET_IS_NOT_OPENED = (
    (_same_app, ("port-taken", "orphan")),
    (_anywhere, ("supervisor-second",)),
)
_NOT_READABLE = ("conf-section", "conf-missing", "conf-invalid", "hidden-character")
_UNIT_IS_DOWN = (
    (_anywhere, ("unit-masked", "unit-disabled", "unit-missing")),
    (_anywhere, ("conf-missing", "conf-invalid", "hidden-character")),
    (_anywhere, ("supervisor-value", "supervisor-syntax", "supervisor-section")),
    (_anywhere, ("supervisor-second", "web-port-taken")),
)
#: Kind of a finding -> where its cause must be, and the codes of the findings that explain it there.
EXPLAINED_BY: dict[str, tuple[tuple[t.Callable[[Finding, Finding], bool], tuple[str, ...]], ...]] = {
    "conf-missing": ((_anywhere, ("unit-missing",)),),
    "parser": ((_anywhere, ("hidden-character",)), (_same_folder, ("log-dir-missing",))),
    "stale-files": _UNIT_IS_DOWN,
    "unit-failed": _UNIT_IS_DOWN,
    "unit-stopped": _UNIT_IS_DOWN,
    "supervisorctl": ((_anywhere, _NOT_READABLE),),
    "supervisord-silent": ((_anywhere, _NOT_READABLE),),
    "program-missing": (
        (_anywhere, ("supervisor-syntax", "supervisor-value", "hidden-character", "conf-invalid")),
    ),
    "program-not-loaded": _SOCKET_IS_NOT_OPENED,
    "socket-not-opened": _SOCKET_IS_NOT_OPENED,
    "socket-unit": _SOCKET_IS_NOT_OPENED,
    "instance-stopped": _INSTANCE_IS_DOWN,
    "instance-failed": (*_INSTANCE_IS_DOWN, _IS_FROZEN),
    "instance-not-ready": (*_INSTANCE_IS_DOWN, _IS_FROZEN),
    "instance-silent": ((_same_subject, ("process-stopped",)),),
    "other-release": ((_same_app, ("interrupted-activation", "failed-activation")),),
    "not-answering": ((_same_app, ("health-failing", "instance-silent", "process-stopped")),),
    "memory": ((_anywhere, ("out-of-memory",)),),
}  # fmt: skip


def explain(findings: list[Finding]) -> list[Finding]:
    """The findings without those that another one explains, in their order.

    A finding that is left out explains others all the same: its own cause is theirs too.
    """
    left = []
    for effect in findings:
        causes = [cause for cause in findings if cause is not effect and _explains(cause, effect)]
        for cause in causes:
            if effect.consequence and not cause.names_unit:
                cause.symptom += effect.consequence
        if not causes:
            left.append(effect)
    return left


def _explains(cause: Finding, effect: Finding) -> bool:
    return any(cause.code in codes and holds(cause, effect) for holds, codes in EXPLAINED_BY.get(effect.kind, ()))
