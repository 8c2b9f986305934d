"""No-op, rollback, restart, environment, program, single instance, neighbours, first install, check mode, reboot."""

import json
import os
import signal
import socket
import stat
import subprocess
import time

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import lock_holders
from tests.component.activation.conftest import APP
from tests.component.supervised import eventually

# -- nothing to do ---------------------------------------------------------------------------------------------------


def test_nothing_to_do_changes_nothing(old):
    pids, state = old.pids(), old.state
    result = old.deploy(old.current)
    assert not result["changed"]
    assert result["diff"] == []
    assert {account["action"] for account in result["instances"]} == {"kept"}
    assert old.pids() == pids
    assert old.state == state


def test_nothing_to_do_but_a_service_that_does_not_answer_is_an_error(single):
    pid = single.pids()[f"{single.name}-0"]
    (single.run / f"{single.name}-0.sock").unlink()
    result = single.deploy(single.current)
    assert result["failed"]
    assert result["step"] == "verify"
    assert "Nothing was changed." in result["msg"]
    assert single.pids()[f"{single.name}-0"] == pid


# -- rollback --------------------------------------------------------------------------------------------------------


def test_a_rollback_goes_to_the_release_before_without_a_failed_request(old, load):
    first = old.current
    second, third = old.release(), old.release()
    old.deploy(second)
    old.deploy(third)
    with load(old) as requests, load(old, "/slow") as slow:
        result = old.rollback()
        assert not result.get("failed"), result["msg"]
        assert set(old.releases_running().values()) == {second}
        # Once more does not bring the bad one back: it goes on to the one before.
        result = old.rollback()
    assert (requests.failures, slow.failures) == ([], [])
    assert not result.get("failed"), result["msg"]
    assert set(old.releases_running().values()) == {first}
    assert old.current == first
    assert old.leftovers() == []


def test_a_rollback_to_a_release_whose_python_is_gone_changes_nothing(old):
    first = old.current
    old.deploy(old.release())
    second, pids = old.current, old.pids()
    (old.root / "releases" / first / "venv" / "pyvenv.cfg").write_text("version = 3.2.5\n")
    for result in (old.rollback(), old.rollback(first)):
        assert result["failed"]
        assert "built for Python 3.2.5" in result["msg"]
        assert "Nothing was changed." in result["msg"]
    assert (old.current, old.pids()) == (second, pids)


def test_a_rollback_takes_the_digits_that_status_prints(single):
    first, named, other = single.current, "abcdef0123456789", "abcdef0987654321"  # never in service
    for release in (named, other):
        single.release(named=release)
    for digits, told in (
        ("abcdef0", "2 releases begin with 'abcdef0'"),
        ("77777777", "No release begins with '77777777'"),
    ):
        result = single.rollback(digits)
        assert told in result["msg"] and named in result["msg"] and "Nothing was changed." in result["msg"]
    assert single.current == first
    result = single.rollback(named[:8])
    assert not result.get("failed"), result["msg"]
    assert (result["release"], single.current) == (named, named)


def test_a_rollback_never_chooses_a_release_that_failed_or_is_not_there(single):
    bad = single.release(health="503 NO")
    single.deploy(bad)
    for release, words in (
        ("previous", "no release of"),
        (bad, "failed when it was tried"),
        ("f" * 16, "is not on this host"),
        ("latest", "16 hexadecimal digits"),
    ):
        result = single.rollback(release)
        assert result["failed"]
        assert words in result["msg"]
        assert (
            f"{single.current} (current), {bad} (failed)" in result["msg"]
            or f"{bad} (failed), {single.current} (current)" in result["msg"]
        )
        assert "Nothing was changed." in result["msg"]
    assert single.leftovers() == []


def test_a_rollback_asks_for_the_health_path_that_the_release_had(single):
    plain = single.release(health="404 NO SUCH PATH", health_path="")
    single.deploy(plain)
    single.deploy(single.release())
    result = single.rollback(plain)
    assert not result.get("failed"), result["msg"]
    assert set(single.releases_running().values()) == {plain}


# -- restart ---------------------------------------------------------------------------------------------------------


def test_a_restart_renews_every_process_without_a_failed_request(old, load):
    before, state = old.pids(), old.state
    with load(old) as requests, load(old, "/slow") as slow:
        result = old.rollback("current", restart=True)
    assert not result.get("failed"), result["msg"]
    assert (requests.failures, slow.failures) == ([], [])
    assert not set(before.values()) & set(old.pids().values())
    assert {account["action"] for account in result["instances"]} == {"restarted"}
    assert old.state == state
    assert old.leftovers() == []


def test_an_instance_that_somebody_stopped_is_stopped_again_by_a_failed_deploy_and_started_first_by_the_next(old, load):
    old.host.status().stop(f"{old.name}:{old.name}-1")
    eventually(lambda: old.states()[f"{old.name}-1"] == "STOPPED")
    result = old.deploy(old.release(health="503 NO"))
    assert result["failed"]
    assert old.states()[f"{old.name}-1"] == "STOPPED"
    assert old.get()[0] == 200
    new = old.release()
    with load(old) as requests:
        result = old.deploy(new)
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    assert [account["action"] for account in result["instances"]] == ["restarted", "started"]
    assert set(old.releases_running().values()) == {new}


# -- environment and program -----------------------------------------------------------------------------------------


def test_a_changed_environment_rolls_the_instances(old, load):
    old.env_content = "COLOUR=green\nTOKEN=secret-of-the-test\n"
    with load(old) as requests:
        result = old.deploy(old.current, diff=True)
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    assert old.get()[1].endswith("green")
    assert stat.S_IMODE(old.env.stat().st_mode) == 0o640
    assert "secret-of-the-test" not in json.dumps(result["diff"])
    assert [part["after_header"] for part in result["diff"]] == [str(old.env)]


def test_an_environment_that_breaks_the_app_is_put_back(single):
    before = single.env.read_bytes()
    single.env_content = "this is no environment\n"
    result = single.deploy(single.current)
    assert result["failed"]
    assert single.env.read_bytes() == before
    assert single.get()[1].endswith("red")
    assert single.current not in single.state["failed"], "the release is not to blame"
    assert single.leftovers() == []


def test_a_changed_program_restarts_the_app_and_nobody_else(single, make_app):
    served = single
    neighbour = make_app(instances=1)
    neighbour.deploy(neighbour.release())
    theirs = neighbour.pids()
    neighbour.conf_extra = "priority=7\n"
    neighbour.conf.write_text(neighbour.conf_content())  # changed on disk; not our business
    before = served.pids()
    served.instances = 2
    new = served.release()
    result = served.deploy(new)
    assert not result.get("failed"), result["msg"]
    assert sorted(served.releases_running().values()) == [new] * 2
    assert not set(before.values()) & set(served.pids().values())
    assert neighbour.pids() == theirs
    assert served.leftovers() == []
    assert not served.deploy(new)["changed"]
    served.instances = 1
    result = served.deploy(new)
    assert not result.get("failed"), result["msg"]
    assert len(served.pids()) == 1
    assert neighbour.pids() == theirs


def test_a_bad_release_with_a_changed_program_costs_no_gap(old, load):
    conf, serving = old.conf.read_bytes(), old.current
    untouched = old.pids()[f"{old.name}-1"]
    changed = {"path": str(old.conf), "content": old.conf_content() + "priority=5\n"}
    with load(old) as requests:
        result = old.deploy(old.release(health="503 NO"), program_conf=changed)
    assert requests.failures == []
    assert result["failed"]
    assert old.conf.read_bytes() == conf
    assert old.pids()[f"{old.name}-1"] == untouched
    assert set(old.releases_running().values()) == {serving}
    assert old.leftovers() == []


@pytest.mark.parametrize(
    "words, cause",
    [
        ("command", "can't find command"),
        ("nonsense", "cannot read its configuration|CANT_REREAD"),
    ],
)
def test_a_program_that_cannot_run_is_put_back(single, words, cause):
    conf, serving = single.conf.read_bytes(), single.current
    content = {
        "command": single.conf_content().replace("venv/bin/python", "venv/bin/no-python"),
        "nonsense": single.conf_content().replace("numprocs=2", "numprocs=many"),
    }[words]
    result = single.deploy(single.release(), program_conf={"path": str(single.conf), "content": content})
    assert result["failed"]
    assert any(word in result["msg"] for word in cause.split("|")), result["msg"]
    assert result["rolled_back"] is True
    assert single.conf.read_bytes() == conf
    assert set(single.releases_running().values()) == {serving}
    assert single.get()[0] == 200
    assert single.leftovers() == []


HOLDERS = ("a stranger", "another app", "another app that is stopped")
TAKEN = [(holder, False) for holder in HOLDERS] + [("a stranger", True)]  # whoever it is, a check asks the same


@pytest.mark.parametrize(("holder", "check"), TAKEN)
def test_an_address_that_is_taken_is_found_before_what_serves_is_stopped(old, make_app, holder, check):
    conf, pids, release = old.conf.read_bytes(), old.pids(), old.release()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port, told = stranger.getsockname()[1], f"pid {os.getpid()}"
        if holder != "a stranger":
            other = make_app(instances=1)
            assert not other.deploy(other.release()).get("failed")
            port, told = other.port, f"the app {other.name} of this host has 127.0.0.1:{other.port}"
            if "stopped" in holder:
                assert not other.control("stopped").get("failed")
        content = old.conf_content().replace(str(old.port), str(port))
        result = old.deploy(release, check=check, program_conf={"path": str(old.conf), "content": content})
    assert result["failed"]
    assert f"{old.name} cannot listen on 127.0.0.1:{port}: " in result["msg"]
    assert told in result["msg"] or (holder == "a stranger" and "root cannot see" in result["msg"])
    assert result["msg"].endswith("Nothing was changed.")
    assert (old.conf.read_bytes(), old.pids()) == (conf, pids)
    assert old.leftovers() == []


# -- one instance ----------------------------------------------------------------------------------------------------


def test_a_single_instance_restarts_while_the_holder_keeps_the_callers_waiting(make_app, load):
    app = make_app(instances=1)
    first = app.deploy(app.release())
    assert not first.get("failed"), first["msg"]
    holder = app.holder_pid()
    new = app.release()
    with load(app) as requests:
        result = app.deploy(new)
        assert not result.get("failed"), result["msg"]
        assert app.releases_running() == {f"{app.name}-0": new}
        failed = app.deploy(app.release(health="503 NO"))
    assert failed["failed"]
    assert requests.failures == []
    assert app.holder_pid() == holder
    assert app.releases_running() == {f"{app.name}-0": new}


def test_an_app_that_speaks_tls_itself_is_asked_in_tls(make_app):
    app = make_app(instances=1)
    certificate, key = app.folder / "certificate.pem", app.folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-days", "1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    settings = f"certfile = {str(certificate)!r}\nkeyfile = {str(key)!r}"
    result = app.deploy(app.release(settings=settings))
    assert not result.get("failed"), result["msg"]
    assert set(app.releases_running().values()) == {app.current}
    assert app.deploy(app.release(settings=settings, health="503 NO"))["failed"]


# -- first install ---------------------------------------------------------------------------------------------------


def test_a_failed_first_install_leaves_nothing_behind(make_app):
    app = make_app(instances=1)
    bad = app.release(source="import not_there_at_all\n")
    result = app.deploy(bad)
    assert result["failed"]
    assert "imports not_there_at_all" in result["msg"]
    assert "nothing serves" in result["msg"]
    assert app.host.status().processes(app.name) == []
    assert app.current is None
    assert not app.conf.exists()
    assert not app.env.exists()
    assert app.leftovers() == []
    good = app.release()
    result = app.deploy(good)
    assert not result.get("failed"), result["msg"]
    assert app.get()[0] == 200


def test_a_first_install_on_an_address_that_is_taken_says_so(app):
    with socket.create_server(("127.0.0.1", app.port)):
        result = app.deploy(app.release())
    assert result["failed"]
    assert f"{app.name} cannot listen on 127.0.0.1:{app.port}: " in result["msg"]
    assert "Remove that obstacle" in result["msg"], "it may be a file, or another app"
    assert result["msg"].endswith("Nothing was changed.")
    assert app.host.status().processes(app.name) == []
    assert not app.conf.exists()
    assert "failed" not in app.state or not app.state["failed"] if (app.root / "state.json").exists() else True


# -- check mode ------------------------------------------------------------------------------------------------------


def snapshot(folder):
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in folder.rglob("*")
        # Running workers log, and write how many requests they have answered into the run directory; gunicorn's
        # master makes its control socket there when its workers may serve already.
        if not (path.suffix in (".log", ".ctl") or ".requests" in path.name or path.name == "run")
    }


def test_a_check_on_a_fresh_host_says_what_would_happen(app):
    result = app.activate(
        "a" * 16,
        check=True,
        root=str(app.folder / "not" / "there"),
        run_dir=str(app.folder / "neither"),
        supervisor_socket=str(app.folder / "nobody.sock"),
        program_conf={"path": str(app.conf), "content": "[fcgi-program:x]\n"},
        env_file={"path": str(app.env), "content": "TOKEN=secret-of-the-test\n", "group": "nobody-has-this-group"},
    )
    assert not result.get("failed"), result["msg"]
    assert result["changed"]
    assert not (app.folder / "not").exists()
    diff = {part["after_header"]: part for part in result["diff"]}
    assert diff[str(app.conf)]["after"] == "[fcgi-program:x]\n"
    assert "secret-of-the-test" not in json.dumps(result["diff"])


def test_a_check_on_a_fresh_host_does_not_miss_the_directory_of_the_socket_that_a_deploy_makes(app):
    run_dir = app.folder / "neither"
    conf = f"[fcgi-program:{app.name}]\nsocket=unix://{run_dir}/app.sock\ncommand=/x/current/venv/bin/python /x/current/lib/pygun_runtime/launch.py\n"
    given = {"run_dir": str(run_dir), "program_conf": {"path": str(app.conf), "content": conf}}
    result = app.activate("a" * 16, check=True, root=str(app.folder / "not" / "there"), **given)
    assert not result.get("failed"), result["msg"]
    given["program_conf"]["content"] = conf.replace(str(run_dir), str(app.folder / "wrong"))
    result = app.activate("a" * 16, check=True, root=str(app.folder / "not" / "there"), **given)
    assert f"there is no directory {app.folder / 'wrong'}" in result["msg"]


def test_a_check_on_a_fresh_host_finds_an_address_that_is_taken(app):
    with socket.create_server(("127.0.0.1", app.port)):
        result = app.deploy("a" * 16, check=True, supervisor_socket=str(app.folder / "nobody.sock"))
    assert f"{app.name} cannot listen on 127.0.0.1:{app.port}: " in result["msg"]


def test_a_check_predicts_and_touches_nothing(old):
    pids = old.pids()
    before = snapshot(old.folder)
    assert not old.deploy(old.current, check=True)["changed"]
    old.conf_extra = "priority=3\n"
    predicted = old.deploy("b" * 16, check=True)
    assert predicted["changed"]
    assert [part["after"] for part in predicted["diff"]][0] == "b" * 16 + "\n"
    assert predicted["diff"][1]["before"] + "priority=3\n" == predicted["diff"][1]["after"]
    old.conf_extra = ""
    kept, old.env_content = old.env_content, "COLOUR=blue\n"
    assert old.deploy(old.current, check=True)["changed"]
    old.env_content = kept
    assert old.rollback("current", restart=True, check=True)["changed"]
    assert snapshot(old.folder) == before
    assert old.pids() == pids


# -- others ----------------------------------------------------------------------------------------------------------


def test_old_releases_are_pruned_and_those_that_matter_stay(single):
    good = [single.release() for _ in range(3)]
    for release in good:
        assert not single.deploy(release, keep=2).get("failed")
    standing = {path.name for path in (single.root / "releases").iterdir()}
    assert standing == {good[1], good[2]}


def test_a_crash_while_it_boots_is_noticed_at_once(served):
    slow = served.release(source="import time; time.sleep(60)\n")
    run = served.start(slow, retry_failed=True)
    give_up = time.monotonic() + 60
    before = served.pids()[f"{served.name}-0"]
    while (pid := served.pids()[f"{served.name}-0"]) in (before, 0):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    while served.states()[f"{served.name}-0"] != "RUNNING":  # from then on supervisord starts another at once
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    result = served.outcome(run)
    assert result["failed"]
    assert "it ended while it was booting" in result["msg"]
    assert served.get()[0] == 200


def test_supervisord_that_does_not_answer_is_said_so(old):
    result = old.deploy(old.release(), supervisor_socket=str(old.folder / "nobody.sock"))
    assert result["failed"]
    assert "supervisord is not running" in result["msg"]
    assert "Nothing was changed." in result["msg"]
    assert old.leftovers() == []


def test_an_app_that_has_no_user_on_this_host_is_a_failure_that_leaves_nothing(single):
    before, environment = single.current, single.env.read_text()
    single.env_content = "COLOUR=unwanted\n"
    single.conf_extra = "user=nobody-has-this-name\n"
    result = single.deploy(single.release())
    assert result["failed"]
    assert result["rolled_back"] is True
    assert "nobody-has-this-name" in result["msg"]
    assert (single.current, single.env.read_text()) == (before, environment)
    assert single.leftovers() == []


def test_what_the_app_makes_in_its_run_directory_is_in_nobodys_way(single):
    (single.run / f"{single.name}-7.next").mkdir()
    assert not single.deploy(single.release()).get("failed")
    assert single.get()[0] == 200
    (single.run / f"{single.name}-7.next").rmdir()


def test_who_holds_the_lock_without_being_a_deploy_is_named(single):
    lock = single.root / "activation.lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    with subprocess.Popen(["flock", "--exclusive", lock, "sleep", "30"]) as other:
        try:
            eventually(lambda: lock_holders(str(lock)))
            result = single.deploy(single.release())
        finally:
            other.terminate()
    assert result["step"] == "lock"
    assert f"pid {other.pid}" in result["msg"]


def test_what_fits_badly_and_more_workers_than_the_hosts_memory_holds_are_warnings(old):
    source = "import threading, time\ndef tick():\n    while True: time.sleep(60)\n"
    source += "threading.Thread(target=tick, name='ticks', daemon=True).start()\n" + APP
    release = old.release(source=source)
    old.conf_extra = "user=root\n"
    result = old.deploy(release, memory=1 << 20)
    assert not result.get("failed"), result
    assert "2 instances with 1 workers each need" in str(result["warnings"]), result["warnings"]
    assert "Lower flask_app_workers" in str(result["warnings"])
    (misfit,) = result["misfits"]
    assert (misfit["code"], misfit["subject"]) == ("thread_at_import", "ticks (wsgi.py:4)")
    assert [text for text in result["warnings"] if misfit["text"] in str(text)]
    again = old.deploy(release)
    assert (again["changed"], again["misfits"]) == (False, [])
    assert "warnings" not in old.deploy(old.release())
