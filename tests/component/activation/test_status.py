"""What `status` says of a real supervisord with real apps and programs in every state."""

import json
import os
import socket
import textwrap
from importlib import metadata

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import read_text
from ansible_collections.pygun.stack.plugins.module_utils.status_table import table
from tests.component.supervised import eventually


def look(app, **more):
    """No unit: the test's supervisord is none of systemd's."""
    found = app.run_module("status", **{"name": app.name, "unit": "", **more})
    assert not found.get("failed"), found
    return found


def told(found):
    return [f"{one['subject'].rpartition(':')[2]} {one['what']}" for one in found["problems"]]


@pytest.fixture
def running(old):
    result = old.control("started")
    assert not result.get("failed"), result["msg"]
    return old


@pytest.fixture
def program(host):
    """Programs that are not apps; they go when the test ends."""
    files = []

    def add(name, text):
        files.append((name, host.folder / "conf.d" / f"{name}.conf"))
        files[-1][1].write_text(f"[program:{name}]\n" + textwrap.dedent(text))
        host.status().reload_config()
        host.status().add_group(name)

    yield add
    for name, path in files:
        path.unlink()
        for process in host.status().processes(name):
            if process.state in ("RUNNING", "STARTING", "BACKOFF"):
                host.status().call("supervisor.stopProcess", process.full_name)
        host.status().reload_config()
        host.status().remove_group(name)


def test_a_served_app_is_as_it_should_be(running):
    found = look(running)
    assert found["problems"] == []
    assert found["ok"]
    (app,) = found["apps"]
    assert (app["name"], app["release"], app["logs"]) == (running.name, running.current, str(running.log))
    assert app["instances"] == {"ready": 2, "total": 2}
    assert app["workers"] == 2
    assert app["last_deploy"]["by"] == "tester"
    assert app["last_deploy"]["at"] == running.state["history"][-1]["at"] == app["since"]
    assert 0 <= app["age_s"] < 600
    pids = {one["name"]: one["pid"] for one in app["processes"]}
    assert pids == {**running.pids(), running.holder: running.holder_pid()}
    assert found["supervisord"]["state"] == "RUNNING"
    assert found["supervisord"]["version"]


def test_memory_is_that_of_masters_and_workers(running):
    (app,) = look(running)["apps"]
    pids = list(running.pids().values())
    for pid in list(pids):
        pids += map(int, read_text(f"/proc/{pid}/task/{pid}/children").split())
    assert len(pids) == 4
    texts = [read_text(f"/proc/{pid}/smaps_rollup") for pid in pids]
    expected = sum(int(text.partition("\nPss:")[2].split()[0]) for text in texts) * 1024
    assert app["memory"]["kind"] == "PSS"
    assert app["memory"]["bytes"] == pytest.approx(expected, rel=0.1)


def test_requests_are_counted_since_the_instances_were_started(running, eventually):
    running.control("restarted")
    before = look(running)["apps"][0]["requests"]
    for _ in range(9):
        assert running.get()[0] == 200
    eventually(lambda: look(running)["apps"][0]["requests"] >= before + 9)
    assert look(running)["apps"][0]["requests"] < before + 20


def test_without_a_name_every_app_of_the_host_is_told(running, make_app):
    other = make_app(instances=1)
    other.deploy(other.release())
    assert {running.name, other.name} <= {app["name"] for app in look(running, name="")["apps"]}
    assert [app["name"] for app in look(running)["apps"]] == [running.name]


def test_an_app_that_is_not_there_is_told_with_those_that_are(running):
    found = look(running, name="nobody")
    assert not found["ok"]
    assert running.name in told(found)[0]


def test_a_stopped_instance_is_told(running):
    running.control("stopped", instance=f"{running.name}-1")
    found = look(running)
    assert not found["ok"]
    assert told(found) == [f"{running.name}-1 is STOPPED"]
    assert found["apps"][0]["instances"] == {"ready": 1, "total": 2}


def test_an_instance_that_is_booting_is_not_ready(make_app):
    app = make_app()
    app.deploy(app.release())
    app.control("stopped", instance=f"{app.name}-1")
    source = app.root / "releases" / app.current / "src" / "wsgi.py"
    source.write_text("import time\ntime.sleep(60)\n" + source.read_text())
    app.host.status().start(f"{app.name}:{app.name}-1")
    assert told(look(app)) == [f"{app.name}-1 is not ready (0 of 1 workers are)"]


def test_another_release_than_the_current_one_is_told(make_app):
    app = make_app(instances=1)
    first, second = app.release(), app.release()
    app.deploy(first)
    link = app.root / "current"
    link.unlink()
    link.symlink_to(f"releases/{second}")
    assert told(look(app)) == [f"{app.name}-0 runs release {first}, and {second} is current"]


def test_a_worker_that_failed_its_health_check_at_boot_is_told(make_app):
    app = make_app(instances=1)
    app.deploy(app.release())
    source = app.root / "releases" / app.current / "src" / "wsgi.py"
    source.write_text(source.read_text().replace("200 OK", "503 Service Unavailable", 1))
    app.control("restarted", instance=f"{app.name}-0")
    (problem,) = told(look(app))
    assert problem.startswith(f"{app.name}-0 worker ")
    assert "failed" in problem
    assert "503" in problem


def test_a_gevent_worker_that_can_lose_requests_is_told(make_app):
    app = make_app(instances=1)
    settings = "worker_class = 'gevent'\n"
    app.deploy(app.release(settings=settings))
    found = look(app)
    assert found["apps"][0]["stock_gunicorn"] == metadata.version("gunicorn")
    assert told(found) == []  # the deploy warns, and status notes it


def test_the_holder_of_the_socket_is_no_instance_and_must_run(make_app):
    app = make_app(instances=1)
    app.deploy(app.release())
    assert look(app)["apps"][0]["instances"] == {"ready": 1, "total": 1}
    app.host.status().stop(f"{app.name}:{app.name}-1")
    assert any("holds the socket, but is STOP" in problem for problem in told(look(app)))


def test_an_interrupted_deploy_is_told_and_a_running_one_by_whom(make_app, eventually):
    app = make_app(instances=1)
    app.deploy(app.release())
    process = app.start(app.current, restart=True, hold_at="locked")
    eventually((app.folder / "held").exists)
    found = look(app)
    (app.folder / "held").unlink()
    app.outcome(process)
    assert not found["ok"]
    assert "by tester" in found["apps"][0]["transaction"]
    app.activate(app.current, restart=True, kill_at="rolled")
    assert "interrupted" in " ".join(told(look(app)))


def test_a_failed_release_and_a_rollback_are_known(make_app):
    app = make_app(instances=1)
    first, second, bad = app.release(), app.release(), app.release(source="import nothing_of_this_name")
    app.deploy(first)
    app.deploy(second)
    app.deploy(bad)
    app.rollback()
    (found,) = look(app)["apps"]
    assert [one["release"] for one in found["failed_releases"]] == [bad]
    assert found["release"] == first
    assert found["last_deploy"]["release"] == second


def test_an_environment_file_that_is_newer_than_the_instances_is_known(running):
    assert look(running)["apps"][0]["environment_changed"] is False
    kept = running.env.read_text()
    running.env.write_text("COLOUR=green\n")
    changed = look(running)
    running.env.write_text(kept)
    assert changed["apps"][0]["environment_changed"] is True
    assert changed["ok"]


def test_other_programs_are_told_with_what_is_wrong(running, program):
    program("worker", "command=sleep 1000\nstartsecs=0\n")
    program("once", "command=true\nstartsecs=0\nautorestart=false\n")
    program("broken", "command=sh -c 'exit 3'\nstartsecs=1\nstartretries=0\n")
    program("failed", "command=sh -c 'exit 3'\nstartsecs=0\nautorestart=false\n")
    program("manual", "command=sleep 1000\nautostart=false\n")
    running.host.status().call("supervisor.stopProcess", "worker")
    found = look(running, name="")
    states = {one["name"]: one["state"] for one in found["programs"]}
    assert states["once"] == "EXITED"
    wrong = {one["subject"]: one["what"] for one in found["problems"]}
    assert "autostart" in wrong["worker"]
    assert "once" not in wrong
    assert "manual" not in wrong
    assert wrong["broken"].startswith(("is FATAL", "is BACKOFF"))
    assert wrong["failed"] == "is EXITED with status 3"
    running.host.status().call("supervisor.startProcess", "worker")
    worker = {one["name"]: one for one in look(running, name="")["programs"]}["worker"]
    assert worker["state"] == "RUNNING"
    assert worker["memory"]["bytes"] > 0
    assert worker["uptime_s"] >= 0
    assert os.path.exists(f"/proc/{worker['pid']}")


def test_the_programs_of_another_app_are_not_told_with_an_app(running, make_app, program):
    other = make_app(instances=1)
    other.deploy(other.release())
    for name in (f"{running.name}-queue", f"{other.name}-queue", "anybody"):
        program(name, "command=sleep 1000\nstartsecs=0\n")
    assert {one["name"] for one in look(running)["programs"]} == {f"{running.name}-queue", "anybody"}
    assert len(look(running, name="")["programs"]) == 3


def test_a_supervisord_that_is_down_is_told(make_host):
    host = make_host()
    app = host.new_app(instances=1)
    app.deploy(app.release())
    host.shut_down()
    found = look(app)
    assert found["supervisord"]["state"] == "DOWN"
    assert "supervisord is not running" in told(found)[0]
    assert found["apps"][0]["instances"] == {"ready": 0, "total": 1}


def test_a_unit_that_is_not_enabled_is_told(running):
    found = look(running, unit="pygun-no-such-unit.service")
    assert any("after a reboot nothing runs" in problem for problem in told(found))


def test_the_table_of_what_was_found_can_be_read(running):
    text = table({"web-1": look(running)})
    assert "2/2 ready" in text
    assert "by tester" in text
    assert text.endswith("Everything is as it should be.")
    assert json.dumps(look(running))


def test_who_has_the_address_of_an_app_is_named_and_the_app_comes_when_it_is_free(make_host):
    host = make_host()
    app, other = host.new_app(instances=1), host.new_app(instances=1)
    for one in (app, other):
        result = one.deploy(one.release())
        assert not result.get("failed"), result["msg"]
    host.shut_down()
    with socket.create_server(("127.0.0.1", app.port)):
        host.boot()
        eventually(lambda: set(app.states().values()) == {"BACKOFF"} and set(other.states().values()) == {"RUNNING"})
        assert other.get()[0] == 200
        holder = f"pid {os.getpid()} ("
        problems = told(look(app, name=""))
        assert any("its socket cannot be opened" in one and holder in one for one in problems), problems
        assert any("is BACKOFF: cannot open its socket" in one for one in problems), problems
        assert not [one for one in problems if one.startswith(other.name)]
        before = app.current, app.state
        failed = app.deploy(app.release())
        assert f"supervisord cannot open its socket tcp://127.0.0.1:{app.port}: [Errno 98]" in failed["msg"]
        assert holder in failed["msg"]
        assert f"listens on 127.0.0.1:{app.port}" in failed["msg"]
        assert failed["msg"].endswith("Nothing was changed.")
        assert (app.current, app.state, app.leftovers()) == (*before, [])
    eventually(lambda: set(app.states().values()) == {"RUNNING"}, 15)
    assert not app.deploy(app.release()).get("failed")


def test_an_app_whose_address_is_taken_is_deployed_to_another(make_host):
    host = make_host()
    app = host.new_app(instances=1)
    assert not app.deploy(app.release()).get("failed")
    host.shut_down()
    with socket.create_server(("127.0.0.1", app.port)):
        host.boot()
        eventually(lambda: set(app.states().values()) == {"BACKOFF"})
        app.port = free_port()
        new = app.release()
        result = app.deploy(new)
        assert not result.get("failed"), result["msg"]
        assert app.releases_running() == {f"{app.name}-0": new}
        assert app.get()[0] == 200


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
