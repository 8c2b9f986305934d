# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about directories and files on the host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..text import shown
from .rules import Unusable, Values, between

# Directories that belong to the system or to everybody, none of which can be one app's own.
SYSTEM_DIRECTORIES = frozenset(
    """
    / /bin /boot /dev /efi /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin
    /usr/lib /usr/local /usr/local/bin /usr/local/lib /usr/sbin /usr/share /var /var/backups /var/cache /var/lib
    /var/local /var/lock /var/log /var/mail /var/opt /var/run /var/spool /var/tmp /var/www
    """.split()
)
_NOT_ON_DISK = ("/dev", "/proc", "/sys", "/run", "/var/run", "/tmp", "/var/tmp")  # noqa: S108
READ_ONLY_DIRECTORIES = ("/boot", "/efi", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")  # under ProtectSystem=full


def check_host_path(value: str) -> Iterator[str]:
    """Refuse characters in paths that ini files, units or #! lines cannot have."""
    if not value.startswith("/"):
        yield "it is not absolute. Begin it with /; ~ and $VARIABLES are not looked at."
    elif any(part in ("", ".", "..") for part in value[1:].split("/")) and value != "/":
        yield "it has a part that is empty, . or ... Write the plain path, without a slash at its end."
    elif not re.fullmatch(r"[A-Za-z0-9/._+@-]+", value):
        odd = re.sub(r"[A-Za-z0-9/._+@-]", "", value)[0]
        yield (
            f"it holds {shown(odd)}. supervisor, systemd and the #! lines of virtual environments each read some characters"
            " in a way of their own: use letters, digits and . _ + @ - only."
        )
    elif any(part.startswith("-") for part in value.split("/")):
        yield "a part of it begins with a dash, which programs take for an option. Choose another name."
    elif len(value) > 200:
        yield "it is longer than 200 characters. Choose a shorter one."


def is_below(path: str, *folders: str) -> str:
    return next((folder for folder in folders if path == folder or path.startswith(folder.rstrip("/") + "/")), "")


_FOLDERS = {
    "flask_app_base_dir": "apps",
    "flask_app_log_dir": "logs",
    "supervisor_conf_dir": "configuration",
    "supervisor_log_dir": "logs",
    "python_tools_dir": "tools",
    "python_cache_dir": "downloads",
}


@between
def _folders(values: Values) -> Iterator[tuple[str, str]]:
    """Each directory is somewhere that lasts, and the role may give it owner and mode without hurting anybody else."""
    for name, what in _FOLDERS.items():
        try:
            path = values[name]
        except Unusable:
            continue
        volatile = is_below(path, *_NOT_ON_DISK)
        if volatile:
            yield name, f"is {shown(path)}: {volatile} does not keep {what} over a reboot. Choose a directory on disk."
        elif path in SYSTEM_DIRECTORIES and (name != "flask_app_base_dir" or path in ("/", "/home", "/root", "/var")):
            yield name, f"is {shown(path)}, which has other purposes, too. Name a directory below it."
        elif name in ("flask_app_base_dir", "flask_app_log_dir", "supervisor_log_dir") and is_below(
            path, *READ_ONLY_DIRECTORIES
        ):
            yield (
                name,
                f"is {shown(path)}: systemd keeps {is_below(path, *READ_ONLY_DIRECTORIES)} read-only for supervisor. Use /srv or /var.",
            )
        elif name == "supervisor_conf_dir" and is_below(
            path, "/usr", "/bin", "/sbin", "/lib", "/boot", "/home", "/root"
        ):
            yield name, f"is {shown(path)}: configuration belongs below /etc (or /opt, /srv)."


@between
def _homes(values: Values) -> Iterator[tuple[str, str]]:
    if str(values["supervisor_unit_options"].get("ProtectHome", "read-only")).lower() in ("false", "no", "off", "0"):
        return
    for name in ("flask_app_base_dir", "flask_app_log_dir", "supervisor_log_dir"):
        try:
            path = values[name]
        except Unusable:
            continue
        if is_below(path, "/home", "/root") and path not in ("/home", "/root"):
            yield (
                name,
                f"is {shown(path)}: supervisor's unit keeps home directories read-only. Use /srv or /var, or set"
                ' supervisor_unit_options: {ProtectHome: "false"}.',
            )


@between
def _log_dir(values: Values) -> Iterator[tuple[str, str]]:
    logs, root = values["flask_app_log_dir"], f"{values['flask_app_base_dir']}/{values['flask_app_name']}"
    if is_below(logs, root):
        yield (
            "flask_app_log_dir",
            f"is {shown(logs)}, inside {root}, where releases come and go and the app itself may write. Use"
            f" /var/log/{values['flask_app_name']}.",
        )


@between
def _apart(values: Values) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for name in _FOLDERS:
        try:
            path = values[name]
        except Unusable:
            continue
        if path in seen:
            yield name, f"is {shown(path)}, and so is {seen[path]}. Give each a directory of its own."
        seen[path] = name
