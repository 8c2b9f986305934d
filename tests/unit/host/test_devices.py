# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A device that a program uses is named before the unit hides it."""

import os
import subprocess
import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import devices, inspection


def candidates():
    """Devices of this machine that PrivateDevices hides, and whose opening does nothing."""
    for path in ("/dev/kmsg", "/dev/fuse", "/dev/net/tun", "/dev/kvm"):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            continue
        yield path


@pytest.fixture
def program():
    """A process with devices open, one of which the unit would hide."""
    found = next(candidates(), None)
    if found is None:
        pytest.skip("this machine has only devices that PrivateDevices keeps")
    descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    os.close(descriptor)
    yield process.pid, found
    process.communicate(b"\n")


def test_a_device_in_use_is_named_and_the_usual_ones_are_not(program):
    pid, device = program
    assert list(devices.devices_of(str(pid))) == [device]


def test_only_programs_of_supervisord_count_and_only_if_devices_are_to_be_hidden(program, monkeypatch):
    pid, device = program
    assert devices.refusal({"PrivateDevices": "true"}) == "", "no program of supervisord's unit"
    read = inspection.read_text
    group = "0::/system.slice/supervisord.service\n"
    monkeypatch.setattr(inspection, "read_text", lambda path: group if path == f"/proc/{pid}/cgroup" else read(path))
    said = devices.refusal({"PrivateDevices": True})
    assert f"pid {pid} " in said and f"has {device} open" in said and said.endswith("Nothing was changed.")
    assert devices.refusal({"PrivateDevices": "false"}) == devices.refusal({}) == ""
