"""What a deploy says of a Procfile: the variables that mean the same, and nothing about lines that have one."""

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import procfile
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
        (tmp_path / "Procfile").write_text(text)
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


def test_without_a_file_there_is_nothing_to_say(tmp_path):
    assert list(procfile.notes(tmp_path, "", "")) == []
