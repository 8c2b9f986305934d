"""A run that is killed with SIGKILL, wherever: the service goes on answering, and the next run finishes or undoes it."""

import os
import signal
import time

import pytest

#: What a roll of two instances passes, in its order; `test_every_checkpoint_is_tried` keeps the list true.
ROLL = [
    "locked",
    "journal",
    "set aside app.env",
    "files",
    "before {0}",
    "restarting {0}",
    "restarted {0}",
    "gated {0}",
    "before {1}",
    "restarting {1}",
    "restarted {1}",
    "gated {1}",
    "rolled",
    "commit",
    "current",
    "state",
    "links",
    "committed",
]
#: ... and what an activation with a new program passes beyond that.
PROGRAM = ["set aside {conf}", "program conf", "candidates", "updating the group", "reconfigured"]
FIRST = [
    "journal",
    "files",
    "first current",
    "program conf",
    "candidates",
    "updating the group",
    "rolled",
    "commit",
    "current",
    "committed",
]
#: Those that differ most; `make test-full` tries them all.
SOME = ["files", "restarting {0}", "gated {1}", "commit", "current", "first current", "updating the group"]
#: Of a first deploy: before there is a program, with it, and after the commit.
FIRST_SOME = ["first current", "updating the group", "current"]
BACK = ["back", "files back", "back {0}"]


def all_or_some(checkpoints, some=SOME):
    return checkpoints if os.environ.get("PYGUN_FULL") else [name for name in checkpoints if name in some]


def named(app, checkpoint):
    return checkpoint.format(f"{app.name}-0", f"{app.name}-1", conf=app.conf.name)


def wait_for_the_lock(app):
    """Whatever the killed run has left working is done."""
    import fcntl

    with (app.root / "activation.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_every_checkpoint_is_tried(old):
    trace = old.folder / "trace"
    old.env_content = "COLOUR=green\n"
    old.deploy(old.release(), trace=trace)
    assert trace.read_text().splitlines() == [named(old, checkpoint) for checkpoint in ROLL]


@pytest.mark.parametrize("checkpoint", all_or_some(ROLL))
def test_a_deploy_that_is_killed_is_finished_by_the_next(old, load, checkpoint):
    before, new = old.current, old.release()
    old.env_content = f"COLOUR={new}\n"
    with load(old) as requests:
        assert old.deploy(new, kill_at=named(old, checkpoint)) is None, "it was not killed"
        killed = requests.sent
        result = old.deploy(new)
    assert requests.failures == []
    assert requests.sent > killed
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {new}
    assert old.get()[1].endswith(new), "the new environment"
    assert old.current == new
    assert [entry["release"] for entry in old.state["history"]].count(new) == 1
    assert old.state["previous"] == before
    assert old.leftovers() == []
    again = old.deploy(new)
    assert not again["changed"]


@pytest.mark.parametrize("checkpoint", all_or_some(ROLL[1:13], ["restarting {0}", "gated {1}"]))
def test_a_deploy_that_is_killed_is_undone_by_a_rollback_to_what_served(old, load, checkpoint):
    before, environment, new = old.current, old.env.read_text(), old.release()
    old.env_content = "COLOUR=unwanted\n"
    with load(old) as requests:
        assert old.deploy(new, kill_at=named(old, checkpoint)) is None
        assert old.current == before
        result = old.rollback(before)
    old.env_content = environment
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {before}
    assert old.env.read_text() == environment
    assert "unwanted" not in old.get()[1]
    assert old.current == before
    assert old.leftovers() == []


@pytest.mark.parametrize("checkpoint", BACK if os.environ.get("PYGUN_FULL") else BACK[2:])
def test_a_way_back_that_is_killed_is_finished_by_the_next_run(old, load, checkpoint):
    good, bad = old.release(), old.release(health="503 NO")
    with load(old) as requests:
        assert old.deploy(bad, kill_at=named(old, checkpoint)) is None
        result = old.deploy(good)
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {good}
    assert old.leftovers() == []


@pytest.mark.parametrize("checkpoint", all_or_some(PROGRAM))
def test_a_change_of_the_program_that_is_killed_is_finished_by_the_next_run(old, checkpoint):
    new = old.release()
    old.conf_extra = f"priority={int(new, 16)}\n"
    assert old.deploy(new, kill_at=named(old, checkpoint)) is None
    wait_for_the_lock(old)
    give_up = time.monotonic() + 10
    while True:  # a changed program costs a moment; then the service answers, although the run is dead
        try:
            assert old.get()[0] == 200
            break
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    result = old.deploy(new)
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {new}
    assert old.conf.read_text() == old.conf_content()
    assert old.leftovers() == []
    assert not old.deploy(new)["changed"]


@pytest.mark.parametrize("checkpoint", all_or_some(FIRST, FIRST_SOME))
def test_a_first_deploy_that_is_killed_is_finished_by_the_next(make_app, checkpoint):
    app = make_app(instances=1)
    release = app.release()
    assert app.deploy(release, kill_at=named(app, checkpoint)) is None
    result = app.deploy(release)
    assert not result.get("failed"), result["msg"]
    assert app.get() == (200, f"{release} red")
    assert app.state["history"][0]["from"] is None
    assert app.leftovers() == []


@pytest.mark.parametrize("checkpoint", ["updating the group"])
def test_a_first_deploy_that_is_killed_and_then_fails_leaves_nothing_behind(make_app, checkpoint):
    app = make_app(instances=1)
    assert app.deploy(app.release(), kill_at=named(app, checkpoint)) is None
    result = app.deploy(app.release(health="503 NO"))
    assert result["failed"]
    assert result["rolled_back"] is True
    assert app.host.status().processes(app.name) == []
    assert (app.current, app.conf.exists(), app.env.exists()) == (None, False, False)
    assert app.leftovers() == []


def test_an_interrupted_deploy_gives_way_to_another_release(old, load):
    first, second = old.release(), old.release()
    before = old.current
    with load(old) as requests:
        assert old.deploy(first, kill_at=named(old, "gated {0}")) is None
        result = old.deploy(second)
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {second}
    assert old.state["previous"] == before
    assert old.leftovers() == []


def test_two_at_once_one_wins_and_the_other_changes_nothing(old):
    before, new, other = old.current, old.release(), old.release()
    first = old.start(new, hold_at=f"gated {old.name}-0", retry_failed=True)
    held = old.folder / "held"
    while not held.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    pids = old.pids()
    second = old.deploy(other, by="somebody else")
    assert second["failed"]
    assert second["step"] == "lock"
    assert f"pid {first.pid}" in second["msg"]
    assert "tester" in second["msg"]
    assert "Nothing was changed." in second["msg"]
    assert old.pids() == pids
    assert old.current == before
    held.unlink()
    assert not old.outcome(first).get("failed")
    assert set(old.releases_running().values()) == {new}


def test_a_restart_that_was_begun_is_ended_even_if_the_run_is_killed_in_it(old, load):
    new, name = old.release(), f"{old.name}-0"
    # So that it takes a moment to stop: requests of several lengths are never all at their end.
    with load(old, "/slow/1.1"), load(old, "/slow/1.7"), load(old, "/slow/2.3"):
        run = old.start(new, retry_failed=True)
        while old.states()[name] != "STOPPING":
            assert run.poll() is None, "it must be caught in the act"
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        assert old.states()[name] == "STOPPING"
        wait_for_the_lock(old)
    assert old.states()[name] in ("STARTING", "RUNNING")
    assert not old.deploy(new).get("failed")
