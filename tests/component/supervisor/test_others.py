"""Supervisors and files of others are seen before anything of ours is there: a real supervisord, started by hand."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor import others, program_scope
from tests.component.supervised import START_SUPERVISORD, SUPERVISORD, eventually, listens

UNIT = "[Service]\nExecStart=/opt/pygun/supervisor/bin/python -I /opt/pygun/supervisord.py /opt/pygun/supervisor/bin/supervisord --nodaemon\n"


@pytest.fixture(name="place")
def place_fixture(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "UNIT", str(tmp_path / "supervisord.service"))
    (tmp_path / "conf.d").mkdir()
    return tmp_path


@pytest.mark.skipif(os.getuid() != 0, reason="a supervisord of somebody else does not fight with root's")
def test_a_supervisord_that_was_started_by_hand_is_named_if_it_reads_our_places(place):
    (place / "supervisord.conf").write_text(SUPERVISORD.format(folder=place))
    started = subprocess.Popen([*START_SUPERVISORD, "-c", f"{place}/supervisord.conf"], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: listens(place / "supervisor.sock"))
        [told] = others.running(str(place), "/opt/pygun")
        assert f"pid {started.pid} " in told and "of user root" in told
        assert str(place) not in told
        assert others.running("/etc/elsewhere", "/opt/pygun") == []
        (place / "supervisord.service").write_text(UNIT)
        assert others.running(str(place), "/opt/pygun") == []
    finally:
        started.terminate()
        started.wait(60)


def test_files_of_others_are_named_until_ours_is_installed(place):
    def found():
        return [os.path.basename(path) for path in others.in_our_places(str(place), "/opt/pygun", f"{place}/ctl")]

    assert found() == []
    (place / "supervisord.conf").write_text("[supervisord]\n")
    (place / "conf.d" / "theirs.ini").write_text("[program:x]\ncommand=/bin/x\n")
    (place / "conf.d" / "ours.conf").write_text(program_scope.head("supervisor") + "[program:y]\n")
    (place / "conf.d" / "app.conf").write_text("[fcgi-program:a]\ncommand=/srv/a/current/lib/pygun_runtime/launch.py\n")
    (place / "supervisord.service").write_text("[Service]\nExecStart=/usr/local/bin/supervisord -n\n")
    (place / "ctl").write_text("")
    assert found() == ["supervisord.conf", "theirs.ini", "supervisord.service", "ctl"]
    (place / "supervisord.conf").write_text(
        "[supervisord]\n; It starts programs as other users, so it is root, and says so.\n"
    )
    (place / "ctl").unlink()
    (place / "ctl").symlink_to("/opt/pygun/supervisor/bin/supervisorctl")
    assert found() == ["theirs.ini", "supervisord.service"]
    (place / "supervisord.service").write_text(UNIT)
    assert found() == []


def test_the_templates_of_the_role_are_known_as_ours():
    role = os.path.join(os.path.dirname(__file__), *[".."] * 3, "roles", "supervisor", "templates", "etc")
    with open(os.path.join(role, "supervisor", "supervisord.conf.j2"), encoding="utf-8") as file:
        assert others._OUR_CONFIGURATION in file.read()
    with open(os.path.join(role, "systemd", "system", "supervisord.service.j2"), encoding="utf-8") as file:
        text = (
            file.read().replace("{{ python_tools_dir }}", "/opt/pygun").replace("{{ supervisor_conf_dir }}", "/etc/x")
        )
    assert others._OUR_UNIT.search(text)
