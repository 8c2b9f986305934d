"""What a deploy says of settings of gunicorn that a source has for another way to start it."""

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import own_gunicorn

PYGUN_PY = """\
preload_app = False
workers = runtime.workers(maximum=4)
worker_class = runtime.worker_class
worker_connections = 1000
timeout = 30
keepalive = 5
limit_request_line = 8190
"""


@pytest.fixture
def notes(tmp_path):
    def read(pygun_py=PYGUN_PY, **files):
        names = {name.replace("__", "."): text for name, text in files.items()}
        for name, text in names.items():
            (tmp_path / name).write_text(text)
        return list(own_gunicorn.notes(tmp_path, set(names), pygun_py))

    return read


@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        ("--timeout 120 -w 4", "timeout = 120", "flask_app_timeout: 120"),
        ("-t 120 --keep-alive=75", "timeout = 120, keepalive = 75", "flask_app_timeout: 120, flask_app_keepalive: 75"),
        ("-w1", "workers = 1", "flask_app_instances: 1, flask_app_workers: 1"),
        (
            "--workers=1 --threads 8",
            "workers = 1, threads = 8",
            "flask_app_instances: 1, flask_app_workers: 1, flask_app_threads: 8",
        ),
        (
            "-k gthread --preload",
            "worker_class = gthread, preload_app = True",
            'flask_app_worker_class: "gthread", flask_app_preload: true',
        ),
        (
            "--limit-request-field_size 0 --pythonpath src",
            "limit_request_field_size = 0, pythonpath = src",
            'flask_app_gunicorn: {limit_request_field_size: 0, pythonpath: "src"}',
        ),
    ],
)
def test_options_of_a_procfile_that_the_variables_do_not_have_are_named(notes, options, said, remedy):
    (found,) = notes(Procfile=f"release: x -t 1\nweb: exec venv/bin/gunicorn {options} shop:app\nworker: x -t 5\n")
    assert found.startswith(f"The Procfile gives gunicorn {said}; ")
    assert found.endswith(f"To have the same, set {remedy}.")


@pytest.mark.parametrize(
    "line",
    [
        "gunicorn -b 0.0.0.0:$PORT -w 4 -t 30 -k gevent shop:app --access-logfile - --log-level=info -n shop",
        "gunicorn --timeout $TIMEOUT --workers ${WEB_CONCURRENCY:-1} shop:app",
        "waitress-serve --threads 8 shop:app",
        "gunicorn 'shop",
        "",
    ],
)
def test_options_that_agree_or_depend_on_the_host_are_not(notes, line):
    assert notes(Procfile=f"web: {line}\n") == []


def test_a_file_of_settings_is_named_with_its_hooks(notes):
    text = "import os\nbind = 'x'\nworkers = os.cpu_count()\ntimeout = 120\nkeepalive = 5\ndef post_fork(server, worker): ...\ndef helper(): ...\n"
    (found,) = notes(gunicorn__conf__py=text)
    assert found.startswith(
        "The source's gunicorn.conf.py, which is not read, gives gunicorn timeout = 120, the hook post_fork; "
    )
    assert found.endswith("set flask_app_timeout: 120, flask_app_pygun_extra, with the functions.")
    assert notes(PYGUN_PY.replace("30", "120") + "def post_fork(server, worker): ...\n", gunicorn__conf__py=text) == []


def test_the_file_that_a_procfile_names_is_read_and_one_that_pygun_extra_takes_in_is_not(notes):
    files = {"Procfile": "web: gunicorn -c file:./serve.py shop:app\n", "serve__py": "timeout = 5\n"}
    assert "The source's serve.py" in notes(**files)[0]
    assert notes(PYGUN_PY + "from serve import *\n", **files) == []


@pytest.mark.parametrize("text", ["def broken(", "timeout = 'x' * 9\n", "\0", "x = " + "(" * 9000])
def test_a_file_that_cannot_be_understood_says_nothing(notes, text):
    assert notes(gunicorn__conf__py=text) == []
