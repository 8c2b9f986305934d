"""The steps of `./dev test`: what they share, and in which order they may run beside each other."""

import time

import pytest

from tools import checks


@pytest.fixture(params=["molecule default", "sanity, ansible-core 2.21"])
def ran(request, monkeypatch):
    """Every step of a whole run as ("begins" or "ends", name). None does anything, and one is slower than all others."""
    seen = []

    def step(tally, name, _action):
        seen.append(("begins", name))
        time.sleep(0.5 if name == request.param else 0.005)
        seen.append(("ends", name))
        tally.passed += 1

    monkeypatch.setattr(checks.Tally, "step", step)
    monkeypatch.setattr(checks, "ansible_versions", lambda: [("2.19", None), ("2.21", None)])
    monkeypatch.setattr(checks.sanity, "build", lambda: None)
    monkeypatch.setattr(checks.sanity, "unpack", lambda _artifact: None)
    tally = checks.Tally()
    for run_checks in (checks.lint, checks.unit_first, checks.in_lanes):
        run_checks(tally)
    assert len(seen) == 2 * tally.passed
    return seen


def test_no_scenario_begins_before_the_snapshot_that_it_starts_from(ran):
    end = ran.index(("ends", "molecule default"))
    copies = [name for name in checks.scenarios() if checks.starts_from_snapshot(name)]
    assert copies
    assert [name for name in copies if ran.index(("begins", f"molecule {name}")) < end] == []
    assert {name for _what, name in ran if name.startswith("molecule ")} == {
        f"molecule {name}" for name in checks.scenarios()
    }


def test_what_uses_the_artifact_runs_one_after_the_other(ran):
    """Each builds it in the same folder."""
    using = [one for one in ran if one[1].startswith(("sanity", "the artifact", "the upgrade"))]
    assert len(using) >= 6
    for begun, ended in zip(using[::2], using[1::2], strict=True):
        assert (begun[0], ended) == ("begins", ("ends", begun[1]))


def test_the_end_names_what_took_longest_first(capsys):
    tally = checks.Tally(passed=2, seconds={"short": 1.4, "long": 100.0})
    assert tally.end() == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")] == [
        ["100", "long"],
        ["1", "short"],
    ]
