"""The table of many hosts, and the playbook that prints it."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.status_table import report, table

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024
MEMORY = {"kind": "PSS", "bytes": 15 * MIB}
GUIDE = (ROOT / "docs" / "docsite" / "rst" / "daily_operation.rst").read_text()


def app(name="scoring", **more):
    return {
        "name": name,
        "release": "0a1b2c3d4e5f6071",
        "since": "2026-03-01T09:00:00.000000Z",
        "age_s": 3 * 86400,
        "address": "127.0.0.1:5000",
        "logs": f"/var/log/{name}",
        "last_deploy": {"at": "2026-03-01T09:00:00.000000Z", "by": "anna", "release": "0a1b2c3d4e5f6071"},
        "failed_releases": [],
        "transaction": "",
        "environment_changed": False,
        "stock_gunicorn": "",
        "processes": [],
        "instances": {"ready": 2, "total": 2},
        "workers": 4,
        "memory": {"kind": "PSS", "bytes": 182 * MIB},
        "requests": 12345,
        **more,
    }


def found(*apps, problems=(), **more):
    """What the module returned, as Ansible registers it."""
    memory = {"kind": "PSS", "bytes": 21 * MIB}
    return {
        "changed": False,
        "failed": False,
        "at": "2026-03-04T09:00:00.000000Z",
        "supervisord": {"state": "RUNNING", "pid": 7, "version": "4.3.0", "uptime_s": 7200, "memory": memory, "unit": "enabled"},
        "web_page": "",
        "apps": list(apps),
        "programs": [],
        "problems": [{"subject": subject, "what": what} for subject, what in problems],
        "ok": not problems,
        **more,
    }  # fmt: skip


SILENT = {"unreachable": True, "changed": False, "msg": "Failed to connect:\n no route to host"}


def test_jobs_have_a_table_of_their_own():
    jobs = [
        {
            "name": "nightly",
            "last": "2026-03-04T03:00:00.000000Z",
            "next": "2026-03-05T03:00:00.000000Z",
            "result": "ok",
        },
        {"name": "weekly", "last": None, "next": None, "result": "-"},
    ]
    lines = table({"web-1": found(app(jobs=jobs))}).splitlines()
    assert [line.split() for line in lines[3:6]] == [
        ["HOST", "APP", "JOB", "LAST", "RUN", "(UTC)", "RESULT", "NEXT", "RUN", "(UTC)"],
        ["web-1", "scoring", "nightly", "2026-03-04", "03:00", "ok", "2026-03-05", "03:00"],
        ["web-1", "scoring", "weekly", "-", "-", "-"],
    ]


def test_a_rollout_that_stopped_half_way_is_told():
    old = app(release="aaaaaaaaaaaaaaaa")
    said = table({"web-1": found(app()), "web-2": found(old, app("other")), "web-3": found(old)})
    assert (
        "\nscoring is not the same everywhere: 0a1b2c3d on web-1; aaaaaaaa on web-2, web-3. If a rollout stopped half-way,"
        " deploy again to go on, or roll back where it came (ansible-playbook pygun.stack.rollback).\n\nEach host by itself is as it should be."
        in said
    )
    assert "everywhere" not in table({"web-1": found(app()), "web-2": found(app()), "web-3": SILENT})


def test_the_table_has_a_line_for_each_app_and_says_that_all_is_well():
    assert table({"web-1": found(app(), app("billing", requests=None))}) == "\n\n".join(
        (
            "HOST   APP      RELEASE     SINCE  INSTANCES  WORKERS  MEMORY (PSS)  REQUESTS"
            "  LAST DEPLOY (UTC)         LOGS\n"
            "web-1  scoring  0a1b2c3d  3 d ago  2/2 ready        4       182 MiB    12,345"
            "  2026-03-01 09:00 by anna  /var/log/scoring\n"
            "web-1  billing  0a1b2c3d  3 d ago  2/2 ready        4       182 MiB         -"
            "  2026-03-01 09:00 by anna  /var/log/billing",
            "HOST   PROGRAM      STATE    PID   UP  MEMORY (PSS)\nweb-1  supervisord  RUNNING    7  2 h        21 MiB",
            "Everything is as it should be.",
        )
    )


def test_the_accelerators_of_each_instance_are_noted():
    held = [{"name": "scoring-0", "accelerators": ["0", "2"]}, {"name": "scoring-1", "accelerators": ["1,3"]}]
    holder = [{"name": "scoring-2"}]
    assert "\nweb-1: accelerators of scoring: scoring-0 0 2, scoring-1 1,3\n" in table(
        {"web-1": found(app(processes=held + holder))}
    )
    assert "accelerators" not in table({"web-1": found(app(processes=holder))})


def test_the_dirty_workers_of_each_instance_are_noted():
    held = [{"name": "scoring-0", "dirty_workers": 2}, {"name": "scoring-1", "dirty_workers": 1}, {"name": "scoring-2"}]
    assert "\nweb-1: dirty workers of scoring: scoring-0 2, scoring-1 1\n" in table(
        {"web-1": found(app(processes=held))}
    )


def test_a_host_that_does_not_answer_has_its_line_and_its_reason():
    lines = table({"web-1": found(app()), "web-2": SILENT}).splitlines()
    assert any(line.split() == ["web-2", "no", "answer"] for line in lines)
    assert "  web-2: does not answer: Failed to connect: no route to host" in lines


def test_a_host_on_which_the_module_failed_is_told_as_well():
    assert "web-1: could not be looked at: no python" in table({"web-1": {"failed": True, "msg": "no python"}})


def test_problems_are_told_with_host_and_subject_and_the_way_to_the_doctor():
    text = table({"web-1": found(app(), problems=[("scoring:scoring-1", "is FATAL")])})
    assert "Not as it should be:\n  web-1 scoring:scoring-1: is FATAL\n" in text
    assert text.endswith("pygun.stack.doctor")
    assert "Everything" not in text


def test_memory_of_two_kinds_is_told_apart():
    text = table({"a": found(app()), "b": found(app(memory={"kind": "RSS", "bytes": 200 * MIB}))})
    assert "182 MiB PSS" in text
    assert "200 MiB RSS" in text
    assert "MEMORY (" not in text


def test_long_cells_are_cut_where_they_say_least():
    text = table({"h" * 80: found(app("a" * 60, logs="/data/" + "x" * 60 + "/scoring"))})
    assert "h" * 27 + "... " in text
    assert "h" * 28 not in text
    assert "..." + "x" * 25 + "/scoring" in text
    assert max(map(len, text.splitlines())) < 260


def test_nothing_that_an_app_writes_reaches_the_terminal_as_a_command():
    text = table({"web-1": found(app(logs="/a\x1b[2Jb\n"), problems=[("x\x1b]0;y\x07", "is\rFATAL\u202e")])})
    assert all(line.isprintable() for line in text.split("\n"))


def test_failed_releases_and_the_web_page_are_notes():
    failed = [{"release": "ffff2c3d4e5f6071", "at": "2026-03-02T10:00:00.000000Z", "step": "roll"}]
    text = table({"web-1": found(app(failed_releases=failed), web_page="http://127.0.0.1:9001")})
    assert "web-1: web page http://127.0.0.1:9001" in text
    assert "web-1: releases of scoring that did not pass: ffff2c3d (roll, 2026-03-02 10:00)" in text
    assert "Everything is as it should be." in text


def test_an_environment_that_nobody_has_read_yet_is_a_note():
    text = table({"web-1": found(app(environment_changed=True))})
    assert "web-1: scoring runs with a former environment file" in text
    assert "Everything is as it should be." in text


def test_a_gunicorn_that_the_lossless_worker_does_not_know_is_a_note_as_it_is_a_warning_of_the_deploy():
    text = table({"web-1": found(app(stock_gunicorn="23.0.0"))})
    assert "web-1: scoring runs the gevent worker of gunicorn 23.0.0 itself: a restart can lose requests" in text
    assert "Everything is as it should be." in text


def test_the_guide_shows_what_the_table_looks_like():
    block = re.search(r"pygun\.stack\.status\n((?:    .*\n|\n)*)", GUIDE)[1]
    shown = textwrap.dedent(block).strip()
    program = {"state": "RUNNING", "version": "4.3.0", "uptime_s": 9 * 86400, "unit": "enabled", "memory": MEMORY}
    mine = {"release": "3f0c9e1b5a7d2846"}
    text = table(
        {
            "web-1": found(app(**mine), supervisord={**program, "pid": 742}),
            "web-2": found(
                app(**mine, requests=11987, memory={"kind": "PSS", "bytes": 179 * MIB}),
                supervisord={**program, "pid": 801},
            ),
        }
    )
    assert shown == text


def test_the_report_is_data_without_what_ansible_adds():
    made = report({"web-1": found(app()), "web-2": SILENT})
    assert made["ok"] is False
    assert made["hosts"]["web-1"]["ok"] is True
    assert "changed" not in made["hosts"]["web-1"]
    assert made["hosts"]["web-1"]["apps"] == [app()]
    assert "no route to host" in made["hosts"]["web-2"]["problems"][0]["what"]


@pytest.fixture
def status(tmp_path):
    """The playbook on this machine, where nothing is installed, and on a host that nobody can reach."""
    (tmp_path / "hosts").write_text(
        "[api]\nhere ansible_connection=local\ngone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"
        f"[api:vars]\nansible_become=false\nansible_python_interpreter={sys.executable}\n"
        f"supervisor_conf_dir={tmp_path}/none\nflask_app_base_dir={tmp_path}/none\n"
    )

    def run(*options):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
        return subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts", "pygun.stack.status", *options],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
        )  # fmt: skip

    return run


def test_the_playbook_prints_every_host_and_fails_if_something_is_wrong(status):
    done = status()
    lines = done.stdout.splitlines()
    assert done.returncode == 2, done.stdout + done.stderr
    assert [line.split()[1:] for line in lines if line.startswith("gone  ") and "ok=" not in line] == [["no", "answer"]]
    assert any(line.startswith("here  supervisord  DOWN") for line in lines), done.stdout
    assert any(line.startswith("  gone: does not answer: ") for line in lines)
    assert done.stdout.count("Why, and what to do: ansible-playbook pygun.stack.doctor") == 1


def test_the_playbook_writes_what_a_program_can_read(status, tmp_path):
    done = status("-e", "status_format=json", "-e", f"status_file={tmp_path}/status.json", "--check")
    made = json.loads((tmp_path / "status.json").read_text())
    assert made["ok"] is False
    assert set(made["hosts"]) == {"here", "gone"}
    assert made["hosts"]["here"]["apps"] == []
    shown = done.stdout[done.stdout.index("\n{\n") :]
    assert json.loads(shown[: shown.index("\n}\n") + 3]) == made
