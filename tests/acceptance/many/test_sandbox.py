# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How exposed the units are by systemd's own count, and what the programs in supervisord's unit can therefore not do."""

from __future__ import annotations

import json

import pytest
from site_of_many import Site

#: What `systemd-analyze security` says at most, of 10.
MOST = {"supervisord.service": 3.1, "pygun-clock.service": 2.0, "pygun-logrotate.service": 3.1}
#: Each ends with the error that the system gives, or with nothing.
TRIES = {
    "a namespace of its own": "ctypes.CDLL(None, use_errno=True).unshare(0x10000000) and sys.exit(os.strerror(ctypes.get_errno()))",
    "a raw packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a mount": "ctypes.CDLL(None, use_errno=True).mount(b'x', b'/mnt', b'tmpfs', 0, None) and sys.exit(os.strerror(ctypes.get_errno()))",
    "a disk": "os.open('/dev/loop-control', os.O_RDWR)",
}


@pytest.mark.parametrize("unit", MOST)
def test_the_units_are_little_exposed(site: Site, unit: str) -> None:
    shown = site.run("systemd-analyze", "security", "--json=short", "--no-pager", unit)
    lines = site.run("systemd-analyze", "security", "--no-pager", unit).splitlines()
    overall = next(line for line in lines if "Overall exposure level" in line)
    weak = [row["name"] for row in json.loads(shown) if row["set"] is False]
    assert float(overall.partition(": ")[2].split()[0]) <= MOST[unit], (overall, weak)


def test_a_program_is_told_what_it_may_not_do_and_is_not_killed(site: Site) -> None:
    """systemd-run has the options of the unit itself: of a supervisord that is restarted for this, all programs would be."""
    options = site.run("systemctl", "cat", "supervisord.service").splitlines()
    names = ("Restrict", "SystemCall", "Private", "NoNewPrivileges", "CapabilityBoundingSet")
    given = [f"--property={line}" for line in options if line.startswith(names)]
    for what, code in TRIES.items():
        script = (
            f"import ctypes, os, socket, sys\ntry:\n    {code}\nexcept OSError as error:\n    sys.exit(error.strerror)"
        )
        said = site.run(
            "sh", "-c", 'systemd-run --quiet --wait --pipe "$@" 2>&1; echo "ended with $?"', "sh", *given,
            "python3", "-c", script,
        )  # fmt: skip
        assert "ended with 1" in said, (what, said)
        assert any(why in said for why in ("not permitted", "not supported", "No such file")), (what, said)
