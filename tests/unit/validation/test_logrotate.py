# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What logrotate is told about the logs of an app. The scenario `logs` shows that it does it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROLE = Path(__file__).parents[3] / "roles" / "flask_app"


@pytest.fixture(scope="module")
def directives():
    """The lines of the file that are neither comments nor the script, for variables without their prefix."""
    environment = Environment(  # noqa: S701  (not HTML)
        trim_blocks=True, undefined=StrictUndefined, loader=FileSystemLoader(ROLE / "templates")
    )
    environment.filters |= {
        "bool": lambda value: value if isinstance(value, bool) else str(value).lower() in ("yes", "on", "1", "true"),
        "regex_replace": lambda text, pattern, new: re.sub(pattern, new, text),
    }
    template = environment.get_template("etc/pygun/logrotate.d/app.conf.j2")
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    base = {"flask_app_name": "api", "flask_app_user": "web", "flask_app_group": "ops", "flask_app_log_dir": "/logs"}

    def render(programs=(), **given):
        text = template.render(
            {
                **defaults,
                **base,
                "flask_app_programs": programs,
                **{f"flask_app_log_{name}": value for name, value in given.items()},
            }
        )
        text = re.sub(r"(postrotate|lastaction).*?endscript", "", text, flags=re.DOTALL)
        return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]

    return render


def test_the_logs_of_the_instances_are_rotated_and_not_the_raw_ones(directives):
    lines = directives()
    assert lines[0] == '"/logs/api-[0-9].log" "/logs/api-[0-9][0-9].log" {'
    assert lines[-1] == "}"
    assert {"missingok", "notifempty", "create 0640 web ops", "rotate 10"} <= set(lines)


def test_the_logs_of_the_programs_of_a_release_are_rotated_with_them(directives):
    assert directives(programs=[{"name": "worker"}])[0].endswith('"/logs/api-[0-9][0-9].log" "/logs/api.*.log" {')


@pytest.mark.parametrize(
    ("size", "written"),
    [("50MB", "50M"), ("64KB", "64k"), ("1gb", "1G"), ("100mb", "100M"), ("1048576", "1048576"), (4096, "4096")],
)
def test_a_size_is_written_as_logrotate_reads_it(directives, size, written):
    assert f"size {written}" in directives(maxbytes=size)
    assert f"maxsize {written}" in directives(maxbytes=size, rotate="weekly")


@pytest.mark.parametrize(
    ("given", "expected", "absent"),
    [
        ({}, ["size 50M"], r"hourly|daily|weekly|monthly|maxsize|maxage"),
        ({"rotate": "hourly"}, ["hourly", "maxsize 50M"], "^size|maxage"),
        ({"rotate": "weekly", "max_age": "30"}, ["weekly", "maxage 30", "maxsize 50M"], "daily|^size"),
        # Age is looked at when a log is rotated.
        ({"max_age": 7}, ["daily", "maxage 7", "maxsize 50M"], "^size"),
        ({"rotate": "daily", "maxbytes": "0"}, ["daily"], "size"),
        ({"backups": 3}, ["rotate 3"], "rotate 10"),
    ],
    ids=str,
)
def test_size_time_and_age_together(directives, given, expected, absent):
    lines = directives(**given)
    assert set(expected) <= set(lines)
    assert not [line for line in lines if re.search(absent, line)]


@pytest.mark.parametrize("size", ["0", "0MB", 0])
def test_without_size_and_time_nothing_is_rotated(directives, size):
    """An empty block would mean logrotate's own idea of a size."""
    assert directives(maxbytes=size) == []


def test_the_newest_rotated_file_is_not_compressed_as_it_may_still_be_written_to(directives):
    assert {"compress", "delaycompress"} <= set(directives())
    assert not {"compress", "delaycompress"} & set(directives(compress="no"))


def test_compressing_has_a_time_of_its_own(directives):
    """Nobody else's logs are rotated meanwhile."""
    lines = directives()
    assert {"compresscmd /usr/bin/timeout", "compressoptions 600 gzip"} <= set(lines)
    assert not any("timeout" in line for line in directives(compress=False))
