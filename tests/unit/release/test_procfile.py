"""What a deploy says of a Procfile: the variables that mean the same, and nothing about lines that have one."""

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import pack, procfile
from tests.unit.supervisor.test_release_programs import APP, render

PROCFILE = """\
# a comment
web: gunicorn --workers 2 shop.wsgi:application -b 0.0.0.0:$PORT
release: flask db upgrade
worker: celery -A shop worker
"""


@pytest.fixture
def notes(tmp_path):
    def read(text, wsgi="shop.wsgi:application", command="", programs=()):
        (tmp_path / "Procfile").write_bytes(text if isinstance(text, bytes) else text.encode())
        files = render(programs, APP)
        return list(procfile.notes(tmp_path, wsgi, command, files))

    return read


def test_each_line_that_means_something_is_proposed(notes):
    release, worker = notes(PROCFILE)
    assert 'set flask_app_release_command: "flask db upgrade".' in release
    assert worker.endswith('add to flask_app_programs: {name: worker, command: "celery -A shop worker"}.')


def test_what_the_variables_say_already_is_not_proposed(notes):
    assert len(notes(PROCFILE, command="flask db upgrade")) == 1


@pytest.mark.parametrize(
    ("name", "command"),
    [("worker", "rq worker"), ("celery", "celery -A shop worker"), ("celery", ["celery", "-A", "shop", "worker"])],
)
def test_a_program_that_is_declared_is_not_proposed_again(notes, name, command):
    found = notes(PROCFILE, command="flask db upgrade", programs=[{"name": name, "command": command}])
    assert found == []


def test_another_app_is_said(notes):
    assert notes(PROCFILE, wsgi="wsgi:app")[0].startswith(
        "The Procfile serves shop.wsgi:application, and flask_app_wsgi is wsgi:app"
    )


@pytest.mark.parametrize("command", ["flask db upgrade && flask seed", "echo $HOME", "./release.sh 'x"])
def test_what_needs_a_shell_gets_one(notes, command):
    (note,) = notes(f"release: {command}\n")
    assert f'flask_app_release_command: ["sh", "-c", "{command}"].' in note
    (note,) = notes(f"worker: {command}\n")
    assert f'{{name: worker, command: ["sh", "-c", "{command}"]}}.' in note
    assert not notes(f"worker: {command}\n", programs=[{"name": "other", "command": ["sh", "-c", command]}])


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("worker: A=1 rq worker", '"env A=1 rq worker"'),
        ("worker: exec rq worker", '"rq worker"'),
        ("Worker: cd jobs; rq worker", '["sh", "-c", "cd jobs; rq worker"]'),
        ("2-worker: rq worker >log", '["sh", "-c", "rq worker >log"]'),
    ],
)
def test_a_program_is_proposed_as_it_can_be_started(notes, line, command):
    (note,) = notes(line)
    assert note.endswith(f"{{name: worker, command: {command}}}.")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_file_of_windows_is_read(notes, encoding):
    assert len(notes(PROCFILE.replace("\n", "\r\n").encode(encoding))) == 2


def test_a_line_of_cron_is_proposed_as_a_job(notes):
    (note,) = notes("cron: 0 3 * * * flask clean\n")
    assert note.endswith('flask_app_jobs: {name: cron, schedule: "*-*-* 03:00:00", command: "flask clean"}.')


def test_an_app_in_quotes_is_compared(notes):
    assert notes("web: gunicorn 'shop:create_app()'\n", wsgi="shop:create_app()") == []
    assert len(notes("web: gunicorn 'shop:create_app()'\n")) == 1


def test_without_a_file_there_is_nothing_to_say(tmp_path):
    assert list(procfile.notes(tmp_path, "", "")) == []


def test_a_deploy_says_what_a_procfile_and_settings_of_gunicorn_say(tmp_path):
    (tmp_path / "Procfile").write_text("web: gunicorn -t 90 shop:app\n")
    (tmp_path / "gunicorn.conf.py").write_text("keepalive = 75\n")
    args = {"service": {"wsgi": "wsgi:app"}}
    entries = [pack.entry_from_bytes(f"src/{name}", b"") for name in ("Procfile", "gunicorn.conf.py")]
    collected = pack.Collected(entries, [], {}, source=str(tmp_path))
    first, second, third = procfile.notes_of_deploy(collected, args, "timeout = 30\n")
    assert "serves shop:app" in first and "timeout = 90" in second and "keepalive = 75" in third
    assert (
        procfile.notes_of_deploy(pack.Collected(entries[1:], [], {}, source=str(tmp_path)), args, "keepalive = 75")
        == []
    )
    assert procfile.notes_of_deploy(pack.Collected([], [], {}), args, "") == []
