"""FLASK_APP, as `run` in a release sets it."""

import json

import pytest

from pygun_runtime import run


@pytest.mark.parametrize(
    ("wsgi", "means"),
    [
        ("wsgi:app", "wsgi"),  # `flask` looks for app and application itself, also behind a middleware
        ("shop.wsgi:application", "shop.wsgi"),
        ("shop:create_app()", "shop:create_app()"),
        ("shop:web", "shop:web"),
        ("", None),
    ],
)
def test_flask_finds_the_app_that_is_served(tmp_path, wsgi, means):
    (tmp_path / "release.json").write_text(json.dumps({"service": {"wsgi": wsgi}}))
    assert run.flask_app_of(tmp_path).get("FLASK_APP") == means


@pytest.mark.parametrize("name", [".env", ".flaskenv"])
def test_a_source_that_says_it_itself_is_left_alone(tmp_path, name):
    (tmp_path / "release.json").write_text(json.dumps({"service": {"wsgi": "wsgi:app"}}))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / name).write_text("export FLASK_APP=manage.py\n")
    assert run.flask_app_of(tmp_path) == {}
    (tmp_path / "src" / name).write_text("COLOUR=red\n")
    assert run.flask_app_of(tmp_path) == {"FLASK_APP": "wsgi"}
