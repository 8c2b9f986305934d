"""pygun.py as the role renders it is Python that a person could have written, and means what the YAML said."""

import ast
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from ansible_collections.pygun.stack.plugins.filter.python_literal import FilterModule
from tests.unit.role_vars import told_by_pygun_py

ROLE = Path(__file__).parents[3] / "roles" / "flask_app"
python_literal = FilterModule().filters()["python_literal"]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@settings(deadline=None)
@given(values)
def test_a_literal_evaluates_to_its_value_on_one_line(value):
    text = python_literal(value)
    assert ast.literal_eval(text) == value
    assert "\n" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (None, "None"),
        (5, "5"),
        ("it's", '"it\'s"'),
        ("é", '"é"'),
        ([1, "a"], '[1, "a"]'),
        ({"a": {"b": False}}, '{"a": {"b": False}}'),
    ],
)
def test_literals_look_as_a_person_writes_them(value, text):
    assert python_literal(value) == text


@pytest.mark.parametrize("value", [date(2026, 1, 1), float("nan"), float("inf"), object(), {1, 2}])
def test_what_has_no_literal_is_refused(value):
    with pytest.raises(AnsibleFilterError, match="cannot write a value of type"):
        python_literal(value)


def render(**variables):
    environment = Environment(trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)  # noqa: S701  not HTML
    environment.filters.update({"pygun.stack.python_literal": python_literal, "bool": bool})
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    values = {**defaults, "flask_app_name": "demo", **variables}
    values |= told_by_pygun_py(environment, values)
    return environment.from_string((ROLE / "templates" / "pygun.py.j2").read_text()).render(values)


CASES = {
    "defaults": {},
    "everything": {
        "flask_app_workers": 3,
        "flask_app_worker_class": "gthread",
        "flask_app_preload": True,
        "flask_app_pid_file": "/run/demo/demo.pid",
        "flask_app_health_path": '/he"alth',
        "flask_app_gunicorn": {"limit_request_line": 8190, "raw_env": ["A=it's"], "forwarded_allow_ips": "*"},
        "flask_app_pygun_extra": "def when_ready(server):\n    pass\n",
    },
    "sync": {"flask_app_worker_class": "sync"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_rendered_file_is_accepted_by_gunicorn(tmp_path, case):
    text = render(**CASES[case])
    (tmp_path / "pygun.py").write_text(text)
    (tmp_path / "wsgi.py").write_text("def app(environ, start_response): pass\n")
    runtime = ROLE / "files"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "gunicorn", "--print-config", "-c", "pygun.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(runtime), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = {line.partition("=")[0].strip(): line.partition("=")[2].strip() for line in done.stdout.splitlines()}
    if case == "everything":
        assert shown["workers"] == "3"
        assert shown["preload_app"] == "True"
        assert shown["limit_request_line"] == "8190"
        assert shown["raw_env"] == str(["A=it's"])
        assert shown["pidfile"] == "/run/demo/demo.pid"
    else:
        assert shown["bind"] == str(["127.0.0.1:5000"])


@pytest.mark.parametrize("case", CASES)
def test_the_rendered_file_needs_no_formatter(case):
    text = render(**CASES[case])
    assert not any(line != line.rstrip() for line in text.split("\n"))
    assert "\n\n\n" not in text
    assert json.dumps(text)  # no lone surrogates
