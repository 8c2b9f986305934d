# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Least and greatest values of numbers."""

from __future__ import annotations

from collections.abc import Iterator

from .rules import RULES, Rule

#: Seconds that supervisor waits beyond gunicorn's graceful timeout (the program's stopwaitsecs).
STOP_MARGIN = 10


def _number(least: int, most: int, unit: str = "") -> Rule:
    def within(value: int) -> Iterator[str]:
        if not least <= value <= most:
            yield f"write a number from {least} to {most}{f' ({unit})' if unit else ''}."

    return within


_RANGES = {
    "flask_app_backlog": (1, 65535, "connections"),
    "flask_app_instances": (1, 64, ""),
    "flask_app_workers": (0, 512, "0 counts the processors"),
    "flask_app_workers_max": (1, 512, ""),
    "flask_app_worker_connections": (1, 65535, ""),
    "flask_app_threads": (1, 1000, ""),
    "flask_app_timeout": (0, 86400, "seconds"),
    "flask_app_body_timeout": (0, 86400, "seconds; 0 is no limit"),
    "flask_app_graceful_timeout": (1, 86400, "seconds"),
    "flask_app_keepalive": (0, 3600, "seconds"),
    "flask_app_max_requests": (0, 10**9, "0 is never"),
    "flask_app_max_requests_jitter": (0, 10**9, ""),
    "flask_app_boot_timeout": (1, 3600, "seconds"),
    "flask_app_install_timeout": (60, 86400, "seconds"),
    "flask_app_release_command_timeout": (1, 86400, "seconds"),
    "flask_app_log_backups": (0, 1000, "files"),
    "flask_app_log_max_age": (0, 3650, "days; 0 is no limit"),
    "flask_app_keep_releases": (2, 1000, "the current one, and one to go back to, at least"),
    "supervisor_log_backups": (0, 1000, "files"),
    # A log is written to for up to a second after it was renamed, and compressed at the next rotation.
    "supervisor_logrotate_interval": (2, 86400, "seconds"),
    "supervisor_minfds": (256, 1048576, "file descriptors"),
    "supervisor_stop_timeout": (STOP_MARGIN + 2, 86400, "seconds"),
    "supervisor_http_port": (1, 65535, ""),
    "load_balancer_timeout_connect": (1, 300, "seconds"),
    "load_balancer_timeout_client": (1, 86400, "seconds"),
    "load_balancer_timeout_server": (1, 86400, "seconds"),
    "load_balancer_timeout_queue": (1, 3600, "seconds"),
    "load_balancer_timeout_request": (1, 300, "seconds"),
    "load_balancer_timeout_keepalive": (1, 300, "seconds"),
    "load_balancer_timeout_tunnel": (1, 604800, "seconds"),
    "load_balancer_stop_timeout": (1, 86400, "seconds"),
    "load_balancer_max_connections": (0, 10**7, "0 lets HAProxy work it out"),
    "load_balancer_check_interval": (1, 3600, "seconds"),
    "load_balancer_check_fall": (1, 100, "checks"),
    "load_balancer_check_rise": (1, 100, "checks"),
}
for _name, _range in _RANGES.items():
    RULES[_name] = _number(*_range)
