# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module `host`, run as Ansible runs it on a host."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import venv
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor import program_scope
from tests.component.supervised import outcome, start_module

RUN = Path(__file__).parents[1] / "run_module.py"
ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(check=False, **given):
    given.update(_ansible_check_mode=check, _ansible_diff=True)
    return outcome(start_module([sys.executable, str(RUN), "host"], given))


def wanted(folder, text="one\n", **more):
    return {
        "directories": [
            {"path": f"{folder}/deep/conf.d", **ME},
            {"path": f"{folder}/logs", "mode": "1770", **ME},
        ],
        "files": [{"path": f"{folder}/deep/conf.d/app.conf", "content": text, **ME, **more}],
        "links": [{"path": f"{folder}/ctl", "target": "deep/ctl"}],
    }


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder):
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_all_is_made_once_and_kept(tmp_path):
    made = run(**wanted(tmp_path))
    assert made["changed"]
    assert made["paths"] == sorted(
        f"{tmp_path}/{name}" for name in ("ctl", "deep/conf.d", "deep/conf.d/app.conf", "logs")
    )
    assert (tmp_path / "deep/conf.d/app.conf").read_text() == "one\n"
    assert mode(tmp_path / "deep/conf.d/app.conf") == 0o644
    assert mode(tmp_path / "logs") == 0o1770
    assert os.readlink(tmp_path / "ctl") == "deep/ctl"
    before = everything(tmp_path)
    again = run(**wanted(tmp_path))
    assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])
    assert everything(tmp_path) == before


def test_a_check_says_what_the_run_does_and_does_nothing(tmp_path):
    foreseen = run(check=True, **wanted(tmp_path))
    assert everything(tmp_path) == []
    done = run(**wanted(tmp_path))
    assert (foreseen["paths"], foreseen["diff"]) == (done["paths"], done["diff"])


def test_what_differs_is_put_right_and_named(tmp_path):
    run(**wanted(tmp_path))
    (tmp_path / "deep/conf.d/app.conf").write_text("other\n")
    (tmp_path / "logs").chmod(0o755)
    (tmp_path / "ctl").unlink()
    (tmp_path / "ctl").symlink_to("elsewhere")
    for check in (True, False):
        done = run(check=check, **wanted(tmp_path))
        assert done["paths"] == sorted(f"{tmp_path}/{name}" for name in ("ctl", "deep/conf.d/app.conf", "logs"))
        shown = {diff["after_header"]: (diff["before"], diff["after"]) for diff in done["diff"]}
        assert shown == {
            f"{tmp_path}/deep/conf.d/app.conf": ("other\n", "one\n"),
            f"{tmp_path}/logs": ("mode: 0755\n", "mode: 01770\n"),
            f"{tmp_path}/ctl": ("-> elsewhere\n", "-> deep/ctl\n"),
        }
    assert not run(**wanted(tmp_path))["changed"]


def test_a_file_stays_named_until_the_service_that_reads_it_has_stopped(tmp_path):
    """A run that ends before it restarts the service leaves files that are as wanted, and a service that has read others."""
    file, note = f"{tmp_path}/deep/conf.d/app.conf", tmp_path / "run" / "pending"
    pending = {"path": str(note), "files": [file, f"{tmp_path}/other"]}
    run(**wanted(tmp_path), pending=pending)
    assert run(**wanted(tmp_path), pending=pending)["paths"] == [], "without its directory the service does not run"
    note.parent.mkdir()
    assert run(check=True, **wanted(tmp_path, "two\n"), pending=pending)["paths"] == [file]
    assert not note.exists()
    assert run(**wanted(tmp_path, "two\n"), pending=pending)["paths"] == [file]
    for check in (True, False):
        again = run(check=check, **wanted(tmp_path, "two\n"), pending=pending)
        assert (again["paths"], again["changed"], again["diff"]) == ([file], True, [])
    note.unlink()  # as systemd does when it stops the service
    assert run(**wanted(tmp_path, "two\n"), pending=pending)["paths"] == []


def test_a_link_where_a_file_is_to_be_is_replaced_not_followed(tmp_path):
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "app.conf").symlink_to("target")
    done = run(files=[{"path": f"{tmp_path}/app.conf", "content": "ours", **ME}])
    assert done["changed"]
    assert not (tmp_path / "app.conf").is_symlink()
    assert (tmp_path / "target").read_text() == "theirs"


def test_a_secret_is_in_no_result(tmp_path):
    given = {"path": f"{tmp_path}/secret", "secret_content": "pass\nword", "mode": "0600", **ME}
    made = run(files=[given])
    assert (tmp_path / "secret").read_text() == "pass\nword"
    assert mode(tmp_path / "secret") == 0o600
    (tmp_path / "secret").write_text("former")
    changed = run(files=[given])
    for result in (made, changed):
        assert result["changed"]
        assert "word" not in str(result)
        assert "former" not in str(result)
    assert not run(files=[given])["changed"]


def test_a_diff_shows_a_file_with_a_secret_but_for_the_lines_that_hold_it(tmp_path):
    """Turning on supervisord's web page, say."""

    def given(text):
        return {"path": f"{tmp_path}/x.conf", "secret_content": text, "hidden_lines": "password=", "mode": "0600", **ME}

    run(files=[given("[one]\n")])
    for old, new in (("", "password={SHA}first\n"), ("password={SHA}first\n", "password={SHA}other\n")):
        done = run(check=True, files=[given(f"[one]\nport=1\n{new}")])
        assert done["changed"] and "SHA" not in str(done)
        if not old:
            [diff] = done["diff"]
            assert (diff["before"], diff["after"]) == ("[one]\n", "[one]\nport=1\npassword=(not shown)\n")
        else:
            assert "what is not shown changes" in str(done["diff"])
        run(files=[given(f"[one]\nport=1\n{new}")])
    (tmp_path / "x.conf").write_text("[theirs]\nenvironment=KEY=secret\n")
    assert "secret" not in str(run(check=True, aside=[f"{tmp_path}/x.conf"], files=[given("[one]\n")])["diff"])


@pytest.mark.parametrize(
    ("validate", "problem"),
    [("false %s", "`false %s` ends with 1"), ("grep -q two %s", "ends with 1")],
)
def test_a_file_that_its_command_refuses_changes_nothing(tmp_path, validate, problem):
    done = run(**wanted(tmp_path, validate=validate))
    assert done["failed"]
    assert problem in done["msg"]
    assert "Nothing was changed" in done["msg"]
    assert everything(tmp_path) == []
    assert run(**wanted(tmp_path, text="two\n", validate="grep -q two %s"))["changed"]


def test_a_command_that_cannot_know_yet_does_not_stop_a_check(tmp_path):
    """On a fresh host the program, or the user that stands in the file, is only there in the real run."""
    for validate in ("/no/such/program %s", "false %s"):
        assert run(check=True, **wanted(tmp_path, validate=validate))["changed"]
        assert run(**wanted(tmp_path, validate=validate))["failed"]


@pytest.mark.parametrize("check", [False, True])
def test_files_that_refer_to_each_other_are_checked_as_they_will_be_before_one_is_replaced(tmp_path, check):
    """A certificate without its key, say: the file that names it does not change."""

    def files(key):
        main = {"path": f"{tmp_path}/main.cfg", "content": f"{tmp_path}/one.pem\n", **ME}
        return [main, {"path": f"{tmp_path}/one.pem", "secret_content": key, "mode": "0600", **ME}]

    command = """sh -c 'read name < "$0"; grep -q KEY "$name" || { echo "no key in $name"; exit 1; }' %s"""
    together = {"path": f"{tmp_path}/main.cfg", "command": command.replace("sh", "/bin/sh", 1)}
    assert run(files=files("KEY one"), validate_together=together)["changed"]
    there = everything(tmp_path)
    done = run(check=check, files=files("another"), validate_together=together)
    assert done["failed"]
    assert f"ends with 1: no key in {tmp_path}/one.pem" in done["msg"]
    assert done["msg"].endswith("Nothing was changed.")
    assert everything(tmp_path) == there
    assert (tmp_path / "one.pem").read_text() == "KEY one"
    assert run(check=check, files=files("KEY two"), validate_together=together)["changed"]


def test_a_program_that_a_check_has_not_installed_does_not_stop_it(tmp_path):
    together = {"path": f"{tmp_path}/main.cfg", "command": "/no/such/program %s"}
    files = [{"path": f"{tmp_path}/main.cfg", "content": "", **ME}]
    assert run(check=True, files=files, validate_together=together)["changed"]


@pytest.mark.parametrize("name", ["deep/conf.d", "deep/conf.d/app.conf", "ctl"])
def test_what_stands_in_the_way_is_named_and_left_alone(tmp_path, name):
    in_the_way = tmp_path / name
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".conf"):
        in_the_way.mkdir()
    else:
        in_the_way.write_text("precious")
    done = run(**wanted(tmp_path))
    assert done["failed"]
    assert f"{in_the_way} is to be " in done["msg"]
    assert in_the_way.is_dir() or in_the_way.read_text() == "precious"


def test_what_cannot_be_written_is_said_with_what_has_changed_before(tmp_path):
    """As on a full disk."""
    (tmp_path / "deep").write_text("precious")
    given = wanted(tmp_path)
    given["directories"].reverse()
    done = run(**given)
    assert done["failed"] and "exception" not in done
    assert f"'{tmp_path}/deep" in done["msg"]
    assert done["msg"].endswith(f"Changed so far: {tmp_path}/logs.")
    assert done["paths"] == [f"{tmp_path}/logs"]


@pytest.mark.parametrize("check", [True, False])
def test_what_others_have_there_is_kept_under_another_name(tmp_path, check):
    theirs = [tmp_path / name for name in ("deep/conf.d/app.conf", "deep/conf.d/theirs.ini", "ctl")]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    done = run(check=check, aside=list(map(str, theirs)), **wanted(tmp_path))
    assert done["changed"], done
    assert {str(path) for path in theirs} <= set(done["paths"])
    kept = [path.with_name(f"{path.name}.before-pygun") for path in theirs]
    assert [path.exists() for path in kept] == [not check] * 3
    if not check:
        assert [path.read_text() for path in kept] == ["theirs"] * 3
        assert not theirs[1].exists() and theirs[2].is_symlink()
        assert not run(**wanted(tmp_path))["changed"]


def test_what_was_kept_before_is_not_lost(tmp_path):
    (tmp_path / "ctl").write_text("theirs")
    (tmp_path / "ctl.before-pygun").write_text("before")
    done = run(aside=[f"{tmp_path}/ctl"], **wanted(tmp_path))
    assert done["failed"] and "is there already: move one of them away" in done["msg"]
    assert done["msg"].endswith("Nothing was changed.")
    assert (tmp_path / "ctl").read_text() == "theirs"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a directory to somebody else")
@pytest.mark.parametrize("other", [{"owner": "daemon"}, {"group": "daemon"}])
@pytest.mark.parametrize("check", [False, True])
def test_a_directory_that_is_in_service_keeps_its_owner(tmp_path, other, check):
    given = {"path": f"{tmp_path}/shared", "in_service": f"{tmp_path}/current", **ME}
    assert run(directories=[given])["changed"]
    (tmp_path / "current").symlink_to("releases/1")
    assert not run(directories=[given])["changed"]
    there = everything(tmp_path)
    account = {"group": "nobody-has-this", "user": "nobody-has-this", "home": "/nonexistent"}
    done = run(check=check, accounts=[account], directories=[{**given, **other}])
    assert done["failed"]
    assert f"{tmp_path}/shared is to belong to " in done["msg"]
    assert done["msg"].endswith("Nothing was changed.")
    assert everything(tmp_path) == there
    (tmp_path / "current").unlink()
    assert run(directories=[{**given, **other}])["changed"]


def test_bytes_that_are_no_text_are_replaced(tmp_path):
    (tmp_path / "app.conf").write_bytes(b"\xff\xfe\r\n")
    given = {"path": f"{tmp_path}/app.conf", "content": "héllo\r\n", **ME}
    assert run(files=[given])["changed"]
    assert (tmp_path / "app.conf").read_bytes() == "héllo\r\n".encode()
    assert not run(files=[given])["changed"]


def test_a_host_tells_what_it_is_and_lacks():
    told = run(packages=["dpkg", "no-such-package"], services=["no-such.service"])
    assert not told["changed"]
    assert "debian" in told["family"]
    assert told["distribution"]
    assert told["lacking"] == ["no-such-package"]
    assert told["active"] == []


def test_a_user_that_is_missing_or_not_as_wanted_is_foreseen():
    missing = {"group": "no-such-group", "user": "no-such-user", "home": "/srv/x/shared"}
    other = {"group": "root", "user": "root", "home": "/root"}
    told = run(check=True, accounts=[missing, other])
    assert told["changed"]
    assert told["paths"] == []
    shown = {diff["after_header"]: (diff["before"], diff["after"]) for diff in told["diff"]}
    assert shown == {
        "group no-such-group": ("", "a system group\n"),
        "user no-such-user": ("", "gid: no-such-group\nhome: /srv/x/shared\nshell: /usr/sbin/nologin\n"),
        "user root": (f"shell: {pwd.getpwnam('root').pw_shell}\n", "shell: /usr/sbin/nologin\n"),
    }


def test_a_user_that_is_as_wanted_is_left_alone():
    nobody = next(entry for entry in pwd.getpwall() if entry.pw_shell == "/usr/sbin/nologin")
    given = {"group": grp.getgrgid(nobody.pw_gid).gr_name, "user": nobody.pw_name, "home": nobody.pw_dir}
    told = run(accounts=[given])
    assert (told["changed"], told["diff"]) == (False, [])


def test_a_service_that_does_not_run_is_idle():
    assert run(services=["no-such.service", "nor-this.service"])["idle"] == ["no-such.service", "nor-this.service"]


def test_an_environment_that_has_what_it_is_to_have_is_ready(tmp_path):
    venv.create(tmp_path, symlinks=True, with_pip=False)
    packages = next(tmp_path.glob("lib/python3*/site-packages"))
    (packages / "uv-0.13.8.dist-info").mkdir()
    asked = {
        "python": sys.executable,
        "venvs": [
            {"path": str(tmp_path), "requirements": ["uv==0.13.8"]},
            {"path": str(tmp_path), "requirements": ["uv==0.13.9"]},
            {"path": str(tmp_path / "none"), "requirements": ["uv"]},
        ],
    }
    assert run(**asked)["ready"] == asked["venvs"][:1]
    (tmp_path / "bin" / "python").unlink()
    assert run(**asked)["ready"] == []


@pytest.mark.parametrize("name", ["queue.conf", "queue.conf.removed"])
def test_programs_that_a_scope_has_are_seen(tmp_path, name):
    asked = {"program_scope": {"name": "scoring", "conf_dir": str(tmp_path)}}
    (tmp_path / "other.conf").write_text(program_scope.head("other") + "[program:other]\n")
    (tmp_path / "own.conf").write_text("[program:own]\n")
    (tmp_path / "nowhere.conf").symlink_to("not-there")  # a person's; supervisor passes over it
    (tmp_path / "folder.conf").mkdir()
    assert not run(**asked)["programs"]
    (tmp_path / name).write_text(program_scope.head("scoring") + "[program:queue]\n")
    assert run(**asked)["programs"]
