"""The parts of the runtime that need no server: environment file, processors, health check."""

import os

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from pygun_runtime import EnvFileError, health, processors
from pygun_runtime.env_file import load, parse

# ---- environment file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A = 1 ", "1"),
        ("A=", ""),
        ("A=a b", "a b"),
        ("A=a#b", "a#b"),
        ("A=a # comment", "a"),
        ("A=# comment", ""),
        ("A='a # b' # comment", "a # b"),
        (r"A='a\n'", r"a\n"),
        (r'A="a\n\"b\" \\ $HOME"', 'a\n"b" \\ $HOME'),
        ("A=x=y", "x=y"),
        ("\ufeffA=1", "1"),
        ("A=1\nA=2", "2"),
        ("# B=2\n\nA=1\r\n", "1"),
    ],
)
def test_lines_that_are_understood(line, value):
    assert parse(line) == {"A": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nwhat is this secret", "x.env, line 2: expected KEY=value"),
        ("1A=secret", "line 1: expected KEY=value"),
        ("A-B=secret", "line 1: expected KEY=value"),
        ('A="secret', 'line 1: the value of A has no closing "'),
        ("A='secret' more", "line 1: the value of A has no closing '"),
        (r'A="secret\x"', "line 1: the value of A has an unknown escape"),
        ("A=secret\0", "line 1: the value of A contains a NUL"),
    ],
)
def test_lines_that_are_not_are_named_without_their_value(text, message):
    with pytest.raises(EnvFileError) as error:
        parse(text, "x.env")
    assert message in str(error.value)
    assert "secret" not in str(error.value)


@settings(deadline=None)
@given(st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=("Cs",))))
def test_a_value_written_by_the_role_is_read_back(value):
    # as roles/flask_app/templates/etc/pygun/app.env.j2 writes it
    written = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert parse(f'A="{written}"') == {"A": value}


def test_a_missing_file_is_an_empty_one(tmp_path):
    values, digest = load(tmp_path / "none")
    (tmp_path / "empty").touch()
    assert values == {}
    assert digest == load(tmp_path / "empty")[1] == load(None)[1]


def test_a_file_that_is_not_text_is_named_with_its_line(tmp_path):
    (tmp_path / "x.env").write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(EnvFileError, match=r"x\.env, line 2: not UTF-8"):
        load(tmp_path / "x.env")


# ---- processors


def tree(root, cgroup, **files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, text in files.items():
        target = (
            root / "sys/fs/cgroup" / path.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


@pytest.fixture
def eight_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def test_without_a_quota_the_affinity_counts(tmp_path):
    assert processors.usable(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000", "a__cpu_max": "250000 100000"}, 2.5),
        ("0::/a/b\n", {"a__b__cpu_max": "50000 100000", "a__cpu_max": "400000 100000"}, 0.5),
        ("0::/\n", {"cpu_max": "300000 100000"}, 3),
        ("0::/../outside\n", {"cpu_max": "300000 100000"}, 3),
        ("0::/a\n", {"a__cpu_max": "max 100000"}, 8),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/a\n",
            {"cpu__a__cfs_quota_us": "150000", "cpu__a__cfs_period_us": "100000"},
            1.5,
        ),
        ("4:cpu,cpuacct:/a\n", {"cpu,cpuacct__cfs_quota_us": "200000", "cpu,cpuacct__cfs_period_us": "100000"}, 2),
        ("4:cpu:/a\n", {"cpu__a__cfs_quota_us": "-1", "cpu__a__cfs_period_us": "100000"}, 8),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, cgroup, files, expected):
    assert processors.usable(tree(tmp_path, cgroup, **files)) == expected


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    ("quota", "instances", "maximum", "workers"),
    [
        ("max", 2, None, 4),
        ("max", 2, 3, 3),
        ("max", 3, 8, 3),
        ("50000", 2, 8, 1),
        ("200000", 2, 8, 1),
        ("300000", 2, 8, 2),
        ("max", 0, 100, 8),
    ],
)
def test_instances_share_the_processors_and_leave_none_idle(tmp_path, quota, instances, maximum, workers):
    root = tree(tmp_path, "0::/\n", cpu_max=f"{quota} 100000")
    assert processors.share(instances, maximum, root) == workers


# ---- health check

flask = Flask(__name__)
flask.add_url_rule("/ok", view_func=lambda: "fine", endpoint="ok")
flask.add_url_rule("/down", view_func=lambda: ("the database is down", 503), endpoint="down")
flask.add_url_rule("/moved", view_func=lambda: ("", 302), endpoint="moved")
flask.add_url_rule("/query", view_func=lambda: "", endpoint="query", defaults={})
flask.add_url_rule("/streamed", view_func=lambda: flask.response_class(iter(["a", "b"])), endpoint="streamed")


@pytest.mark.parametrize("path", ["/ok", "/moved", "/streamed", "/query?deep=1", ""])
def test_healthy_answers(path):
    assert health.check(flask, path)


@pytest.mark.parametrize(
    ("path", "message"),
    [("/down", "GET /down answered 503 SERVICE UNAVAILABLE: the database is down"), ("/missing", "answered 404")],
)
def test_unhealthy_answers(path, message):
    with pytest.raises(health.Unhealthy, match=message):
        health.check(flask, path)


def test_the_answer_is_closed_even_if_it_fails():
    closed = []

    class Body:
        def __iter__(self):
            raise KeyError("x")

        def close(self):
            closed.append(True)

    def app(_environ, start_response):
        start_response("200 OK", [])
        return Body()

    with pytest.raises(KeyError):
        health.check(app, "/")
    assert closed


def test_an_app_that_trusts_certain_hosts_can_be_asked_by_one():
    app = Flask(__name__)
    app.config["TRUSTED_HOSTS"] = ["api.example.com"]
    app.add_url_rule("/ok", view_func=lambda: __import__("flask").request.host)
    assert health.check(app, "/ok", "api.example.com").startswith("200")
    with pytest.raises(health.Unhealthy):
        health.check(app, "/ok")
