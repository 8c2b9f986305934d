# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe which releases a fleet runs, and choose how to undo its last rollout, from the history of each host.

A state is what the module ``release_info`` returns of a host: ``current``, ``previous``, ``history``. To be described, what
the module ``release`` returns will do.
"""

from __future__ import annotations

import typing as t

State = t.Mapping[str, t.Any]


def to_roll_back(states: t.Mapping[str, State]) -> list[str]:
    """The hosts on which the fleet's newest rollout is in service.

    Only they go back to what they served before: a host that the rollout never reached, or that has been rolled back
    already, would go one further. Hosts belong to the same rollout if they serve the same release, or were deployed to
    by the same run (hosts of two kinds get two releases from one run, and a run that was cut off is continued by another
    that finds the same release). The newest rollout is the one with the latest deploy; a rollback is not a deploy.
    """
    standing = {host: state for host, state in states.items() if state.get("current")}
    groups: list[tuple[set[str], set[str]]] = []  # hosts, marks that tie them together
    for host, state in standing.items():
        hosts, marks = {host}, _marks(state)
        apart = []
        for others, tied in groups:
            if marks & tied:
                hosts, marks = hosts | others, marks | tied
            else:
                apart.append((others, tied))
        groups = [*apart, (hosts, marks)]
    if not groups:
        return []
    newest, _marks_of_newest = max(groups, key=lambda group: max(_deployed_at(standing[host]) for host in group[0]))
    return [host for host in states if host in newest]


def _deploy(state: State) -> t.Mapping[str, t.Any]:
    """How the current release last came to the host by a deploy."""
    found = [
        entry
        for entry in state.get("history") or ()
        if entry.get("release") == state["current"] and not entry.get("rollback")
    ]
    return found[-1] if found else {}


def _marks(state: State) -> set[str]:
    rollout = _deploy(state).get("rollout")
    return {f"release {state['current']}"} | ({f"rollout {rollout}"} if rollout else set())


def _deployed_at(state: State) -> str:
    return str(_deploy(state).get("at") or "")


def describe(states: t.Mapping[str, State | None], new: t.Iterable[str] = ()) -> str:
    """Which hosts run what, one line for each release; ``new`` names the releases that are being rolled out."""
    wanted = set(new)
    found: dict[str, list[str]] = {}
    for host, state in states.items():
        current = (state or {}).get("current") or (state or {}).get("release")
        if not current:
            what = "no release" if state and "current" in state else "cannot be asked"
        else:
            kind = "release" if not wanted else "the new release" if current in wanted else "the old release"
            what = f"{kind} {current}"
        found.setdefault(what, []).append(host)
    return "\n".join(f"- {', '.join(hosts)}: {what}" for what, hosts in sorted(found.items()))
