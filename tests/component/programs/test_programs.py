"""Programs of any kind under a real supervisord."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from tests.component.supervised import has_ended

SECRET = "s3cret-value-of-a-token"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def actions(result):
    return {entry["name"]: entry["action"] for entry in result["programs"]}


def test_programs_come_change_one_alone_and_go(host):
    one, two = host.program("one"), host.program("two", numprocs=2)
    result = host.apply([one, two])
    assert not result.get("failed"), result
    assert result["changed"]
    assert set(host.states().items()) == {("one:one", "RUNNING"), ("two:two-0", "RUNNING"), ("two:two-1", "RUNNING")}
    pids = host.pids()

    again = host.apply([one, two])
    assert not again["changed"]
    assert again["diff"] == []
    assert host.pids() == pids

    changed = host.apply([host.program("one", "/bin/sleep 2000"), two])
    assert changed["changed"]
    assert actions(changed) == {"one": "changed", "two-0": "kept", "two-1": "kept"}
    after = host.pids()
    assert after.pop("one:one") != pids.pop("one:one")
    assert after == pids

    gone = host.apply([two])
    assert gone["changed"]
    assert host.pids() == pids
    assert list(host.files()) == ["two.conf"]
    assert not host.apply([two])["changed"]
    assert host.apply()["changed"]
    assert host.pids() == host.files() == {}


def test_another_scope_and_files_by_hand_are_left_alone(host):
    (host.conf / "hand.conf").write_text("[program:hand]\ncommand=/bin/sleep 1000\nstartsecs=0\n")
    host.supervisor.reload_config()
    host.supervisor.add_group("hand")
    host.apply([host.program("theirs")], scope="other")
    pids = host.pids()
    (host.conf / "hand.conf").write_text("[program:hand]\ncommand=/bin/sleep 2000\nstartsecs=0\n")

    assert host.apply([host.program("ours")])["changed"]
    assert host.apply([])["changed"]
    assert host.pids() == pids
    assert sorted(host.files()) == ["hand.conf", "theirs.conf"]


# -- what a program gets ---------------------------------------------------------------------------------------------


def test_a_program_gets_what_was_given(host, eventually):
    texts = {
        "PERCENT": "100% %s %%d",
        "COMMENT": "a ;b #c ; d",
        "QUOTES": "it's",
        "DOUBLE": 'say "x" now',
        "LETTERS": "ünï 漢字",
        "NUMBER": 7,
        "EMPTY": "",
        "OWN": "%(program_name)s-%(process_num)02d of %(numprocs)d",
    }
    command = f"""{sys.executable} -c 'import time; time.sleep(1000)' "a ;b" '#c' 100% %(process_num)d"""
    result = host.apply([host.program("odd", command, numprocs=2, environment=texts, directory="/usr")])
    assert not result.get("failed"), result
    # Until the interpreter has taken supervisord's place, the process is still supervisord's fork.
    eventually(lambda: host.environment("odd:odd-1").get("PERCENT"))
    found = host.environment("odd:odd-1")
    assert {name: found[name] for name in texts} == {
        **{name: str(value) for name, value in texts.items()},
        "OWN": "odd-01 of 2",
    }
    assert host.arguments("odd:odd-1")[3:] == ["a ;b", "#c", "100%", "1"]
    assert os.readlink(f"/proc/{host.pids()['odd:odd-1']}/cwd") == "/usr"


def test_a_program_has_the_home_of_its_user_unless_told_otherwise(host, eventually):
    host.apply([host.program("mine"), host.program("other", environment={"HOME": "/usr"})])
    eventually(lambda: "HOME" in host.environment("mine:mine"))
    assert host.environment("mine:mine")["HOME"] == os.path.expanduser("~")
    assert host.environment("mine:mine")["USER"] == host.me
    eventually(lambda: host.environment("other:other").get("HOME") == "/usr")


@pytest.mark.skipif(not shutil.which("gcc") and not shutil.which("cc"), reason="no C compiler on this machine")
def test_programs_that_are_not_python(host, tmp_path, eventually):
    """A binary, and a shell script whose children end with it."""
    source, binary = tmp_path / "tick.c", host.folder / "tick"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        'int main(void) { for (;;) { puts("tick"); fflush(stdout); usleep(100000); } }\n'
    )
    subprocess.run([shutil.which("cc") or "gcc", "-o", binary, source], check=True)
    script = host.folder / "loop.sh"
    script.write_text("#!/bin/sh\nwhile :; do sleep 999; done\n")
    script.chmod(0o755)
    result = host.apply([host.program("tick", str(binary)), host.program("loop", str(script), stopasgroup=True)])
    assert not result.get("failed"), result
    eventually(lambda: "tick\n" in (host.logs / "tick.log").read_text())
    shell = host.pids()["loop:loop"]
    [child] = eventually(
        lambda: [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and f"\nPPid:\t{shell}\n" in status(pid)]
    )
    host.apply([host.program("tick", str(binary))])
    eventually(lambda: has_ended(child))


def status(pid):
    try:
        with open(f"/proc/{pid}/status") as stream:
            return stream.read()
    except OSError:
        return ""


def test_a_listener_is_told_what_happens(host, eventually):
    result = host.apply([host.program("one")], [host.listener("ears", events=["PROCESS_STATE_STOPPED", "TICK_5"])])
    assert not result.get("failed"), result
    host.supervisor.stop("one:one")
    eventually(lambda: "PROCESS_STATE_STOPPED processname:one" in (host.logs / "ears.log").read_text())
    pids = host.pids()
    changed = host.apply([host.program("one")], [host.listener("ears", events=["TICK_5"])])
    assert actions(changed) == {"ears": "changed", "one": "kept"}
    assert host.pids()["one:one"] == pids["one:one"]


def test_programs_of_a_group_restart_together_and_no_others(host):
    def wanted(seconds):
        return [
            host.program("alone"),
            host.program("first", group="pair", priority=5),
            host.program("second", f"/bin/sleep {seconds}", group="pair"),
        ]

    result = host.apply(wanted(1000))
    assert not result.get("failed"), result
    assert set(host.pids()) == {"alone:alone", "pair:first", "pair:second"}
    assert not host.apply(wanted(1000))["changed"]
    pids = host.pids()
    host.apply(wanted(2000))
    after = host.pids()
    assert after["alone:alone"] == pids["alone:alone"]
    assert after["pair:first"] != pids["pair:first"]
    # Out of the group: its old process must be gone before the new one starts.
    host.apply([host.program("alone"), host.program("first", group="pair"), host.program("second")])
    assert set(host.pids()) == {"alone:alone", "pair:first", "second:second"}
    assert sorted(host.files()) == ["alone.conf", "pair.conf", "second.conf"]


def test_a_program_that_ends_as_it_should_is_no_failure(host, eventually):
    result = host.apply([host.program("once", "/bin/true", autorestart="false"), host.program("off", autostart=False)])
    assert not result.get("failed"), result
    eventually(lambda: host.states() == {"once:once": "EXITED", "off:off": "STOPPED"})
    assert not host.apply(
        [host.program("once", "/bin/true", autorestart="false"), host.program("off", autostart=False)]
    )["changed"]


def test_what_an_operator_has_stopped_stays_stopped(host, eventually):
    host.apply([host.program("one")])
    host.supervisor.stop("one:one")
    eventually(lambda: host.states() == {"one:one": "STOPPED"})
    assert not host.apply([host.program("one")])["changed"]
    assert host.states() == {"one:one": "STOPPED"}


def test_a_program_that_gave_up_meanwhile_is_told_and_left_alone(host, eventually):
    crash = host.folder / "crash"
    command = f"/bin/sh -c 'test ! -e {crash} || exit 1; exec sleep 1000'"
    one = host.program("one", command, startsecs=1, startretries=0, autorestart="true")
    assert not host.apply([one]).get("failed")
    crash.touch()
    os.kill(host.pids()["one:one"], 9)
    eventually(lambda: host.states() == {"one:one": "FATAL"})
    result = host.apply([one])
    assert not result["changed"]
    assert "one:one is FATAL" in str(result["warnings"])


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"command": "/no/such/program"}, "there is no /no/such/program"),
        ({"command": "no-such-program --x"}, "no program no-such-program is in /usr/local/sbin:"),
        ({"command": "/etc/passwd"}, "/etc/passwd is not executable"),
        ({"command": "/etc"}, "/etc is no file"),
        ({"user": "nobody-of-that-name"}, "this host has no user nobody-of-that-name"),
        ({"directory": "/no/such/place"}, "there is no such directory"),
        ({"stdout_logfile": "/no/such/place/x.log"}, "stdout_logfile is in /no/such/place"),
        ({"stopsignal": "TREM"}, "is TERM meant"),
        ({"environment": {"A": f"{SECRET}\nx"}}, "the value of A holds a line break"),
        ({"name": "a/b"}, "write letters"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_changes(host, settings, says):
    host.apply([host.program("good")])
    before, files = host.pids(), host.files()
    result = host.apply([host.program("good", "/bin/sleep 2000"), {**host.program("bad"), **settings}])
    assert result["failed"]
    assert says in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")
    assert SECRET not in str(result)
    assert host.pids() == before
    assert host.files() == files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another user")
def test_a_file_that_the_user_may_not_execute_is_refused(host):
    folder = host.folder / "private"
    folder.mkdir(mode=0o700)
    shutil.copy("/bin/sleep", folder / "sleep")
    result = host.apply([{**host.program("x", f"{folder}/sleep 1000"), "user": "nobody"}])
    assert f"nobody may not execute {folder}/sleep" in result["msg"]


def test_a_name_that_somebody_else_has_is_refused(host):
    (host.conf / "scoring.conf").write_text(
        "[fcgi-program:scoring]\ncommand=/bin/sleep 1000\nsocket=tcp://127.0.0.1:1\n"
    )
    for wanted in (host.program("scoring"), host.program("x", group="scoring")):
        result = host.apply([wanted])
        assert "scoring" in result["msg"]
        assert "Nothing was changed." in result["msg"]
    host.apply([host.program("mine")], scope="one")
    assert "defines a program of that name" in host.apply([host.program("mine")], scope="two")["msg"]
    assert "name of a program and of a listener" in host.apply([host.program("x")], [host.listener("x")])["msg"]


# -- failure ---------------------------------------------------------------------------------------------------------


def test_a_link_to_nothing_among_the_files_is_passed_over(host):
    (host.conf / "nowhere.conf").symlink_to("not-there")
    result = host.apply([host.program("one")])
    assert not result.get("failed"), result["msg"]
    assert host.processes()["one:one"].state == "RUNNING"


def test_a_program_that_does_not_start_leaves_everything_as_it_was(host, eventually):
    host.apply([host.program("changes"), host.program("goes"), host.program("stays")])
    host.supervisor.stop("goes:goes")
    before, files = host.pids(), host.files()
    bad = "/bin/sh -c 'echo the disk has gone away >&2; exit 3'"
    result = host.apply(
        [
            host.program("changes", bad, startsecs=1, startretries=0),
            host.program("stays"),
            host.program("new", environment={"TOKEN": SECRET}),
        ]
    )
    assert result["failed"]
    assert "changes did not start" in result["msg"]
    assert "the disk has gone away" in result["msg"]
    assert "as they were before" in result["msg"]
    assert result["rolled_back"]
    assert host.files() == files
    after = host.pids()
    assert after["stays:stays"] == before["stays:stays"]
    assert host.states()["changes:changes"] in ("RUNNING", "STARTING")
    assert host.arguments("changes:changes") == ["/bin/sleep", "1000"]
    eventually(lambda: host.states()["goes:goes"] == "STOPPED")
    assert set(after) == set(before)
    assert not host.apply([host.program("changes"), host.program("goes"), host.program("stays")])["changed"]


def test_a_configuration_that_supervisord_cannot_read_leaves_everything_as_it_was(host):
    host.apply([host.program("one")])
    before, files = host.pids(), host.files()
    (host.conf / "zz.conf").write_text("[program:hand]\nuser=nobody-of-that-name\ncommand=/bin/true\n")
    result = host.apply([host.program("one", "/bin/sleep 2000")])
    assert "zz.conf" in result["msg"]
    assert "as they were before" in result["msg"]
    (host.conf / "zz.conf").unlink()
    assert (host.pids(), host.files()) == (before, files)


def test_no_supervisord_is_said(host):
    host.shut_down()
    host.process = None
    result = host.apply([host.program("one")])
    assert "supervisord is not running" in result["msg"]
    assert host.files() == {}
    assert host.apply([host.program("one")], check=True)["changed"]


def test_a_supervisord_that_is_just_starting_is_waited_for(host):
    host.shut_down()
    process = host.start([host.program("one")])
    time.sleep(1)
    host.boot()
    result = host.outcome(process)
    assert not result.get("failed"), result
    assert host.states() == {"one:one": "RUNNING"}


def test_a_run_waits_for_another(host):
    """Or one would read files that the other is about to put back."""
    assert host.apply([host.program("one")])["changed"]
    lock = host.conf.with_name(f"{host.conf.name}.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = host.start([host.program("two")])
        time.sleep(2)
        assert list(host.files()) == ["one.conf"]
    assert host.outcome(process)["changed"]


def test_a_user_who_holds_the_folder_keeps_no_run_from_it(host):
    """Every user may read the folder, and so lock it."""
    descriptor = os.open(host.conf, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    begun = time.monotonic()
    assert host.apply([host.program("one")])["changed"]
    assert time.monotonic() - begun < 60
    os.close(descriptor)


def test_a_host_without_supervisor_is_said(host):
    result = host.apply([host.program("one")], conf_dir=str(host.folder / "nowhere"))
    assert "nowhere: No such file or directory. Apply pygun.stack.supervisor" in result["msg"]
    assert host.apply([host.program("one")], conf_dir=str(host.folder / "nowhere"), check=True)["changed"]


STEPS = ("files", "read", "took out changes", "put in changes", "took out goes", "took out comes", "put in comes")


@pytest.mark.parametrize("step", STEPS)
def test_the_next_run_ends_what_a_killed_one_began(host, step):
    before = [host.program("changes"), host.program("goes"), host.program("stays")]
    wanted = [host.program("changes", "/bin/sleep 2000"), host.program("comes"), host.program("stays")]
    host.apply(before)
    stays = host.pids()["stays:stays"]
    assert host.outcome(host.start(wanted, kill_at=step)) is None, "the step was not reached"
    result = host.apply(wanted)
    assert not result.get("failed"), result
    assert set(host.states().items()) == {
        ("changes:changes", "RUNNING"),
        ("comes:comes", "RUNNING"),
        ("stays:stays", "RUNNING"),
    }
    assert host.arguments("changes:changes") == ["/bin/sleep", "2000"]
    assert host.pids()["stays:stays"] == stays
    assert sorted(host.files()) == ["changes.conf", "comes.conf", "stays.conf"]
    assert not host.apply(wanted)["changed"]


# -- check mode, diff, secrets ---------------------------------------------------------------------------------------


def test_a_check_says_what_would_happen_and_changes_nothing(host):
    host.apply([host.program("changes"), host.program("goes"), host.program("stays")])
    before, files = host.pids(), host.files()
    wanted = [host.program("changes", "/bin/sleep 2000"), host.program("comes"), host.program("stays")]
    predicted = host.apply(wanted, check=True)
    assert (host.pids(), host.files()) == (before, files)
    done = host.apply(wanted)
    assert predicted["diff"] == done["diff"]
    assert (
        actions(predicted)
        == actions(done)
        == {
            "changes": "changed",
            "comes": "added",
            "goes": "removed",
            "stays": "kept",
        }
    )
    assert not host.apply(wanted, check=True)["changed"]


def test_a_check_on_a_fresh_host_warns_of_what_something_may_only_have_pretended_to_make(host):
    result = host.apply([host.program("x", "/no/such/program")], check=True)
    assert result["changed"]
    assert "there is no /no/such/program" in str(result["warnings"])


def test_secrets_are_for_root_and_in_no_diff(host):
    def wanted(value):
        return [host.program("one", environment={"TOKEN": value, "COLOUR": "red"}), host.program("two")]

    first = host.apply(wanted(SECRET))
    assert mode(host.conf / "one.conf") == 0o600
    assert mode(host.conf / "two.conf") == 0o644
    second = host.apply(wanted(SECRET[::-1]))
    assert second["changed"]
    third = host.apply([host.program("one")])
    assert mode(host.conf / "one.conf") == 0o644
    for result in (first, second, third, host.apply(wanted(SECRET), check=True)):
        assert SECRET not in str(result)
        assert SECRET[::-1] not in str(result)
    [diff] = second["diff"]
    assert "TOKEN=... (changed)" in diff["after"]
    assert "COLOUR=...," in diff["after"] or diff["after"].count("(changed)") == 1
    assert "(changed)" not in diff["before"]


def test_a_short_value_does_not_mask_the_rest_of_the_result(host):
    result = host.apply([host.program("one", environment={"WORKERS": "1", "MODE": "RUNNING"})])
    assert result["programs"][0]["state"] == "RUNNING"
    if "invocation" in result:  # ansible-core 2.21 sends it only to those who ask for it
        assert "1" not in str(result["invocation"]["module_args"]["programs"][0]["environment"])


def test_a_run_without_work_is_quick(host):
    def seconds(programs):
        begun = time.monotonic()
        assert not host.apply(programs)["changed"]
        return time.monotonic() - begun

    nothing = seconds([])
    wanted = [host.program(f"p{number}") for number in range(20)]
    host.apply(wanted)
    assert seconds(wanted) < 3 * nothing + 3
