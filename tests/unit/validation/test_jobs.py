"""Lines of cron and calendars of systemd, and what the roles keep from jobs."""

from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.pygun.stack.plugins.module_utils.instance import jobs
from ansible_collections.pygun.stack.plugins.plugin_utils.validation.jobs import calendars_of_cron, check_jobs


@pytest.mark.parametrize(
    ("line", "calendars"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00"]),
        ("*/5 * * * *", ["*-*-* *:0/5:00"]),
        ("30 6 * * 1-5", ["Mon..Fri *-*-* 06:30:00"]),
        ("0 0 * JAN,MAR 0", ["Sun *-01,03-* 00:00:00"]),
        ("5,35 8-18/2 * * mon,WED-fri", ["Mon,Wed..Fri *-*-* 08..18/2:05,35:00"]),
        ("0 3 */2 * *", ["*-*-1/2 03:00:00"]),
        ("0 0 * * 0-3", ["Mon..Wed,Sun *-*-* 00:00:00"]),
        ("0 0 * * 5-7", ["Fri..Sun *-*-* 00:00:00"]),
        ("0 0 * * 0,7", ["Sun *-*-* 00:00:00"]),
        ("0 0 * * 0-6", ["*-*-* 00:00:00"]),
        ("0 0 * * */2", ["Tue,Thu,Sat..Sun *-*-* 00:00:00"]),
        ("0 0 * * 1-5/2", ["Mon,Wed,Fri *-*-* 00:00:00"]),
        ("0 0 */2 * 1", ["Mon *-*-1/2 00:00:00"]),
        ("0 0 1 * 1-7", ["*-*-* 00:00:00"]),
        ("@daily", ["daily"]),
        ("30 0 1,15 * MON", ["*-*-01,15 00:30:00", "Mon *-*-* 00:30:00"]),
        ("* * * *", []),
        ("61 0 * * *", []),
        ("0 22-2 * * *", []),
        ("0 0 * * fri-mon", []),
        ("0 0 * * */0", []),
        ("Mon *-*-* 03:00:00 Europe/Berlin x y", []),
    ],
)
def test_a_line_of_cron_as_systemd_writes_it(line, calendars):
    assert calendars_of_cron(line) == calendars


def job(**settings):
    return {"name": "nightly", "schedule": "daily", "command": "flask clean", **settings}


@pytest.mark.parametrize(
    "schedule",
    [
        "*-*-* 03:00:00",
        "Mon..Fri 06:30",
        "hourly",
        "*:0/10",
        "Sat *-*-1..7 18:00",
        "*-*~1 00:00 Europe/Berlin",
        "Mon",
        "daily UTC",
        "*-*-* 03:00 Etc/GMT+5",
        "*-*-* 03:00 CET",
    ],
)
def test_calendars_of_systemd_are_taken(schedule):
    assert list(check_jobs([job(schedule=schedule)])) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"schedule": "0 3 * * *"}, "that is a line of cron. systemd writes it '*-*-* 03:00:00': write that."),
        ({"schedule": "0 0 1 * MON"}, "write two jobs, with '*-*-01 00:00:00' and 'Mon *-*-* 00:00:00'."),
        ({"schedule": "0 3 * * * root /bin/x"}, "Its first five fields are '*-*-* 03:00:00'"),
        ({"schedule": "@reboot"}, "flask_app_programs"),
        ({"schedule": "3am"}, "no calendar of systemd"),
        ({"schedule": "daily\nUser=root"}, "cannot be seen"),
        ({"command": "flask 'clean"}, "cannot be taken apart"),
        ({"command": []}, "it is empty"),
        ({"command": ["echo", 1]}, "a word of it is no text"),
        ({"command": "flask a; flask b"}, "(; is for a shell)"),
        ({"command": ["HOME=/x", "flask"]}, "(HOME=/x is for a shell)"),
        ({"command": "flask 'a\nb'"}, "cannot be seen"),
        ({"timeout": 0}, "from 1 to"),
        ({"host": "second"}, "write all or first"),
        ({"persistent": "maybe"}, "not a yes or no"),
        ({"name": "Nightly"}, "name is 'Nightly'"),
        ({"tiemout": 5}, "is timeout meant?"),
    ],
    ids=str,
)
def test_what_cannot_be_a_job_is_said(wrong, says):
    found = list(check_jobs([job(**wrong)]))
    assert len(found) == 1 and says in found[0]


def test_a_job_needs_its_settings_and_a_name_of_its_own():
    assert len(list(check_jobs([{}]))) == 3
    assert list(check_jobs([job(), job()])) == ["nightly: there are two jobs of this name. Give one of them another."]


ROLES = Path(__file__).parents[3] / "roles"
OF_THE_UNIT = yaml.safe_load((ROLES / "supervisor/vars/main.yml").read_text())["__supervisor_unit_options"]
#: What a service that ends by itself does not need, and what is stricter in a job.
NOT_FOR_JOBS = {"Restart", "RestartSec", "TasksMax", "OOMPolicy", "CapabilityBoundingSet"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"PrivateDevices": False, "SystemCallFilter": "", "ReadWritePaths": "/data"},
        {"Environment": "TZ=Asia/Tokyo", "EnvironmentFile": "-/etc/default/proxy"},
    ],
    ids=str,
)
def test_a_job_may_do_and_inherits_what_a_program_of_supervisord_does(tmp_path, options):
    template = yaml.safe_load((ROLES / "flask_app/vars/main.yml").read_text())["__flask_app_jobs"]["sandbox"]
    variables = {
        "__supervisor_unit_options": OF_THE_UNIT,
        "supervisor_unit_options": options,
        "supervisor_umask": "027",
        "supervisor_minfds": 4096,
    }
    job = {"name": "night", "schedule": "daily", "command": "a", "timeout": 60, "persistent": False, "host": "all"}
    given = {"app": "shop", "user": "shop", "group": "shop", "root": "/srv/shop", "log_dir": "/var/log/shop"}
    given["sandbox"] = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(template))
    files = jobs.Jobs({**given, "is_first": "yes", "jobs": [job]}, str(tmp_path)).files
    lines = files[f"{tmp_path}/pygun-shop.job-night.service"].splitlines()
    for name, value in {**OF_THE_UNIT, **options}.items():
        if name not in NOT_FOR_JOBS:
            wanted = str(value).lower() if isinstance(value, bool) else value
            assert [line for line in lines if line == f"{name}={wanted}"] == (
                [f"{name}={wanted}"] if value != "" else []
            )
    assert {"CapabilityBoundingSet=", "UMask=027", "LimitNOFILE=4096"} <= set(lines)
    assert not [line for line in lines if line.startswith("SystemCallFilter")] or "SystemCallFilter" not in options
