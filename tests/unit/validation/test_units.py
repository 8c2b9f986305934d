"""What root runs by systemd comes to an end, and takes no more of the host than it needs: it reads what apps write."""

from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.instance.jobs import Jobs

ROLES = Path(__file__).parents[3] / "roles"
#: Of a service that ends by itself. systemd gives one of the type oneshot no time limit.
LIMITS = {"TimeoutStartSec", "MemoryMax", "TasksMax"}
#: Services that stay: what bounds what root does in them. supervisord's memory is `supervisor_memory_max`; it reads nothing
#: that an app writes but its output. `end_orphans.py`, which does, runs after it, and TimeoutStopSec is its limit.
STAY = {"supervisord.service.j2": {"TimeoutStopSec", "MemoryMax"}}


def directives(text):
    """The names and values of the directives that are written out."""
    return dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line and line[0].isalpha())


SERVICES = sorted(path for path in ROLES.glob("*/templates/**/*.service.j2"))


def test_there_are_services():
    assert {path.name for path in SERVICES} >= {
        "app.service.j2",
        "pygun-logrotate.service.j2",
        "supervisord.service.j2",
    }


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_what_root_runs_has_limits(path):
    found = directives(path.read_text())
    if "User" in found:
        return
    assert path.name in STAY or found.get("Type") == "oneshot", f"say in STAY what bounds {path.name}"
    needed = STAY.get(path.name, LIMITS)
    assert not needed - found.keys()
    assert "infinity" not in [found[name] for name in needed]


def test_a_drop_in_for_the_service_of_a_package_starts_nothing_that_stays():
    """What HAProxy's unit runs in addition has the limit of a start, a reload or a stop, which that unit leaves at 90 s."""
    (path,) = ROLES.glob("*/templates/**/*.service.d/*.j2")
    lines = [line.partition("=")[0] for line in path.read_text().splitlines() if "=" in line and line[0] in "ELTR"]
    assert set(lines) == {"ExecReload", "ExecStop"}


def test_a_job_is_not_roots_and_ends():
    job = {
        "name": "nightly",
        "schedule": "daily",
        "command": "flask clean",
        "timeout": 60,
        "persistent": False,
        "host": "all",
    }
    given = {
        "app": "api", "user": "api", "group": "api", "root": "/srv/api", "log_dir": "/var/log/api", "sandbox": {},
        "is_first": "yes", "jobs": [job],
    }  # fmt: skip
    (service,) = [text for file, text in Jobs(given).files.items() if file.endswith(".service")]
    found = directives(service)
    assert (found["User"], found["TimeoutStartSec"]) == ("api", "60")
