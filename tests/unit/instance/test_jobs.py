"""The units of jobs, and what systemd says of them."""

import os

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.instance import jobs

GIVEN = {
    "app": "shop",
    "user": "shop",
    "group": "web",
    "root": "/srv/shop",
    "log_dir": "/var/log/shop",
    "sandbox": {"ProtectHome": "read-only", "ReadWritePaths": ""},
    "is_first": "yes",
}
NIGHTLY = {
    "name": "nightly",
    "schedule": "daily",
    "command": "flask clean",
    "timeout": 60,
    "persistent": True,
    "host": "all",
}


@pytest.fixture
def wanted(tmp_path):
    def make(*given, **fields):
        return jobs.Jobs({**GIVEN, "jobs": [{**NIGHTLY, **one} for one in given], **fields}, str(tmp_path))

    return make


def write(found):
    for path, text in found.files.items():
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)


def test_the_units_of_a_job(wanted, tmp_path):
    found = wanted({})
    service, timer = (
        found.files[f"{tmp_path}/pygun-shop.job-nightly.{kind}"].splitlines() for kind in ("service", "timer")
    )
    for line in (
        "Type=oneshot",
        'ExecStart=/srv/shop/current/run "flask" "clean"',
        "User=shop",
        "Group=web",
        "TimeoutStartSec=60",
        "StandardOutput=append:/var/log/shop/shop.job-nightly.log",
        "NoNewPrivileges=true",
        "ProtectHome=read-only",
    ):
        assert line in service
    assert not [line for line in service if line.startswith("ReadWritePaths")]
    assert {"OnCalendar=daily", "Persistent=true"} <= set(timer)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["a b", 'c"d', "e\\f"], '"a b" "c\\"d" "e\\\\f"'),
        ("date +%s", '"date" "+%%s"'),
        ("sh -c 'echo $HOME'", '"sh" "-c" "echo $$HOME"'),
    ],
    ids=str,
)
def test_a_word_of_a_command_reaches_it_as_it_is(wanted, command, line):
    (text,) = (text for path, text in wanted({"command": command}).files.items() if path.endswith(".service"))
    assert f"ExecStart=/srv/shop/current/run {line}\n" in text


def test_what_is_written_is_no_difference_and_what_is_not_wanted_goes(wanted, tmp_path):
    before = wanted({}, {"name": "hourly"})
    assert len(before.differences()) == 4
    write(before)
    assert wanted({}, {"name": "hourly"}).differences() == []
    changed = wanted({"schedule": "weekly"})
    assert [os.path.basename(one["before_header"]) for one in changed.differences()] == [
        "pygun-shop.job-nightly.timer",
        "pygun-shop.job-hourly.timer",
        "pygun-shop.job-hourly.service",
    ]
    assert changed.removed == ["hourly"]


def test_units_of_another_app_are_not_ours(wanted, tmp_path):
    (tmp_path / "pygun-shop-two.job-nightly.timer").write_text("")
    (tmp_path / "pygun-shop.job-.timer").write_text("")
    (tmp_path / "pygun-shop.service").write_text("")
    assert jobs.names("shop", str(tmp_path)) == [] and wanted().differences() == []


@pytest.mark.parametrize(
    ("is_first", "was_there", "is_there"),
    [("yes", False, True), ("no", True, False), ("unknown", True, True), ("unknown", False, False)],
)
def test_a_job_of_the_first_host(wanted, is_first, was_there, is_there):
    if was_there:
        write(wanted({}))
    found = wanted({"host": "first"}, is_first=is_first)
    assert bool(found.jobs) == is_there
    assert found.undecided == (["nightly"] if (is_first, is_there) == ("unknown", False) else [])


ANSWER = """\
Id=pygun-shop.job-nightly.timer
ActiveState=active
LastTriggerUSec=Tue 2023-11-14 22:15:00 UTC
NextElapseUSecRealtime=Wed 2023-11-15 22:15:00 UTC

Id=pygun-shop.job-nightly.service
ActiveState={state}
Result={result}
ExecMainStatus={status}
ExecMainStartTimestamp=Tue 2023-11-14 22:15:00 UTC
ExecMainExitTimestamp={ended}
"""


@pytest.mark.parametrize(
    ("state", "result", "status", "ended", "shown"),
    [
        ("inactive", "success", 0, "Tue 2023-11-14 22:15:01 UTC", "ok"),
        ("inactive", "success", 0, "", "-"),
        ("activating", "success", 0, "", "runs now"),
        ("failed", "exit-code", 3, "Tue 2023-11-14 22:15:01 UTC", "ended with status 3"),
        ("failed", "timeout", 15, "Tue 2023-11-14 22:15:01 UTC", "took longer than its timeout"),
        ("failed", "signal", 9, "Tue 2023-11-14 22:15:01 UTC", "was killed by signal 9"),
        ("failed", "resources", 0, "", "failed (resources)"),
    ],
)
def test_what_systemd_says_of_a_job(wanted, tmp_path, monkeypatch, state, result, status, ended, shown):
    write(wanted({}))
    answer = ANSWER.format(state=state, result=result, status=status, ended=ended)
    monkeypatch.setattr(jobs.inspection, "run", lambda command: (0, answer))
    (found,) = jobs.observe("shop", str(tmp_path))
    assert (found.name, found.timer, found.last, found.next) == ("nightly", "active", 1700000100, 1700086500)
    assert found.result == shown and bool(found.failure) == (state == "failed")


def test_units_that_cannot_be_written_are_an_error_in_words(wanted, tmp_path):
    found = wanted({})
    tmp_path.rmdir()
    with pytest.raises(jobs.JobError, match=r"No such file or directory: '.*/pygun-shop\.job-nightly\.service"):
        found.apply()
