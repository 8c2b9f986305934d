"""The files of the programs of an app's release: written, read back, and checked against a release."""

import configparser
import shlex

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor import conf
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.program_scope import scope_of
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.release_programs import (
    obstacle,
    program_in,
    programs_of,
    render,
)

APP = {
    "name": "shop",
    "root": "/srv/shop",
    "user": "clerk",
    "run_dir": "/run/shop",
    "log_dir": "/var/log/shop",
    "conf_dir": "/etc/supervisor",
    "tools_dir": "/opt/pygun",
    "stopwaitsecs": 110,
}


def written(**entry):
    (file,) = render([{"name": "worker", "command": "celery -A app worker", **entry}], APP)
    return file


def read_back(**entry):
    file = written(**entry)
    return program_in(file["content"].encode(), file["path"])


def test_a_program_is_read_as_it_was_declared():
    found = read_back(numprocs=2, startsecs=7, stopwaitsecs=600, singleton="yes", stopsignal="INT")
    assert (found.group, found.app, found.name) == ("shop.worker", "shop", "worker")
    assert found.command == "celery -A app worker"
    assert (found.root, found.user, found.run_dir) == ("/srv/shop", "clerk", "/run/shop")
    assert (found.processes, found.process_names) == (2, ["shop.worker-0", "shop.worker-1"])
    assert (found.startsecs, found.stop_timeout, found.singleton) == (7, 600, True)


def test_what_is_not_said_is_that_of_a_program_that_always_runs():
    found = read_back(numprocs=None)
    assert (found.process_names, found.startsecs, found.stop_timeout, found.singleton) == (
        ["shop.worker"],
        5,
        110,
        False,
    )
    content = written()["content"]
    for line in (
        "autorestart=true",
        "startretries=100000",
        "killasgroup=true",
        "stdout_logfile=/var/log/shop/%(program_name)s.log",
    ):
        assert line in content.splitlines()


def test_supervisor_reads_percent_signs_numbers_and_quotes_as_given():
    found = read_back(command="celery worker -n 'w %(process_num)d'@%h", numprocs=2)
    assert found.command == "celery worker -n 'w %(process_num)d@%h'"
    assert (
        "'w %(process_num)d'@%%h" in written(command="celery worker -n 'w %(process_num)d'@%h", numprocs=2)["content"]
    )


def test_a_command_may_be_a_list_of_words():
    found = read_back(command=["sh", "-c", "cd x && rq worker -n '%h'"])
    assert found.command == shlex.join(["sh", "-c", "cd x && rq worker -n '%h'"])


def test_the_files_are_neither_those_of_the_apps_other_programs_nor_of_nobody():
    assert scope_of(written()["content"]) == "shop.programs"
    assert written()["path"] == "/etc/supervisor/conf.d/shop.worker.conf"


def test_only_programs_of_a_release_are_found_in_conf_d(tmp_path):
    (tmp_path / "conf.d").mkdir()
    others = {
        "mailer": "[program:mailer]\ncommand=/usr/bin/mailer",
        "a.b": "[program:a.b]\ncommand=/usr/bin/python3 /usr/lib/launch.py",
        "shop": "[fcgi-program:shop]\ncommand=/srv/shop/current/venv/bin/python -I /srv/shop/current/lib/pygun_runtime/launch.py",
        "torn": "[program:shop.torn]\ncommand=celery 'x",
    }
    for name, text in others.items():
        (tmp_path / "conf.d" / f"{name}.conf").write_text(text)
    for file in render([{"name": "worker", "command": "x"}], {**APP, "conf_dir": str(tmp_path)}):
        (tmp_path / "conf.d" / "shop.worker.conf").write_text(file["content"])
    assert [program.group for program in programs_of("", str(tmp_path))] == ["shop.worker"]
    assert programs_of("other", str(tmp_path)) == []


def test_a_file_that_is_gone_defines_none():
    assert program_in(None, "/x.conf") is None
    assert isinstance(conf.parse_text(written()["content"]), configparser.RawConfigParser)


@pytest.fixture
def release(tmp_path):
    for part in ("venv/bin", "src/bin", "lib/pygun_runtime"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "lib/pygun_runtime/run.py").touch()
    (tmp_path / "venv/bin/celery").touch(0o755)
    (tmp_path / "src/bin/consumer").touch(0o644)
    return tmp_path


@pytest.mark.parametrize(
    "command, words",
    [
        ("celery worker", ""),
        ("sh -c 'x'", ""),
        ("/bin/sh", ""),
        ("{release}/venv/bin/celery worker", ""),
        ("rq worker", "there is no rq in its virtual environment"),
        ("bin/consumer", "is not executable"),
        ("bin/other", "src/bin/other. Correct the command"),
    ],
)
def test_what_a_release_lacks_is_known_before_it_starts(release, command, words):
    wrong = obstacle(read_back(command=command), str(release))
    assert words in wrong
    assert bool(wrong) == bool(words)


def test_a_release_of_an_older_version_cannot_run_programs(release):
    (release / "lib/pygun_runtime/run.py").unlink()
    assert "older version" in obstacle(read_back(), str(release))
