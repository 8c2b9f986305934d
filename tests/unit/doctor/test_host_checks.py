"""Findings about the host: each from its state."""

import dataclasses

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import Disk
from tests.unit.doctor.hosts import app, codes, host, only

GIB = 1024**3


def test_nothing_is_found_on_a_healthy_host():
    assert codes(host()) == []


@pytest.mark.parametrize(
    "free, code, severity",
    [(20 * 1024**2, "disk-full", "error"), (GIB // 2, "disk-nearly-full", "warning")],
)
def test_a_disk_without_room_is_found(free, code, severity):
    state = host()
    state.disks.append(Disk("/srv", 100 * GIB, free, 0, 0))
    only(state, code, "of 100 GiB are free on /srv", "du -xh --max-depth=2 /srv", subject="/srv", severity=severity)


@pytest.mark.parametrize("size, free", [(0, 0), (100 * GIB, 2 * GIB), (GIB, GIB // 10)])
def test_a_disk_with_room_is_not(size, free):
    state = host()
    state.disks.append(Disk("/srv", size, free, 1000, 500))
    assert codes(state) == []


def test_a_disk_without_inodes_is_found():
    state = host()
    state.disks = [dataclasses.replace(state.disks[0], inodes_free=3)]
    only(state, "inodes-full", "3 of 1000000 inodes are free on /", "`df -h` shows room")


@pytest.mark.parametrize(
    "ahead, severity, words",
    [(60, "warning", "60 seconds ahead of"), (-3600, "error", "60 minutes behind")],
)
def test_a_clock_that_differs_from_the_control_nodes_is_found(ahead, severity, words):
    state = host()
    state.options = dataclasses.replace(state.options, control_clock=state.now - ahead)
    only(state, "clock-off", words, severity=severity)


def test_a_clock_that_differs_little_is_not():
    state = host()
    state.options = dataclasses.replace(state.options, control_clock=state.now - 20)
    assert codes(state) == []


def test_a_clock_that_is_behind_the_files_of_a_deploy_is_found():
    state = host()
    state.apps[0].written = {"/srv/shop/state.json": state.now + 3 * 3600}
    only(state, "clock-off", "/srv/shop/state.json was written 3 hours in the future")
    state.apps[0].written = {"/srv/shop/state.json": state.now + 60}
    assert codes(state) == []


def test_memory_that_ran_out_is_found():
    state = host()
    state.memory_kills = "memory.events counts 2 out-of-memory kills"
    only(state, "out-of-memory", "counts 2", subject="supervisord.service", severity="warning")


@pytest.mark.parametrize(
    "timer, words",
    [({"UnitFileState": "enabled", "ActiveState": "inactive"}, "enabled and inactive"), ({}, "not there and unknown")],
)
def test_logs_that_nobody_rotates_are_found(timer, words):
    state = host()
    state.rotation = timer
    only(state, "rotation-off", f"pygun-logrotate.timer is {words}", severity="warning")
    state.rotation = {"UnitFileState": "enabled", "ActiveState": "active"}
    assert codes(state) == []


def test_a_host_without_the_app_is_found():
    state = host(name="nobody")
    state.apps = []
    only(state, "no-app", "none in /srv", subject="nobody", severity="warning")


def test_an_app_that_cannot_be_observed_is_found_and_the_others_are_checked():
    broken, other = app("broken"), app("other")
    broken.error, other.instances = "RecursionError: deep", [None]
    state = host(broken, other, app())
    assert codes(state) == ["not-examined", "not-examined"]
    del state.apps[1]
    only(state, "not-examined", "broken cannot be looked at to the end: RecursionError: deep", subject="broken")
