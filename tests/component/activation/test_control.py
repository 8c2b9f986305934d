"""The daily commands: start, stop, restart, restart one, restart by force."""

import http.client
import threading
import time

import pytest


def actions(result):
    assert not result.get("failed"), result["msg"]
    return {one["name"].rpartition("-")[2]: one["action"] for one in result["instances"]}


def differences(result):
    return {one["before_header"].rpartition("-")[2]: (one["before"], one["after"]) for one in result["diff"]}


#: A request takes longer than a module takes to start.
LONG = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    time.sleep({"/long": 2, "/slow": 0.3, "/endless": 15}.get(path, 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [VERSION.encode() + b" " + os.environ.get("COLOUR", "none").encode()]
"""


@pytest.fixture(scope="module")
def app(old):
    """A served app that the tests of this file share."""
    result = old.deploy(old.release(source=LONG))
    assert not result.get("failed"), result["msg"]
    return old


@pytest.fixture
def running(app):
    """With everything running."""
    result = app.control("started")
    assert not result.get("failed"), result["msg"]
    return app


def in_flight(app, answers, path="/long", callers=1):
    """Requests that have begun and will take a while; join what is returned."""

    def call():
        try:
            answers.append(app.get(path)[0])
        except (OSError, http.client.HTTPException) as error:
            answers.append(error)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    return threads


# -- stop and start --------------------------------------------------------------------------------------------------


def test_a_stop_finishes_the_requests_in_flight_and_a_start_serves_again(running):
    answers = []
    (caller,) = in_flight(running, answers)
    result = running.control("stopped")
    caller.join()
    assert actions(result) == {"0": "stopped", "1": "stopped"}
    assert result["changed"]
    assert answers == [200]
    assert set(running.states().values()) == {"STOPPED"}
    with pytest.raises(OSError):
        running.get()

    result = running.control("started")
    assert actions(result) == {"0": "started", "1": "started"}
    assert result["changed"]
    assert differences(result) == {"0": ("STOPPED\n", "RUNNING\n"), "1": ("STOPPED\n", "RUNNING\n")}
    assert running.get()[0] == 200


def test_what_runs_is_left_alone_by_a_start(running):
    before = running.pids()
    result = running.control("started")
    assert actions(result) == {"0": "kept", "1": "kept"}
    assert not result["changed"]
    assert result["diff"] == []
    assert running.pids() == before


def test_a_second_stop_changes_nothing(running):
    running.control("stopped")
    result = running.control("stopped")
    assert actions(result) == {"0": "kept", "1": "kept"}
    assert not result["changed"]


@pytest.mark.parametrize("state, action", [("stopped", "stopped"), ("restarted", "restarted")])
def test_check_mode_tells_and_touches_nothing(running, state, action):
    before = running.pids()
    instance = f"{running.name}-0"
    result = running.control(state, check=True, instance=instance)
    assert result["changed"]
    assert actions(result) == {"0": action}
    assert set(differences(result)) == {"0"}
    assert running.pids() == before
    assert running.control("started", check=True)["changed"] is False
    assert running.control("restarted", check=True)["changed"] is True
    assert running.pids() == before


def test_one_instance_can_be_stopped_and_started_while_the_other_serves(running, load):
    instance = f"{running.name}-0"
    with load(running) as callers:
        result = running.control("stopped", instance=instance)
        assert actions(result) == {"0": "stopped"}
        assert sorted(running.states().values()) == ["RUNNING", "RUNNING", "STOPPED"]
        assert actions(running.control("started", instance=instance)) == {"0": "started"}
    assert callers.failures == []


def test_a_deploy_starts_what_was_stopped(running):
    running.control("stopped")
    result = running.deploy(running.current)
    assert not result.get("failed"), result["msg"]
    assert running.get()[0] == 200


def test_a_stopped_app_with_one_instance_starts_with_the_holder_of_its_socket(single):
    assert actions(single.control("stopped")) == {"0": "stopped"}
    assert set(single.states().values()) == {"STOPPED"}
    assert single.control("started", check=True)["changed"]
    assert actions(single.control("started")) == {"0": "started"}
    assert set(single.states().values()) <= {"RUNNING", "STARTING"}
    assert single.get()[0] == 200


def test_a_start_that_fails_shows_what_the_instance_says(make_app):
    app = make_app(instances=1)
    release = app.release()
    app.deploy(release)
    app.control("stopped")
    source = app.root / "releases" / release / "src" / "wsgi.py"
    source.write_text("import nothing_of_this_name\n")
    result = app.control("started")
    assert result["failed"]
    assert "nothing_of_this_name" in result["msg"]
    assert result["step"] == "start"
    assert "pygun.stack.doctor" in result["msg"]
    assert result["code"]


# -- restart ---------------------------------------------------------------------------------------------------------


def test_a_restart_of_one_instance_loses_no_request_and_leaves_the_other_alone(running, load):
    before = running.pids()
    one, other = f"{running.name}-0", f"{running.name}-1"
    with load(running) as short, load(running, "/slow") as slow:
        result = running.control("restarted", instance=one)
    assert actions(result) == {"0": "restarted"}
    assert (short.failures, slow.failures) == ([], [])
    after = running.pids()
    assert after[one] != before[one]
    assert after[other] == before[other]


def test_a_restart_of_all_goes_one_after_the_other_and_reads_the_environment_anew(running, load):
    before = running.pids()
    kept = running.env.read_text()
    running.env.write_text("COLOUR=blue\n")
    with load(running) as callers:
        result = running.control("restarted")
    running.env.write_text(kept)
    assert actions(result) == {"0": "restarted", "1": "restarted"}
    assert callers.failures == []
    assert not set(before.values()) & set(running.pids().values())
    assert running.get()[1].endswith("blue")


def test_a_restart_of_the_only_instance_loses_no_request(single, load):
    before = single.holder_pid()
    with load(single) as callers:
        for result in (
            single.control("restarted", instance=f"{single.name}-0"),
            single.control("restarted"),
        ):
            assert actions(result) == {"0": "restarted"}
    assert callers.failures == []
    assert single.holder_pid() == before


def test_the_last_instance_that_serves_is_not_restarted_alone(running):
    one, other = f"{running.name}-0", f"{running.name}-1"
    running.control("stopped", instance=one)
    before = running.pids()
    result = running.control("restarted", instance=other)
    assert result["failed"]
    assert one in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert running.pids() == before
    result = running.control("restarted", instance=one)
    assert actions(result) == {"0": "started"}


def test_a_forced_restart_does_not_wait_for_requests_and_says_so(running):
    before, answers = running.pids(), []
    callers = in_flight(running, answers, path="/endless", callers=4)
    time.sleep(1)
    result = running.control("restarted", force=True)
    for caller in callers:
        caller.join()
    assert actions(result) == {"0": "restarted", "1": "restarted"}
    assert 200 not in answers
    assert max(one["stop_s"] for one in result["instances"]) < 4  # of 5 that a stop may take
    assert "in flight" in str(result["warnings"])
    assert not set(before.values()) & set(running.pids().values())
    assert running.get()[0] == 200


def test_nobody_is_refused_while_an_app_is_restarted_by_force(single):
    failures, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            try:
                single.get()
            except ConnectionRefusedError as error:
                failures.append(error)
            except OSError:
                pass  # in flight
            time.sleep(0.005)

    callers = threading.Thread(target=call)
    callers.start()
    result = single.control("restarted", force=True)
    stop.set()
    callers.join()
    assert actions(result) == {"0": "restarted"}
    assert failures == []


# -- refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_instance_is_refused_with_those_that_are_known(running):
    result = running.control("restarted", instance="scoring-7")
    assert result["failed"]
    for word in ("scoring-7", f"{running.name}-0, {running.name}-1", "Nothing was changed"):
        assert word in result["msg"]


def test_the_name_that_supervisorctl_uses_is_taken_too(running):
    assert actions(running.control("started", instance=f"{running.name}:{running.name}-1")) == {"1": "kept"}


def test_the_holder_of_the_socket_is_no_instance(single):
    result = single.control("restarted", instance=f"{single.name}-1")
    assert result["failed"]
    assert "holds the socket" in result["msg"]


@pytest.mark.parametrize("name", ["", "nobody"])
def test_an_unknown_app_is_refused_with_those_that_are_known(running, name):
    result = running.control("stopped", name=name)
    assert result["failed"]
    assert running.name in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_a_start_cannot_be_forced(running):
    assert "force" in running.control("started", force=True)["msg"]


def test_nothing_is_stopped_while_a_deploy_runs(running, eventually):
    deploy = running.start(running.current, restart=True, hold_at="locked")
    held = running.folder / "held"
    eventually(held.exists)
    result = running.control("stopped")
    held.unlink()
    running.outcome(deploy)
    assert result["failed"]
    assert result["step"] == "lock"
    assert "tester" in result["msg"]
    assert set(running.states().values()) <= {"RUNNING", "STARTING"}


def test_without_supervisord_it_says_where_to_look(make_host):
    host = make_host()
    app = host.new_app(instances=1)
    app.deploy(app.release())
    host.shut_down()
    result = app.control("started")
    assert result["failed"]
    assert "systemctl status supervisord" in result["msg"]
