# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that the host has everything that a program needs to start."""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import typing as t

from ..supervisor import program_settings

#: Where supervisord looks for a command without a slash (systemd's default for a unit).
#: Seconds for one look at a file as another user.
_LONGEST = 20
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def account_of(user: str) -> pwd.struct_passwd:
    return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)


def with_account(entry: program_settings.Entry) -> program_settings.Entry:
    """supervisord changes the user only; HOME and the others would be root's."""
    try:
        account = account_of(entry["user"])
    except KeyError:
        return entry
    own = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    return {**entry, "environment": {**own, **(entry.get("environment") or {})}}


def start_obstacles(entry: program_settings.Entry, account: pwd.struct_passwd) -> t.Iterator[str]:
    directory = entry.get("directory")
    if directory and "%(" not in directory:
        if not os.path.isdir(directory):
            yield f"directory is {directory}, and there is no such directory. Make it before."
        elif not _may(account, directory):
            yield f"{account.pw_name} may not enter the directory {directory}."
    command = shlex.split(entry["command"])[0]
    if "%(" in command:
        return
    path = command
    if "/" not in command:
        folders = str((entry.get("environment") or {}).get("PATH") or _PATH).split(":")
        found = [os.path.join(folder, command) for folder in folders if os.path.exists(os.path.join(folder, command))]
        if not found:
            yield f"no program {command} is in {':'.join(folders)}. Install it, or write its whole path."
            return
        path = found[0]
    if not os.path.exists(path):
        yield f"there is no {path}. Install it before, or correct command."
    elif not os.path.isfile(path):
        yield f"{path} is no file that could be started. Correct command."
    elif not os.stat(path).st_mode & 0o111:
        yield f"{path} is not executable. chmod +x it, or start it with its interpreter."
    elif not _may(account, path):
        yield f"{account.pw_name} may not execute {path}. Look at the modes of the file and of the directories above it."


def _may(account: pwd.struct_passwd, path: str) -> bool:
    """Whether this user may execute a file, or enter a directory. Tried, since groups and ACLs have a say."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        return os.access(path, os.X_OK)
    child = os.fork()
    if child == 0:
        status = 2
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_LONGEST)  # a file system of the user's own may never answer
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setresuid(0, account.pw_uid, 0)  # not the user's own process, which the user can stop
            status = 0 if os.access(path, os.X_OK, effective_ids=True) else 1
        finally:
            os._exit(status)
    _pid, state = os.waitpid(child, 0)
    return state == 0
