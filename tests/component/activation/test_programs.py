"""The programs of an app's release: they follow the instances to a new release, and back."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import command_line
from ansible_collections.pygun.stack.plugins.module_utils.activation import program_gate
from tests.component.supervised import eventually

#: Seconds (startsecs) in which a program that ends at once has ended, on a slow machine too.
LONG = 3

#: Notes its release, its environment and its beginning; finishes its task when it is asked to stop.
WORKER = """
    import os, signal, sys, time
    notes = os.path.join({notes!r}, sys.argv[1])
    def note(text):
        with open(notes, "a") as stream:
            stream.write(f"{{text}} {{VERSION}} {{os.environ.get('COLOUR')}} {{os.getpid()}}\\n")
    def stop(*_):
        time.sleep({task!r})
        note("end")
        sys.exit()
    signal.signal(signal.SIGTERM, stop)
    note("begin")
    print("at work in", os.getcwd(), flush=True)
    while True:
        time.sleep(0.05)
"""


class Site:
    """An app with workers in its releases."""

    def __init__(self, app):
        self.app = app
        self.notes = app.folder / "notes"
        self.notes.mkdir()
        (app.root / "shared").mkdir()
        self.declared = [{"name": "worker", "command": "python work.py worker"}]

    def release(self, work=None, task=0.0, **more):
        """A release with a worker in it, `work.py`."""
        release = self.app.release(**more)
        folder = self.app.root / "releases" / release
        text = textwrap.dedent(WORKER).format(notes=str(self.notes), task=task) if work is None else work
        (folder / "src" / "work.py").write_text(f"VERSION = {release!r}\n{text}")
        return release

    def deploy(self, release, **more):
        more.setdefault("programs", self.app.programs(*self.declared))
        return self.app.deploy(release, **more)

    def lines(self, name="worker"):
        path = self.notes / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def running(self, group="worker"):
        found = self.app.host.status().processes(f"{self.app.name}.{group}")
        return {process.name.removeprefix(f"{self.app.name}."): process for process in found}

    def release_of(self, process):
        return json.loads((self.app.run / f"{self.app.name}.{process}.json").read_text())["release"]


@pytest.fixture
def site(make_app):
    """With one instance: the programs follow when all are new, however many there are."""
    return Site(make_app(instances=1))


def ok(result):
    assert not result.get("failed"), result["msg"]
    return result


def test_a_new_release_restarts_the_program_on_its_code_after_the_instances(app):
    site = Site(app)
    first, second = site.release(task=0.5), site.release()
    result = ok(site.deploy(first))
    assert [(one["action"], one["release"]) for one in result["programs"]] == [("started", first)]
    assert not ok(site.deploy(first))["changed"]
    site.app.env_content = "COLOUR=green\n"
    trace = site.app.folder / "trace"
    result = ok(site.deploy(second, trace=trace))
    assert [(one["action"], one["release"]) for one in result["programs"]] == [("restarted", second)]
    told = [line[:3] for line in site.lines()]
    assert told == [["begin", first, "red"], ["end", first, "red"], ["begin", second, "green"]], "its task was finished"
    passed = trace.read_text().splitlines()
    group = f"{site.app.name}.worker"
    assert passed.index(f"gated {site.app.name}-1") < passed.index(f"before {group}") < passed.index("rolled")
    process = site.running()["worker"]
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(site.app.root / "releases" / second / "src")
    assert (site.app.log / f"{group}.log").read_text().count("at work in") == 2
    assert site.app.leftovers() == []
    assert not ok(site.deploy(second))["changed"]


@pytest.mark.parametrize(("options", "is_ours"), [(["-IB"], True), ([], False)])
def test_a_file_of_the_app_may_have_the_name_of_our_launcher(tmp_path, options, is_ours):
    (tmp_path / "launch.py").write_text("import time; print(flush=True); time.sleep(60)")
    command = [sys.executable, *options, str(tmp_path / "launch.py"), "/srv/app", "worker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert program_gate._is_launching(process.pid) == is_ours
        process.kill()


def test_a_program_that_dies_undoes_the_whole_activation(site):
    site.declared[0]["startsecs"] = LONG
    first = site.release()
    bad = site.release(work="import sys; print('no broker', flush=True); sys.exit(3)\n")
    ok(site.deploy(first))
    result = site.deploy(bad)
    assert result["failed"]
    assert (result["step"], result["rolled_back"]) == ("programs", True)
    assert "worker: it did not stay up" in result["msg"]
    assert "no broker" in result["msg"], "its own words"
    assert f"{bad}/run python work.py worker" in result["msg"], "a command that reproduces it"
    assert "The host is as it was before." in result["msg"]
    assert set(site.app.releases_running().values()) == {first}
    assert site.release_of("worker") == first == site.app.current
    assert site.running()["worker"].state == "RUNNING"
    assert site.app.leftovers() == []
    assert not ok(site.deploy(first))["changed"]


def test_the_way_back_leaves_alone_what_still_runs_the_release_of_before(site):
    site.declared[0].update(numprocs=2, startsecs=LONG)
    ok(site.deploy(first := site.release()))
    untouched = site.running()["worker-1"].pid
    assert site.deploy(site.release(work="raise SystemExit(3)"))["rolled_back"]
    assert [site.release_of(name) for name in ("worker-0", "worker-1")] == [first, first]
    assert site.running()["worker-1"].pid == untouched
    assert site.running()["worker-0"].state == "RUNNING"


def test_a_program_whose_broker_is_down_in_both_releases_does_not_hold_the_way_back(site):
    site.declared[0]["startsecs"] = LONG
    broker = site.notes / "broker"
    broker.touch()
    work = f"import os, sys, time; os.path.exists({str(broker)!r}) or sys.exit('no broker'); time.sleep(1000)"
    ok(site.deploy(first := site.release(work=work)))
    broker.unlink()
    result = site.deploy(second := site.release(work=work))
    assert result["rolled_back"]
    assert "The host is as it was before. In that release, too, " in result["msg"]
    assert set(site.app.releases_running().values()) == {first} == {site.release_of("worker")}
    assert site.app.leftovers() == []
    assert second not in site.app.state["failed"]
    broker.touch()
    eventually(lambda: site.running()["worker"].state == "RUNNING", 20)


def test_what_a_release_lacks_is_told_before_anything_is_touched(site):
    first, second = site.release(), site.release()
    ok(site.deploy(first))
    pids = site.app.pids()
    site.declared = [{"name": "worker", "command": "celery -A app worker"}]
    result = site.deploy(second)
    assert "there is no celery in its virtual environment" in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")
    site.declared = [{"name": "worker", "command": "bin/consumer"}]
    assert "bin/consumer. Correct the command" in site.deploy(second)["msg"]
    assert (site.app.pids(), site.release_of("worker")) == (pids, first)


def test_programs_come_change_and_go_by_their_files(site):
    release = site.release()
    ok(site.deploy(release))
    worker = site.running()["worker"].pid
    site.declared.append({"name": "beat", "command": "python work.py beat"})
    ok(site.deploy(release))
    assert site.running("beat")["beat"].state == "RUNNING"
    assert site.running()["worker"].pid == worker, "the other one is left alone"
    site.declared[1]["numprocs"] = 2
    predicted = site.deploy(release, check=True, diff=True)
    assert predicted["changed"]
    assert any("numprocs=2" in pair["after"] for pair in predicted["diff"])
    ok(site.deploy(release))
    assert sorted(site.running("beat")) == ["beat-0", "beat-1"]
    del site.declared[1]
    ok(site.deploy(release))
    assert site.running("beat") == {}
    assert site.running()["worker"].pid == worker
    assert sorted(path.name for path in site.app.conf.parent.glob(f"{site.app.name}.*")) == [
        f"{site.app.name}.conf",
        f"{site.app.name}.worker.conf",
    ]
    bad = site.release(work="raise SystemExit(1)\n")
    site.declared = [{"name": "other", "command": "python work.py other", "startsecs": LONG}]
    result = site.deploy(bad)
    assert result.get("rolled_back"), result
    assert (site.running("other"), sorted(site.running())) == ({}, ["worker"]), "the files and groups of before"
    assert site.release_of("worker") == release
    assert site.app.leftovers() == []


def test_a_program_whose_file_and_entry_are_gone_goes_too_and_a_foreign_one_stays(site):
    release = site.release()
    site.declared.append({"name": "beat", "command": "python work.py beat"})
    ok(site.deploy(release))
    conf = site.app.conf.parent
    (conf / f"{site.app.name}.beat.conf").unlink()
    (conf / "foreign.conf").write_text(f"[program:{site.app.name}.foreign]\ncommand=sleep 1000\n")
    del site.declared[1]
    predicted = ok(site.deploy(release, check=True))
    assert predicted["changed"]
    assert site.running("beat")["beat"].state == "RUNNING"
    worker = site.running()["worker"].pid
    assert ok(site.deploy(release))["changed"]
    assert site.running("beat") == {}
    assert site.running()["worker"].pid == worker
    assert not ok(site.deploy(release))["changed"]
    site.app.host.status().add_group(f"{site.app.name}.foreign")
    assert not ok(site.deploy(release))["changed"]
    assert site.running("foreign") != {}


#: Each alone with PYGUN_FULL=1.
CHANGES = ("release", "environment", "another program", "a setting", "release command")


@pytest.mark.parametrize(
    "changes",
    [CHANGES, ["one program less"], *(pytest.param([one], marks=pytest.mark.full) for one in CHANGES)],
    ids=lambda changes: changes[0] if len(changes) == 1 else "all of them",
)
def test_a_check_run_says_what_the_deploy_then_does(site, changes):
    release = site.release()
    ok(site.deploy(release))
    more = {"diff": True}
    if {"release", "release command"} & set(changes):
        release = site.release()
    if "release command" in changes:
        more.update(release_command="true", release_command_state="true")
    if "environment" in changes:
        site.app.env_content = "COLOUR=green\n"
    if "another program" in changes:
        site.declared.append({"name": "beat", "command": "python work.py beat"})
    if "one program less" in changes:
        site.declared.clear()
    if "a setting" in changes:
        site.declared[0]["stopsignal"] = "INT"
    predicted = ok(site.deploy(release, check=True, **more))
    done = ok(site.deploy(release, **more))
    for field in ("changed", "diff", "release", "bind"):
        assert predicted[field] == done[field], field
    assert bool(predicted["release_command"]) == bool(done["release_command"])
    for check in (True, False):
        again = ok(site.deploy(release, check=check, **more))
        assert not again["changed"], again["diff"]
        assert again["diff"] == []


@pytest.mark.parametrize("singleton", [False, True])
def test_processes_restart_one_after_the_other_and_those_of_a_singleton_never_overlap(site, singleton):
    site.declared = [{"name": "worker", "command": "python work.py worker", "numprocs": 2, "singleton": singleton}]
    ok(site.deploy(site.release(task=0.3)))
    ok(site.deploy(site.release(task=0.3)))
    order = [line[0] for line in site.lines()]
    assert order[2:] == (["end", "end", "begin", "begin"] if singleton else ["end", "begin", "end", "begin"])


#: With PYGUN_FULL=1 at each; these have more on the way than the others. The test kills a second run in between.
SOME = ("restarting {0}", "replacing {0}")
CHECKPOINTS = ("before {0}", "restarting {0}", "brought {0}", "file of {0}", "replacing {0}")


@pytest.mark.parametrize(
    "checkpoint", [pytest.param(one, marks=() if one in SOME else pytest.mark.full) for one in CHECKPOINTS]
)
def test_a_killed_run_is_finished_or_undone_by_the_next(site, checkpoint):
    first, second, third = site.release(), site.release(), site.release()
    ok(site.deploy(first))
    if checkpoint.startswith(("file", "replacing")):
        site.declared[0]["numprocs"] = 2
    at = checkpoint.format(f"{site.app.name}.worker")
    assert site.deploy(second, kill_at=at) is None, "it was not killed"
    assert site.app.current == first
    ok(site.deploy(second))
    assert {json.loads(path.read_text())["release"] for path in site.app.run.glob("*worker*.json")} >= {second}
    assert all(process.state == "RUNNING" for process in site.running().values())
    assert not ok(site.deploy(second))["changed"]
    if checkpoint == "restarting {0}" and not os.environ.get("PYGUN_FULL"):
        return  # the other one goes on
    before = sorted(site.running())
    site.declared[0]["stopsignal"] = "TERM"
    assert site.deploy(third, kill_at=f"file of {site.app.name}.worker") is None
    ok(site.app.rollback(second))
    assert sorted(site.running()) == before
    assert {site.release_of(name) for name in before} == {second}
    assert "stopsignal" not in (site.app.conf.parent / f"{site.app.name}.worker.conf").read_text()
    assert site.app.leftovers() == []


def test_the_whole_app_stops_starts_and_restarts_with_its_programs_and_one_by_its_name(site):
    release = site.release(task=0.3)
    ok(site.deploy(release))
    name = f"{site.app.name}.worker"
    pids = site.app.pids()
    ok(site.app.control("stopped", instance=name))
    assert site.running()["worker"].state == "STOPPED"
    assert [line[0] for line in site.lines()] == ["begin", "end"]
    assert site.app.pids() == pids
    predicted = site.app.control("started", check=True)
    assert [one["action"] for one in predicted["programs"]] == ["started"]
    result = ok(site.app.control("started"))
    assert ([one["action"] for one in result["programs"]], result["changed"]) == (["started"], True)
    worker = site.running()["worker"].pid
    ok(site.app.control("restarted", instance=name))
    assert site.running()["worker"].pid != worker
    ok(site.app.control("stopped"))
    assert set(site.app.states().values()) == {"STOPPED"} == {site.running()["worker"].state}
    ok(site.app.control("started"))
    worker = site.running()["worker"].pid
    ok(site.app.control("restarted"))
    assert site.running()["worker"].pid != worker
    assert site.release_of("worker") == release
    assert "Its programs: " + name in site.app.control("stopped", instance="nobody")["msg"]
    (launcher := site.app.root / "releases" / release / "lib" / "pygun_runtime" / "launch.py").rename(
        aside := f"{launcher}.x"
    )
    refused = site.app.control("restarted", instance=name)
    assert f"{name} could not start: release {release} has lost its lib/pygun_runtime/launch.py" in refused["msg"]
    assert site.running()["worker"].state == "RUNNING"
    os.rename(aside, launcher)


def test_a_start_leaves_alone_what_runs_of_a_singleton(site):
    site.declared = [{"name": "worker", "command": "python work.py worker", "numprocs": 2, "singleton": True}]
    ok(site.deploy(site.release()))
    kept = site.running()["worker-0"].pid
    ok(site.app.control("stopped", instance=f"{site.app.name}.worker-1"))
    result = ok(site.app.control("started"))
    assert [one["action"] for one in result["programs"]] == ["kept", "started"]
    assert {name: process.state for name, process in site.running().items()} == {
        "worker-0": "RUNNING",
        "worker-1": "RUNNING",
    }
    assert site.running()["worker-0"].pid == kept == result["programs"][0]["pid"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the command pygun needs root")
def test_the_command_pygun_says_which_programs_it_has_restarted(site, capsys):
    ok(site.deploy(release := site.release()))
    places = ["--base-dir", str(site.app.folder.parent), "--conf-dir", str(site.app.host.folder)]
    assert command_line.main([*places, "restart", site.app.name, "--instance", f"{site.app.name}.worker"]) == 0
    assert f"{site.app.name}.worker: restarted, release {release}, pid " in capsys.readouterr().out


def test_status_names_the_release_of_a_program_and_one_that_is_not_current(site):
    release = site.release()
    ok(site.deploy(release))

    def look():
        places = {"conf_dir": str(site.app.host.folder), "unit": "", "name": site.app.name}
        return site.app.run_module("status", base_dir=str(site.app.folder.parent), **places)

    found = look()
    assert [(one["name"], one["release"]) for one in found["programs"]] == [(f"{site.app.name}.worker", release)]
    assert found["problems"] == []
    record = site.app.run / f"{site.app.name}.worker.json"
    record.write_text(record.read_text().replace(release, "f" * 16))
    assert [one["what"] for one in look()["problems"]] == [f"runs release {'f' * 16}, and {release} is current"]


def test_a_rollback_to_a_release_from_before_the_program_removes_it_and_a_deploy_brings_it_again(site):
    first, second = site.release(), site.release()
    ok(site.deploy(first, programs=[]))
    consumer = site.app.root / "releases" / second / "src" / "consumer"
    consumer.write_text("#!/bin/sh\nexec sleep 1000\n")
    consumer.chmod(0o755)
    site.declared = [{"name": "worker", "command": "./consumer"}]
    ok(site.deploy(second))
    result = ok(site.app.rollback())
    assert (site.app.current, site.running()) == (first, {})
    assert "worker is removed" in str(result["warnings"])
    assert site.app.leftovers() == []
    ok(site.deploy(second))
    assert site.release_of("worker") == second
