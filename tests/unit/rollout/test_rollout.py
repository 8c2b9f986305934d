"""A rollout that did not reach every host is undone where it is in service, and nowhere else."""

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils.rollout import describe, to_roll_back


def host(*deploys, current=None):
    """A host with its activations: (release, moment, rollout), a fourth entry marks a rollback."""
    history = [
        {"release": release, "at": f"2026-01-01T00:{moment:02}:00.000Z", "by": "me", "rollout": rollout}
        | ({"rollback": True} if more else {})
        for release, moment, rollout, *more in deploys
    ]
    return {"current": current or (history[-1]["release"] if history else None), "previous": None, "history": history}


OLD, NEW = ("old", 1, "r1"), ("new", 9, "r2")

CASES = {
    "all hosts have it": ({"a": host(OLD, NEW), "b": host(OLD, NEW)}, ["a", "b"]),
    "the canary alone has it": ({"a": host(OLD, NEW), "b": host(OLD), "c": host(OLD)}, ["a"]),
    "a rollback was cut off": ({"a": host(OLD, NEW, ("old", 12, "", True)), "b": host(OLD, NEW)}, ["b"]),
    "a rollback was cut off, the other way round": (
        {"a": host(OLD, NEW), "b": host(OLD, NEW, ("old", 12, "", True))},
        ["a"],
    ),
    "it was rolled back, and so is the one before": (
        {name: host(("older", 0, "r0"), OLD, NEW, ("old", 12, "", True)) for name in "ab"},
        ["a", "b"],
    ),
    "an older content was deployed again": (
        {"a": host(OLD, NEW, ("old", 20, "r3")), "b": host(OLD, NEW)},
        ["a"],
    ),
    "two kinds of hosts got two releases from one run": (
        {"a": host(OLD, NEW), "b": host(("old-b", 1, "r1"), ("new-b", 9, "r2")), "c": host(OLD)},
        ["a", "b"],
    ),
    "a run was cut off and continued by another": (
        {"a": host(OLD, NEW), "b": host(("old-b", 1, "r1"), ("new-b", 11, "r3")), "c": host(OLD, ("new", 11, "r3"))},
        ["a", "b", "c"],
    ),
    "a host is new": ({"a": host(OLD, NEW), "b": host(NEW)}, ["a", "b"]),
    "a host has nothing": ({"a": host(OLD, NEW), "b": host()}, ["a"]),
    "no host has anything": ({"a": host()}, []),
    "nobody remembers how it came there": ({"a": host(current="x"), "b": host(current="x")}, ["a", "b"]),
    "one host alone": ({"a": host(OLD, NEW)}, ["a"]),
}


@pytest.mark.parametrize("states, expected", CASES.values(), ids=CASES)
def test_the_newest_rollout_is_undone_where_it_is(states, expected):
    assert to_roll_back(states) == expected


def test_who_runs_what_is_told_for_every_host():
    states = {"a": host(OLD, NEW), "b": host(OLD), "c": host(OLD), "d": None, "e": host()}
    assert describe(states, ["new"]) == (
        "- d: cannot be asked\n- e: no release\n- a: the new release new\n- b, c: the old release old"
    )
    assert describe({"a": host(OLD)}) == "- a: release old"
