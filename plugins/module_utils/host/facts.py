# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Facts of a host that roles ask for: its distribution, and the state of its units."""

from __future__ import annotations


def os_release():
    """The fields of os-release."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8") as lines:
                fields = (line.rstrip("\n").partition("=") for line in lines)
                return {
                    name: value.strip("\"'") for name, equals, value in fields if equals and not name.startswith("#")
                }
        except FileNotFoundError:
            continue
    return {}


def states(module, services):
    """The state of each unit in systemd: whether it is active, and whether it starts at boot."""
    systemctl = module.get_bin_path("systemctl")
    if not services or not systemctl:
        return dict.fromkeys(services, ("", ""))
    _code, out, _err = module.run_command(
        [systemctl, "show", "--property=ActiveState", "--property=UnitFileState", "--", *services]
    )
    told = [dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in out.split("\n\n")]
    told += [{}] * len(services)  # where systemd does not run, it says nothing
    return {name: (one.get("ActiveState"), one.get("UnitFileState")) for name, one in zip(services, told)}
