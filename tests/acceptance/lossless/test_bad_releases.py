# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases that must not serve. Each is deployed under load; the old one serves on, and the host is as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from rig.deploys import Source
from rig.load import Load, by_error

ROLLED = "3.1.0"  # answers from the first instance until the second one has failed
BOOT_TIMEOUT = 20  # seconds; what hangs is given up after these, and nothing else may take so long on a slow machine


@dataclass
class Bad:
    """A release that must not serve, and what has to be said about it."""

    name: str
    make: Callable[[Source], object]
    says: tuple[str, ...]  # the cause, in words that only this failure has
    settings: dict = field(default_factory=dict)
    stage: str = "try"  # where it is found out: variables, build, try (without serving), roll
    rare: bool = False  # only with PYGUN_FULL: much like another, and component tests know it


SPIN = "\n    while True:\n        pass"

BAD = [
    Bad(
        "import error",
        lambda source: source.at_import("import a_package_that_nobody_has"),
        ("The app imports a_package_that_nobody_has", "requirements"),
        rare=True,
    ),
    Bad(
        "missing attribute",
        lambda source: source,
        ("wsgi", "has no 'application'", "flask_app_wsgi"),
        {"wsgi": "wsgi:application"},
        rare=True,
    ),
    Bad(
        "syntax error", lambda source: source.at_import("def broken(:"), ("SyntaxError", "wsgi.py", "line 1"), rare=True
    ),
    Bad("sys.exit at import", lambda source: source.at_import("import sys; sys.exit(3)"), ("sys.exit()",), rare=True),
    Bad(
        "argument parser at import",
        lambda source: source.at_import(
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('--model', required=True); p.parse_args()"
        ),
        ("parses a command line", "--model", "parse_args()"),
        rare=True,
    ),
    Bad(
        "segmentation fault at import",
        lambda source: source.at_import("import ctypes; ctypes.string_at(0)"),
        ("crashed in native code", "SIGSEGV", "wsgi.py"),
        rare=True,
    ),
    Bad(
        "hang at import",
        lambda source: source.at_import("import time; time.sleep(3600)"),
        ("time.sleep(3600)", "flask_app_boot_timeout"),
        rare=True,
    ),
    Bad("health 503", lambda source: source.in_health("abort(503)"), ("health endpoint answers 503", "/healthz")),
    Bad(
        "health hangs",
        lambda source: source.in_health("time.sleep(3600)"),
        ("health endpoint does not answer in time", "GET /healthz", "time.sleep(3600)"),
        rare=True,
    ),
    Bad(
        "health spins",
        lambda source: source.in_health(SPIN),
        ("health endpoint does not answer in time", "GET /healthz", "views.py"),
        rare=True,
    ),
    Bad(
        "boot slower than the limit",
        lambda source: source.at_import("import time\nfor _ in range(40): time.sleep(0.5)  # loads a model"),
        ("loads a model", "flask_app_boot_timeout"),
        rare=True,
    ),
    Bad(
        "dependency that does not exist",
        lambda source: source.require("a-package-that-nobody-has==1.0"),
        ("a-package-that-nobody-has", "cannot be built"),
        stage="build",
        rare=True,  # the full disk is found at the same stage
    ),
    Bad(
        "setting that gunicorn rejects",
        lambda source: source,
        ("gunicorn rejects the setting workers", "many", "flask_app_gunicorn"),
        {"pygun_extra": "workers = 'many'"},
        rare=True,
    ),
    Bad(
        "variable that gunicorn would reject",
        lambda source: source,
        ("flask_app_gunicorn: workers: 'many'", "Nothing was changed"),
        {"gunicorn": {"workers": "many"}},
        stage="variables",
    ),
    # What only shows itself in service: the try before the roll cannot see it, the gate of the roll must.
    Bad(
        "broken under supervisor",
        lambda source: source.at_import(
            "import os\nif 'SUPERVISOR_PROCESS_NAME' in os.environ: raise RuntimeError('no port left for metrics')"
        ),
        ("RuntimeError: no port left for metrics", "sample-0: it ended while it was booting"),
        stage="roll",
        rare=True,
    ),
    Bad(
        "broken in the second instance",
        lambda source: source.at_import(
            "import os\nif os.environ.get('SUPERVISOR_PROCESS_NAME') == 'sample-1': raise RuntimeError('taken')"
        ),
        ("RuntimeError: taken", "sample-1: it ended while it was booting"),
        stage="roll",
    ),
    Bad(
        "full disk",
        lambda source: source.require("colorama"),
        ("No space left on device", "cannot be built"),
        stage="build",
    ),
]


@pytest.fixture(scope="module")
def load(host, sample, report):
    with Load(host, "bad-releases") as load:
        serving = {one.answered_by for one in load.so_far()} - {""}
        assert len(serving) == 1
        yield load
    report.figure(f"{len(load.result['rolls'])} bad releases", load)
    assert load.totals["failed"] == 0, json.dumps(load.result["kinds"], indent=1)
    assert set(load.answered_by()) <= serving | {ROLLED}, "a release that failed its gate has answered"


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name, marks=[pytest.mark.full] * bad.rare) for bad in BAD])
def test_a_bad_release_leaves_the_old_one_serving_and_says_why(bad, host, sample, load, request):
    bad.make(sample.source.reset().version(ROLLED if bad.stage == "roll" else "3.0.666"))
    if bad.name == "full disk":
        request.getfixturevalue("nearly_full")
    before = host.observe("sample")
    with load.roll(bad.name):
        done = sample.run("deploy", boot_timeout=BOOT_TIMEOUT, **bad.settings)
    if bad.stage == "roll":
        host.tell("recovered", "sample")
    after = host.observe("sample")
    (sample.scratch / f"{bad.name}.txt").write_text(done.text)

    assert not done.ok
    the_host_is_as_before(before, after)
    if bad.stage != "roll":
        assert after["instances"] == before["instances"], "an instance was touched"
    the_message_tells(bad, done.message, before["current"])
    assert by_error(load.failed()) == {}


def the_host_is_as_before(before: dict, after: dict) -> None:
    for what in ("current", "files", "statuses", "supervisord", "strangers", "leftovers"):
        assert after[what] == before[what], what
    for what in ("previous", "history"):
        assert after["state"][what] == before["state"][what], what
    marked = set(after["state"]["failed"])
    assert set(after["releases"]) - set(before["releases"]) <= marked, "a release was left that is not marked as failed"
    serving = [(one["name"], one["release"], len(one["workers"])) for one in before["instances"]]
    assert [(one["name"], one["release"], len(one["ready"])) for one in after["instances"]] == serving


def the_message_tells(bad: Bad, message: str, serving: str) -> None:
    for words in bad.says:
        assert words in message, f"the message does not say {words!r}: {message[-3000:]}"
    if bad.stage in ("try", "roll"):
        for words in (
            "(step: ",
            "Cause: ",
            "What to do: ",
            "To reproduce: ",
            " -u sample -- env -C /srv/sample/releases/",
            f"Release {serving} serves now",
        ):
            assert words in message, f"the message does not say {words!r}: {message[-3000:]}"
    elif bad.stage == "build":
        assert f"Release {serving} is current and was not touched" in message, message[-3000:]


@pytest.fixture
def nearly_full(host):
    """The environments on a file system of their own that has no room for another one.

    The running processes keep what they have open; whatever is looked up by its path is the same on the new one.
    """
    environments = "/srv/sample/environments"
    used = int(host.run("du", "-sk", environments).split()[0])
    host.run("sh", "-ec", f"""
        mkdir /srv/small
        mount -t tmpfs -o mode=0755,size={used + 12 * 1024}k tmpfs /srv/small
        cp -a {environments}/. /srv/small
        mount --move /srv/small {environments} 2>/dev/null || {{ mount --bind /srv/small {environments}; umount /srv/small; }}
        rmdir /srv/small""")  # fmt: skip
    yield
    host.run("umount", "--lazy", environments)
