"""Findings about an app, its address, release, program and permissions: each from its state."""

import dataclasses

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor import observe_app
from ansible_collections.pygun.stack.plugins.module_utils.doctor.findings import WARNING
from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import Refusal, Release, SocketUnits
from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import Listener, Outcome
from ansible_collections.pygun.stack.plugins.module_utils.instance.jobs import JobState
from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import Answer
from tests.unit.doctor.hosts import REFUSED, RELEASE, SUPERVISORD, app, codes, host, instance, only, process

OPENED = "cannot open its socket tcp://127.0.0.1:5000: [Errno 98]"


def down(seen):
    """The same app after supervisord could not open its socket."""
    seen.instances = [instance(number, "BACKOFF", OPENED) for number in (0, 1)]
    return seen


def master(pid, parent=1):
    """A gunicorn master of the app."""
    folder = f"/srv/shop/releases/{RELEASE}/venv/bin"
    return process(pid, f"{folder}/python", f"{folder}/gunicorn", user="shop", parent=parent)


# -- the address


def test_a_foreign_program_on_the_port_explains_that_the_app_is_down():
    state = host(down(app()))
    state.processes[7] = process(7, "python3", "-m", "http.server", user="nobody")
    state.listeners = {5000: [Listener("0.0.0.0", 5000, "nobody", (7,))]}
    only(state, "port-taken", "pid 7 of user nobody: python3 -m http.server listens on 0.0.0.0:5000", subject="shop")


def test_a_holder_that_root_cannot_see_is_guessed_by_its_user():
    state = host(down(app()))
    state.processes[7] = process(7, "python3", user="nobody")
    state.listeners = {5000: [Listener("127.0.0.1", 5000, "nobody", ())]}
    only(state, "port-taken", "a process of user nobody (which one, root cannot see", "pid 7 of user nobody")


@pytest.mark.parametrize("by_systemd, pid", [(False, SUPERVISORD), (True, 1), (False, 8), (False, 9)])
def test_whoever_listens_for_the_app_is_none(by_systemd, pid):
    state = host(app(by_systemd=by_systemd))
    state.processes[8], state.processes[9] = master(8, parent=SUPERVISORD), master(9, parent=8)
    state.listeners = {5000: [Listener("127.0.0.1", 5000, "root", (pid,))]}
    assert codes(state) == []


def test_systemd_has_no_right_to_the_address_of_an_app_that_supervisord_serves():
    state = host()
    state.processes[1] = process(1, "/sbin/init", parent=0)
    state.listeners = {5000: [Listener("127.0.0.1", 5000, "root", (1,))]}
    only(state, "port-taken", "pid 1 of user root")


def test_an_orphan_with_the_address_explains_that_the_app_is_down():
    state = host(down(app()))
    state.processes[8], state.processes[9] = master(8), master(9, parent=8)
    state.listeners = {5000: [Listener("127.0.0.1", 5000, "shop", (8, 9))]}
    only(state, "orphan", "pid 8 of user shop", "it has 127.0.0.1:5000", "kill 8", "[Errno 98]", subject="shop")


@pytest.mark.parametrize("bind", ["127.0.0.1:5000", "unix:/run/shop.sock", ""])
def test_an_orphan_without_the_address_is_found(bind):
    state = host(app(bind=bind))
    state.processes[8] = master(8)
    assert "it has" not in only(state, "orphan", "kill 8").symptom


def test_the_app_of_a_second_supervisord_is_not_a_finding_beside_that():
    state = host(down(app()))
    state.supervisord.uptime = 1.0
    state.processes[7] = process(7, "supervisord")
    state.processes[8] = master(8, parent=7)
    state.listeners = {5000: [Listener("127.0.0.1", 5000, "root", (7, 8))]}
    assert codes(state) == ["supervisor-second"]


def test_an_address_that_cannot_be_opened_for_another_reason_is_one_finding():
    seen = down(app())
    seen.obstacle = "/run/x is a directory"
    only(host(seen), "socket-not-opened", f"supervisord {OPENED}: /run/x is a directory", subject="shop")


# -- the release


@pytest.mark.parametrize(
    "release, code, words",
    [
        (Release(unmounted=("/srv", "/dev/sdb")), "mount-missing", "/srv is not mounted (/etc/fstab: /dev/sdb)"),
        (Release(), "release-missing", "there is no /srv/shop/current"),
        (Release(RELEASE), "release-missing", f"release {RELEASE} is not complete"),
        (Release(RELEASE, is_complete=True), "release-missing", "venv/bin/python cannot be run"),
    ],
)
def test_an_app_without_a_release_is_one_finding(release, code, words):
    seen = down(app())
    seen.release, seen.files.log_dir_exists = release, False
    only(host(seen), code, words, subject="shop")


# -- the program


def test_an_app_that_nothing_starts_is_found():
    only(host(app(conf="")), "program-missing", f"/srv/shop holds release {RELEASE}, but nothing in")


@pytest.mark.parametrize("text", [text for text in REFUSED if REFUSED[text] != "supervisor-section"])
def test_a_file_that_cannot_be_read_explains_that_nothing_starts_the_app(text):
    state = host(app(conf=""))
    state.configuration.parser = Outcome(2, text)
    only(state, REFUSED[text])


def test_a_hidden_character_explains_that_nothing_starts_the_app():
    state = host(app(conf=""))
    state.configuration.files = {"/etc/x.conf": "x\u00a0"}
    only(state, "hidden-character", "/etc/x.conf")


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("startsecs", "0", "startsecs=0: an instance that crashes at once counts as started"),
        (
            "stopwaitsecs",
            "30",
            "stopwaitsecs=30: supervisord kills an instance before gunicorn's graceful_timeout (30 s)",
        ),
        ("stopwaitsecs", "", "stopwaitsecs=10"),
        ("stopsignal", "INT", "stopsignal=INT: gunicorn then cuts off"),
        ("autostart", "false", "autostart=false: nothing starts the app after a boot"),
        ("autorestart", "No", "autorestart=No: nothing starts the app after a crash"),
    ],
)
def test_a_program_that_was_edited_is_found(name, value, words):
    state = host()
    state.apps[0].program[name] = value
    only(state, "program-edited", f"x.conf has {words}", subject="shop", severity="warning")


def test_a_release_that_does_not_say_how_long_it_takes_to_stop_is_not_judged():
    state = host()
    state.apps[0].release.graceful_timeout = 0.0
    state.apps[0].program["stopwaitsecs"] = "1"
    assert codes(state) == []


def test_a_program_that_supervisord_does_not_know_is_found():
    state = host()
    state.apps[0].is_loaded, state.apps[0].instances, state.apps[0].answer = False, [], None
    only(state, "program-not-loaded", "does not know the program of x.conf")
    state.processes[8] = master(8)
    only(state, "orphan")


# -- permissions


@pytest.mark.parametrize("exists, words", [(True, "creates the directory again."), (False, "and that file is gone")])
def test_a_run_directory_that_is_gone_explains_that_the_app_is_down(exists, words):
    seen = app()
    seen.files.run_dir_exists, seen.files.tmpfiles_exists = False, exists
    seen.instances = [instance(0, ready=False), instance(1, "FATAL")]
    only(host(seen), "run-dir-missing", "there is no /run/shop", words)


def test_a_log_directory_that_is_gone_explains_what_supervisor_refuses_and_that_it_does_not_run():
    state = host(app())
    state.apps[0].files.log_dir_exists = False
    state.unit.properties["ActiveState"] = "failed"
    text = "Error: The directory named as part of the path /var/log/shop/shop-0.log does not exist in section 'x' (file: 'x')"
    state.configuration.parser = Outcome(2, text)
    only(state, "log-dir-missing", "there is no /var/log/shop")
    state.configuration.parser = Outcome(2, text.replace("/shop/", "/shopping/"))
    assert codes(state) == ["supervisor-value", "log-dir-missing"]


def test_a_log_directory_that_is_gone_explains_that_the_app_is_down():
    seen = app()
    seen.files.log_dir_exists, seen.instances = False, [instance(0, "FATAL"), instance(1, "STOPPED")]
    only(host(seen), "log-dir-missing")


def test_a_permission_that_is_missing_explains_that_the_app_is_down_and_is_told_once_for_a_place():
    seen = app()
    seen.files.refusals = [
        Refusal("read the release", "/srv/shop", "root:root 0700"),
        Refusal("write its log", "/srv/shop", "root:root 0700"),
    ]
    seen.instances = [instance(0, "STOPPED"), instance(1, "FATAL")]
    only(host(seen), "permission-denied", "the user shop may not read the release: /srv/shop is root:root 0700")


def test_a_permission_of_one_app_does_not_explain_that_another_is_down():
    seen, other = app(), app("other")
    other.files.refusals = [Refusal("write its log", "/var/log/other", "root:root 0700")]
    seen.instances = [instance(0, "STOPPED")]
    assert codes(host(seen, other)) == ["instance-stopped", "permission-denied"]


def test_secrets_that_everybody_can_read_are_found():
    state = host()
    state.apps[0].files.open_environment = "root:shop 0644"
    only(state, "secret-readable", "/etc/pygun/shop.env is root:shop 0644", severity="warning")


def test_a_release_that_the_app_could_change_is_found():
    state = host()
    state.apps[0].files.writable_release = "shop:shop 0750"
    only(state, "release-writable", f"/srv/shop/releases/{RELEASE} (shop:shop 0750)", severity="warning")


# -- deploys and socket units


def test_a_deploy_that_was_killed_is_found_and_explains_instances_of_two_releases():
    seen = app()
    seen.has_journal = True
    seen.instances[0].record["release"] = "f" * 16
    only(host(seen), "interrupted-activation", "/srv/shop/activation.json is there", subject="shop")


def test_a_damaged_file_of_the_history_is_a_warning():
    seen = app()
    seen.release = dataclasses.replace(seen.release, damage_of_state="is not JSON")
    only(host(seen), "state-damaged", "/srv/shop/state.json is not JSON", "Deploy", severity=WARNING)
    seen.deploying = "pid 7"
    assert codes(host(seen)) == []


def test_a_damaged_journal_is_no_run_that_the_next_one_finishes():
    seen = app()
    seen.has_journal, seen.damage_of_journal = True, "is empty"
    only(host(seen), "journal-damaged", "/srv/shop/activation.json is empty", "the next one is refused")


@pytest.mark.parametrize(
    ("text", "damage", "failed"),
    [
        (None, "", ""),
        ("{", "is not JSON", ""),
        ("", "is not JSON", ""),
        ("{}", "is empty", ""),
        ("[" * 60_000, "nested deeper", ""),
        ('{"failed": "no \\u001b[2J release"}', "", r"no \x1b[2J release"),
    ],
)
def test_a_journal_is_observed_whatever_is_in_it(tmp_path, text, damage, failed):
    seen, path = app(), tmp_path / "activation.json"
    if text is not None:
        path.write_text(text)
    observe_app._observe_journal(seen, str(path))
    assert (seen.has_journal, seen.failed_because) == (text is not None, failed)
    assert damage in seen.damage_of_journal and bool(damage) == bool(seen.damage_of_journal)


def test_a_restart_that_failed_is_no_run_that_was_killed():
    seen = app()
    seen.has_journal, seen.failed_because = True, "shop-0: it ended while it was booting"
    seen.instances[0].record["release"] = "f" * 16
    only(
        host(seen),
        "failed-activation",
        "failed (shop-0: it ended while it was booting), and so did its way back",
        subject="shop",
    )


def test_a_deploy_that_runs_is_no_finding():
    seen = app()
    seen.has_journal, seen.deploying = True, "pid 5 since now, by me"
    seen.instances[0].record["release"] = "f" * 16
    assert codes(host(seen)) == []


@pytest.mark.parametrize(
    "state_of_unit, listening, words",
    [("inactive", True, "a.socket is inactive"), ("active", False, "a.socket does not listen on 127.0.0.1:5000")],
)
def test_a_socket_that_systemd_does_not_hold_is_found(state_of_unit, listening, words):
    seen = app(by_systemd=True)
    seen.socket_units = SocketUnits({"a.socket": state_of_unit, "b.socket": "active"}, "127.0.0.1:5000", listening)
    only(host(seen), "socket-unit", words, "systemctl restart a.socket b.socket")
    state = host(dataclasses.replace(seen))
    state.processes[8] = master(8)
    only(state, "orphan", "Then `systemctl restart pygun-shop.socket")


# -- the public address


def test_a_public_address_that_does_not_answer_is_found():
    state = host()
    state.apps[0].answer = Answer(0, "timed out")
    only(state, "not-answering", "GET /healthz on 127.0.0.1:5000 gives no answer: timed out", subject="shop")


@pytest.mark.parametrize("answer, code", [(Answer(503, ""), "health-failing"), (Answer(0, ""), "instance-silent")])
def test_an_instance_that_is_not_well_explains_that_the_public_address_does_not_answer(answer, code):
    state = host()
    state.apps[0].answer = Answer(0, "timed out")
    state.apps[0].instances[0].answer = answer
    only(state, code, subject="shop:shop-0")


# -- jobs


def test_a_job_that_failed_and_the_last_line_of_its_log():
    state = host(app())
    state.apps[0].jobs = [
        JobState("hourly", "pygun-shop.job-hourly", known=True),
        JobState("nightly", "pygun-shop.job-nightly", failure="ended with status 3", known=True),
    ]
    state.apps[0].job_logs = {"nightly": "starting\nno such table: orders\n\n"}
    found = only(state, "job-failed", "ended with status 3; its last words: no such table: orders", severity="warning")
    assert found.subject == "shop, job nightly" and "systemctl start pygun-shop.job-nightly.service" in found.remedy


def test_the_last_line_of_a_job_is_bounded():
    state = host(app())
    state.apps[0].jobs = [JobState("nightly", "pygun-shop.job-nightly", failure="ended with status 3", known=True)]
    state.apps[0].job_logs = {"nightly": "x\u2028\x1b[2J" + "y" * 100_000}
    found = only(state, "job-failed", "its last words: x\\u2028\\x1b[2Jyy", severity="warning")
    assert len(found.symptom) < 1000


def test_a_job_that_nothing_starts():
    state = host(app())
    state.apps[0].jobs = [JobState("nightly", "pygun-shop.job-nightly", timer="inactive")]
    only(state, "job-timer", "pygun-shop.job-nightly.timer is inactive", subject="shop, job nightly")
