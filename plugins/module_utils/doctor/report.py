# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The doctor's findings as text."""

from __future__ import annotations

import typing as t

from .findings import ERROR


def bytes_text(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def seconds_text(number: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if number >= 2 * size:
            return f"{number / size:.0f} {unit}"
    return f"{number:.0f} seconds"


def in_words(host: str, found: dict[str, t.Any]) -> str:
    """The findings as a person reads them; of a healthy host a few lines."""
    findings, facts = found["findings"], found["facts"]
    errors = sum(1 for one in findings if one["severity"] == ERROR)
    lines = []
    if findings:
        lines.append(f"{host}: {_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}.")
    else:
        lines.append(f"{host}: all is well.")
    for one in findings:
        lines.append(f"{one['severity'].upper()} {one['code']} ({one['subject']})")
        lines.append(f"  What: {one['symptom']}")
        lines.append(f"  Why: {one['cause']}")
        lines.append(f"  What to do: {one['remedy']}")
    for name, app in facts.get("apps", {}).items():
        text = f"{name}: release {app.get('release')}"
        if app.get("since"):
            text += f" since {app['since'][:16]}Z{' by ' + app['by'] if app.get('by') else ''}"
        if "instances" in app:
            text += f", {app['ready']} of {app['instances']} instances ready, {_count(app['workers'], 'worker')}"
        lines.append(f"{text}, address {app.get('address')}, logs in {app.get('log_dir')}")
        if app.get("deploying"):
            lines.append(f"{name}: is being deployed by {app['deploying']}")
    server, disk, clock = facts.get("supervisord"), facts.get("disk"), facts.get("clock", {})
    if server:
        lines.append(
            f"supervisord {server.get('version', '?')}: pid {server['pid']}, up {seconds_text(server['uptime_s'])}"
        )
    if disk:
        lines.append(f"disk {disk['mount']}: {bytes_text(disk['free'])} free ({disk['percent_free']} %)")
    text = "synchronized" if clock.get("synchronized") else "not known to be synchronized"
    if "ahead_s" in clock:
        text += f", {abs(clock['ahead_s']):g} s {'ahead of' if clock['ahead_s'] > 0 else 'behind'} the control node"
    lines.append(f"clock: {text}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
