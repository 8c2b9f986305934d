"""Findings about supervisord, its unit and its configuration: each from its state."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor.examination import findings_of
from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import Listener, Outcome
from tests.unit.doctor.hosts import CONF, REFUSED, SUPERVISORD, codes, host, only, process, stopped

UNIT = "supervisord.service"


# -- the unit


@pytest.mark.parametrize(
    "properties, code, words",
    [
        ({"LoadState": "not-found", "UnitFileState": ""}, "unit-missing", f"there is no {UNIT}"),
        ({"LoadState": "masked", "UnitFileState": "masked"}, "unit-masked", f"{UNIT} is masked and inactive"),
        ({"UnitFileState": "disabled"}, "unit-disabled", f"{UNIT} is disabled and inactive"),
    ],
)
def test_a_unit_that_nothing_starts_is_the_only_finding_of_a_host_that_is_down(properties, code, words):
    finding = only(stopped(host(), **properties), code, words, subject=UNIT)
    assert finding.symptom.count(UNIT) == 1


def test_a_disabled_unit_that_runs_is_found():
    state = host()
    state.unit.properties["UnitFileState"] = "disabled"
    only(state, "unit-disabled", "is disabled and active")


def test_a_stopped_unit_is_found():
    only(stopped(host(), Result="success"), "unit-stopped", f"{UNIT} is inactive (success)", f"systemctl start {UNIT}")


def test_a_host_whose_systemd_says_nothing_is_none_that_is_down():
    state = stopped(host())
    state.unit.properties = {}
    assert codes(state) == []


@pytest.mark.parametrize(
    "substate, cause, remedy",
    [
        ("failed", "systemd does not start it again", f"Then `systemctl restart {UNIT}`"),
        ("auto-restart", "each time that systemd starts it (3 times so far)", "it goes on trying"),
    ],
)
def test_a_unit_that_fails_is_found_with_its_last_words(substate, cause, remedy):
    state = stopped(host(), "activating", SubState=substate, NRestarts="3", Result="exit-code")
    state.unit.journal = "Unable to locate executable"
    only(state, "unit-failed", "Unable to locate executable", cause, remedy)


def test_a_unit_that_fails_for_a_known_cause_is_found_with_that_cause():
    state = stopped(host(), "failed")
    state.unit.log = (
        "Error: Another program is already listening on a port that one of our HTTP servers is configured to use"
    )
    only(state, "unit-failed", "belongs to another program")


def test_what_a_killed_supervisord_left_behind_is_found():
    state = stopped(host())
    state.configuration.run_files = ["/run/s.sock", "/run/s.pid"]
    only(state, "stale-files", "/run/s.sock and /run/s.pid are still there", subject="/run/s.sock and /run/s.pid")


# -- the configuration


def test_a_configuration_that_is_gone_is_found():
    state = host()
    state.configuration.exists, state.configuration.settings = False, {}
    only(state, "conf-missing", f"there is no {CONF}", subject=CONF)


def test_a_configuration_that_keeps_supervisord_from_starting_says_so():
    state = stopped(host())
    state.configuration.exists, state.configuration.settings = False, {}
    assert only(state, "conf-missing").symptom == f"there is no {CONF}; {UNIT} is inactive"


@pytest.mark.parametrize("text", ["", *REFUSED])
def test_a_configuration_that_cannot_be_read_explains_that_the_unit_fails(text):
    state = stopped(host(), "failed")
    state.configuration.parser = Outcome(2 if text else 0, text)
    state.configuration.files = {} if text else {"x.conf": "x\u00a0"}
    (finding,) = findings_of(state)
    assert finding.symptom.endswith(f"; {UNIT} is failed")


def test_without_a_unit_nobody_misses_the_configuration():
    state = stopped(host(), LoadState="not-found")
    state.configuration.exists, state.configuration.settings = False, {}
    only(state, "unit-missing")


@pytest.mark.parametrize(
    "text, code, subject",
    [
        (
            "Error: not a valid boolean value: 'x' in section 'program:x' (file: '/etc/x.conf')\nFor help, use --help",
            "supervisor-value",
            "/etc/x.conf",
        ),
        ("Error: File contains no section headers.\nfile: '/etc/x.conf', line: 1", "supervisor-syntax", "/etc/x.conf"),
        ("Error: .ini file does not include supervisord section", "supervisor-section", CONF),
        ("strange words", "conf-invalid", CONF),
    ],
)
def test_a_configuration_that_supervisor_refuses_is_found(text, code, subject):
    state = host()
    state.configuration.parser = Outcome(2, text)
    state.configuration.settings = {}
    finding = only(state, code, text.partition("\n")[0], subject=subject)
    assert "For help" not in finding.symptom


def test_a_sign_that_looks_like_another_is_found_in_the_file_that_supervisor_names():
    state = host()
    state.configuration.files = {"/etc/x.conf": "autostart\uff1dtrue"}
    state.configuration.parser = Outcome(2, "Error: Source contains parsing errors: '/etc/x.conf'\n")
    only(state, "supervisor-syntax", "/etc/x.conf, line 1, column 10: U+FF1D")


def test_a_hidden_character_explains_what_supervisor_refuses():
    state = host()
    state.configuration.files = {"/etc/x.conf": "autostart=true\u00a0"}
    state.configuration.parser = Outcome(
        2, "Error: not a valid boolean value: 'x' in section 'x' (file: '/etc/x.conf')"
    )
    only(state, "hidden-character", "/etc/x.conf, line 1, column 15: U+00A0", subject="/etc/x.conf")


@pytest.mark.parametrize("section", ["unix_http_server", "rpcinterface:supervisor", "supervisorctl"])
def test_a_section_that_is_missing_explains_that_supervisorctl_fails(section):
    state = host()
    del state.configuration.settings[section]
    state.supervisord.control = Outcome(2, "supervisord responded but did not recognize the supervisor namespace")
    only(state, "conf-section", f"no section [{section}] in {CONF}")


def test_a_supervisord_that_does_not_say_that_it_is_root_is_found():
    state = host()
    del state.configuration.settings["supervisord"]["user"]
    only(state, "supervisor-root", "user=root", severity="warning")


@pytest.mark.parametrize("code", ["conf-missing", "conf-invalid", "hidden-character"])
@pytest.mark.parametrize("control", [Outcome(2, "strange words"), Outcome(-1, "", timed_out=True)])
def test_a_configuration_that_cannot_be_read_explains_that_nobody_can_talk_to_supervisord(code, control):
    state = host()
    state.supervisord.control, state.supervisord.error = control, "no answer"
    state.configuration.exists = code != "conf-missing"
    state.configuration.parser = Outcome(2 if code == "conf-invalid" else 0, "strange words")
    state.configuration.files = {"x.conf": "x\u00a0"} if code == "hidden-character" else {}
    only(state, code)


# -- other programs


def test_a_second_supervisord_is_found():
    state = host()
    state.processes[7] = process(7, "/usr/bin/python3", "/usr/bin/supervisord", unit="supervisor.service")
    state.processes[8] = process(8, "/usr/bin/python3", "/usr/bin/supervisord", parent=7)
    only(state, "supervisor-second", "in supervisor.service", "systemctl disable --now supervisor.service")


def test_a_second_supervisord_that_has_a_configuration_of_its_own_is_a_warning():
    state = host()
    state.processes[7] = process(7, "supervisord", "-c", "/root/own.conf")
    only(state, "supervisor-second", "`kill 7`", severity="warning")


def test_what_a_user_calls_supervisord_is_none():
    """An app could have the doctor blame the host, or hide who has its port."""
    state = host()
    state.processes[7] = process(7, "supervisord", "-c", CONF, user="shop")
    assert codes(state) == []


def test_a_child_of_supervisord_that_is_not_a_program_yet_is_none():
    state = host()
    state.processes[7] = process(7, "python", "supervisord", parent=SUPERVISORD)
    assert codes(state) == []


def test_a_second_supervisord_explains_that_the_unit_fails():
    state = stopped(host(), "activating", SubState="auto-restart")
    state.processes[7] = process(7, "supervisord", "-c", CONF)
    finding = only(state, "supervisor-second", "it goes on trying")
    assert "activating" not in finding.symptom


def test_a_supervisord_that_was_just_started_in_the_face_of_another_is_not_believed():
    state = host()
    state.supervisord.uptime, state.supervisord.error = 2.0, "no answer"
    state.processes[7] = process(7, "supervisord", "-c", CONF)
    only(state, "supervisor-second")


def test_a_program_on_the_port_of_the_web_page_is_found_and_explains_that_the_unit_fails():
    state = stopped(host(), "failed")
    state.configuration.settings["inet_http_server"] = {"port": "127.0.0.1:9001"}
    state.processes[7] = process(7, "python3", "-m", "http.server", user="nobody")
    state.listeners = {9001: [Listener("127.0.0.1", 9001, "nobody", (7,))]}
    finding = only(state, "web-port-taken", "pid 7 of user nobody: python3 -m http.server listens on 127.0.0.1:9001")
    assert finding.symptom.endswith(f"; {UNIT} is failed")


def test_supervisord_on_its_own_web_port_is_not():
    state = host()
    state.configuration.settings["inet_http_server"] = {"port": "*:9001"}
    state.listeners = {9001: [Listener("0.0.0.0", 9001, "root", (SUPERVISORD,))]}
    assert codes(state) == []


# -- its answers


@pytest.mark.parametrize(
    "text, code",
    [
        ("Error: .ini file does not include supervisorctl section", "supervisor-section"),
        ("error: supervisord responded but did not recognize the supervisor namespace", "supervisor-rpcinterface"),
        ("unix:///run/supervisor/supervisor.sock no such file", "supervisor-no-socket"),
        ("unix:///run/supervisor/supervisor.sock refused connection", "supervisor-refused"),
        ("Server requires authentication", "supervisor-password"),
        ("strange words", "supervisorctl"),
    ],
)
def test_a_supervisorctl_that_fails_is_found_and_explains_that_supervisord_does_not_answer(text, code):
    state = host()
    state.supervisord.control, state.supervisord.error = Outcome(2, text), "it does not answer"
    only(state, code, text, subject=UNIT)


def test_a_supervisord_that_hangs_is_found_also_if_supervisorctl_waits_in_vain():
    state = host()
    state.supervisord.error, state.supervisord.running = "did not answer within 5 s", None
    only(state, "supervisord-silent", "did not answer within 5 s", subject=UNIT)
    state.supervisord.control = Outcome(-1, "whatever it says", timed_out=True)
    only(state, "supervisord-silent")
    del state.configuration.settings["unix_http_server"]
    only(state, "conf-section")
