"""Findings about instances and other programs: each from its state."""

import dataclasses

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import phrases
from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import Disk, ProgramState
from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import Answer
from ansible_collections.pygun.stack.plugins.module_utils.instance.running_programs import RunningProgram
from ansible_collections.pygun.stack.plugins.module_utils.release.record import Question
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.release_programs import ReleaseProgram
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Process
from tests.unit.doctor.hosts import RELEASE, app, codes, host, instance, only

LATE = f"WORKER TIMEOUT (pid:7)\n{phrases.CUT_OFF} GET /slow\n{phrases.WORKER_BLOCKED}\n"
FRAME = '  File "/srv/shop/releases/0/src/views.py", line 7, in predict\n'
KILLED = "Worker (pid:8) was sent SIGKILL! Perhaps out of memory?"


def ill(*instances, **fields):
    """A host whose app has these instances."""
    seen = app()
    seen.instances = list(instances)
    state = host(seen)
    return dataclasses.replace(state, **fields)


# -- instances that do not serve


@pytest.mark.parametrize("state", ["STOPPED", "STOPPING"])
def test_a_stopped_instance_is_found(state):
    only(ill(instance(0, state)), "instance-stopped", f"shop-0 is {state}", subject="shop:shop-0")


def test_an_instance_that_does_not_boot_is_found_with_its_own_words_and_what_they_mean():
    log = "Starting gunicorn 1\nold\nStarting gunicorn 1\nModuleNotFoundError: No module named 'gone'\n"
    finding = only(ill(instance(0, "FATAL", "Exited too quickly", log)), "instance-failed", "imports gone")
    assert finding.symptom.startswith(
        "shop-0 is FATAL (Exited too quickly). It says:\n    Starting gunicorn 1\n    Mod"
    )


def test_an_instance_that_has_said_nothing_yet_is_judged_by_its_try_before():
    log = "Starting gunicorn 1\nImportError: bad\nStarting gunicorn 1\n"
    starting = instance(0, "STARTING", log=log, uptime=1.0)
    only(ill(starting), "instance-failed", "An import fails: bad")
    only(ill(dataclasses.replace(starting, uptime=60.0)), "instance-not-ready")


def test_an_instance_that_ended_before_its_log_was_open_is_found_with_what_supervisord_caught():
    silent = instance(0, "BACKOFF")
    silent.log.raw, silent.log.raw_changed, silent.log.changed = "MemoryError\n", 100.0, 102.0
    only(ill(silent), "instance-failed", "It says:\n    MemoryError")
    silent.log.changed = 200.0
    only(ill(silent), "instance-failed", "It says nothing.")


def test_what_helps_an_instance_that_does_not_boot_names_the_directories_of_its_app():
    log = "Starting gunicorn 1\nPermissionError: [Errno 13] Permission denied: 'instance'\n"
    finding = only(ill(instance(0, "FATAL", log=log)), "instance-failed", "may not do something")
    assert "below /srv/shop/shared" in finding.remedy


def test_an_instance_that_never_gets_ready_is_found():
    late = instance(0, ready=False, ready_workers=1)
    late.record["workers"] = 3
    only(ill(late), "instance-not-ready", "shop-0 is RUNNING, but not ready: 1 of 3 workers. It says nothing.")


@pytest.mark.parametrize("disk", [{"free": 0}, {"inodes_free": 0}])
def test_a_full_disk_explains_instances_that_do_not_boot(disk):
    full = dataclasses.replace(Disk("/srv", 10**9, 10**8, 1000, 500), **disk)
    only(ill(instance(0, "FATAL"), disks=[full]), "disk-full" if "free" in disk else "inodes-full")


def test_a_record_that_cannot_be_read_explains_its_own_instance_alone():
    broken = instance(0, ready=False, record={}, record_error="/run/shop/shop-0.json is a directory", answer=None)
    only(ill(broken), "record-unreadable", "/run/shop/shop-0.json is a directory", "user shop", subject="shop:shop-0")
    assert codes(ill(broken, instance(1, "STOPPED"))) == ["record-unreadable", "instance-stopped"]


# -- instances that serve


def test_an_instance_of_another_release_is_found():
    other = instance(0)
    other.record["release"] = "f" * 16
    only(ill(other), "other-release", f"shop-0 runs release {'f' * 16}, and /srv/shop/current is 0123456789abcdef")


def test_gunicorns_own_gevent_worker_is_found():
    stock = instance(0)
    stock.record.update(lossless=False, gunicorn="99")
    only(ill(stock), "stock-worker", "shop-0 runs gunicorn 99", severity="warning")
    stock.record["worker_class"] = "gthread"
    assert codes(ill(stock)) == []


def test_a_health_check_that_fails_is_found():
    sick = instance(0, answer=Answer(503, "no database"))
    only(ill(sick), "health-failing", "GET /healthz of shop-0 answers 503: no database")


def test_an_instance_that_does_not_answer_is_found():
    only(ill(instance(0, answer=Answer(0, "timed out"))), "instance-silent", "no answer within 5 s: timed out")


def test_the_question_is_the_path_that_callers_write():
    state = ill(instance(0, answer=Answer(503, "no database")))
    state.apps[0].release = dataclasses.replace(
        state.apps[0].release, question=Question("/healthz", script_name="/shop")
    )
    only(state, "health-failing", "GET /shop/healthz of shop-0 answers 503: no database")


@pytest.mark.parametrize(
    "said",
    [
        "PermissionError: [Errno 13] Permission denied: 'uploads/x'",
        "sqlite3.OperationalError: attempt to write a readonly database",
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file",
        "OSError: [Errno 30] Read-only file system: '/usr/share/x'",
        "cannot store it: [Errno 13] Permission denied: 'uploads/x'",
    ],
)
def test_writes_of_requests_that_were_refused_are_found(said):
    refused = instance(0, log=f"[ERROR] Exception on /upload [POST]\nTraceback (most recent call last):\n{said}\n")
    finding = only(ill(refused), "write-refused", said.rpartition("Error) ")[2][-25:], severity="warning")
    assert "below /srv/shop/shared" in finding.remedy


def test_writes_that_a_master_before_was_refused_are_forgotten():
    old = "PermissionError: [Errno 13] Permission denied: 'uploads/x'\n[INFO] Starting gunicorn 27\nfine\n"
    assert codes(ill(instance(0, log=old))) == []


# -- killed workers


def test_a_worker_that_was_blocked_is_found_with_the_line():
    finding = only(ill(instance(0, log=LATE + FRAME)), "worker-blocked", "views.py:7 in predict", "(last: pid 7)")
    assert "with GET /slow" in finding.symptom
    only(ill(instance(0, log="WORKER TIMEOUT (pid:7)")), "worker-blocked", "Its log does not say at which line")


def test_a_slow_request_of_another_worker_class_is_found():
    slow = instance(0, log=LATE + FRAME)
    slow.record["worker_class"] = "sync"
    only(ill(slow), "slow-request", "A sync worker serves one request at a time", "views.py:7 in predict")


def test_a_worker_with_threads_is_not_blocked_by_one_slow_request():
    slow = instance(0, log=LATE + FRAME)
    slow.record["worker_class"] = "gthread"
    finding = only(ill(slow), "worker-blocked", "not a slow request", "views.py:7 in predict")
    assert "gthread" not in finding.remedy


def test_workers_of_masters_before_are_forgotten():
    assert codes(ill(instance(0, log=f"{LATE}{KILLED}\nStarting gunicorn 1\n"))) == []


def test_a_worker_that_was_killed_is_found():
    only(ill(instance(0, log=KILLED)), "worker-killed", "(last: pid 8)", severity="warning")


def test_a_worker_that_was_killed_when_memory_ran_out_is_the_one_finding_about_that():
    state = ill(instance(0, log=KILLED), memory_kills="it counts 2 out-of-memory kills")
    only(state, "out-of-memory", "(last: pid 8); it counts 2", subject="shop:shop-0")


def test_a_worker_that_gunicorn_killed_itself_is_not_counted_twice():
    only(ill(instance(0, log=LATE + KILLED.replace("8", "7"))), "worker-blocked")


# -- programs


@pytest.mark.parametrize(
    "state, settings, code, words",
    [
        ("STOPPED", {"autostart": True}, "program-stopped", "mail is STOPPED, and is meant to run (autostart)."),
        ("FATAL", {}, "program-failed", "mail is FATAL: spawn error. It says:\n    bad\n    worse"),
    ],
)
def test_a_program_of_no_app_that_does_not_run_is_found(state, settings, code, words):
    error = "spawn error" if state == "FATAL" else ""
    told = ProgramState(Process("mail", "mail", state, 0, error, 0, "/x.log"), settings, "bad\nworse\n")
    only(ill(instance(0), programs=[told]), code, words, subject="mail:mail")


def of_release(runs="a" * 16):
    program = ReleaseProgram("shop.worker", command="rq worker", root="/srv/shop", user="shop")
    return RunningProgram(program, runs, "a" * 16)


def test_a_program_of_an_app_that_does_not_run_is_found_with_the_command_that_shows_it():
    process = Process("shop.worker", "shop.worker", "BACKOFF", 0, "spawn error", 0, "/x.log")
    found = only(ill(instance(0), programs=[ProgramState(process, {}, "bad\n", of_release())]), "program-failed", "bad")
    assert "sudo -u shop /srv/shop/current/run rq worker" in found.remedy
    assert (found.app, "flask_app_programs" in found.remedy) == ("shop", True)


def test_a_program_of_an_app_that_runs_another_release_is_found():
    process = Process("shop.worker", "shop.worker", "RUNNING", 9, "", 0, "/x.log")
    assert codes(ill(instance(0), programs=[ProgramState(process, {}, "", of_release())])) == []
    other = ProgramState(process, {}, "", of_release("b" * 16))
    only(
        ill(instance(0), programs=[other]),
        "other-release",
        f"runs release {'b' * 16}",
        subject="shop.worker:shop.worker",
    )


def test_a_program_that_is_not_meant_to_run_is_none():
    told = ProgramState(Process("mail", "mail", "STOPPED", 0, "", 0, ""), {"autostart": False})
    assert codes(ill(instance(0), programs=[told])) == []


# -- dirty workers

DIRTY_RECORD = {
    "pid": 200,
    "release": RELEASE,
    "workers": 1,
    "worker_class": "sync",
    "lossless": False,
    "dirty_workers": 2,
}


@pytest.mark.parametrize(
    ("dirty", "code", "says", "severity"),
    [
        ({"wanted": 2, "up": 1, "begun": 1}, "dirty-workers-down", "1 of 2 dirty workers of shop-0 are up", "error"),
        ({}, "dirty-workers-down", "no dirty arbiter of shop-0 is up", "error"),
        ({"wanted": 2, "up": 2, "begun": 3}, "dirty-arbiter-restarted", "was started 3 times", "warning"),
    ],
)
def test_dirty_workers_that_are_gone_are_found(dirty, code, says, severity):
    only(ill(instance(0, record=DIRTY_RECORD, dirty=dirty)), code, says, severity=severity)


def test_dirty_workers_that_are_up_are_no_finding():
    assert codes(ill(instance(0, record=DIRTY_RECORD, dirty={"wanted": 2, "up": 2, "begun": 1}))) == []
