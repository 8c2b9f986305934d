# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks a git repository out on the control node, as ``git clone`` does, with a login that no other user can read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path

from ..module_utils.host.logins import masked
from ..module_utils.release.git_logins import HELPER, as_variables
from .pack import PackError

#: The configuration of `git lfs install`, for a control node on which it was not run.
_LFS = {
    "filter.lfs.process": "git-lfs filter-process",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.required": "true",
}
#: By these a hook of git, such as post-receive, tells the git that it calls which repository is meant: not the one that is read here.
_OF_A_REPOSITORY = frozenset(
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX GIT_COMMON_DIR GIT_NAMESPACE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
    " GIT_QUARANTINE_PATH GIT_IMPLICIT_WORK_TREE GIT_SHALLOW_FILE GIT_GRAFT_FILE GIT_NO_REPLACE_OBJECTS GIT_REPLACE_REF_BASE".split()
)
#: Without Git LFS its pointers stay, and are refused by name.
_NO_LFS = {"filter.lfs.process": "", "filter.lfs.smudge": "", "filter.lfs.clean": "", "filter.lfs.required": "false"}


def checkout(repo: str, ref: str, target: Path) -> str:
    """Check a git repository out at a branch, tag or commit; return the commit.

    The checkout has its ``origin``, by which git and Git LFS find submodules and objects.

    :raises PackError: when git is missing or cannot fetch it
    """
    git = shutil.which("git")
    if git is None:
        raise PackError("flask_app_git_repo needs git on the control node (the hosts need none). Install git.")
    address, settings, secrets = _login(repo)
    settings += list((_LFS if shutil.which("git-lfs") else _NO_LFS).items())
    if os.path.exists(address) or address.startswith("file:"):
        settings.append(("protocol.file.allow", "always"))  # of a repository on this machine, so may submodules be
    known = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {**secrets, **as_variables(settings, known)}
    run_git(git, ["init", "-q", str(target)])
    run_git(git, ["-C", str(target), "remote", "add", "--", "origin", _absolute(address)])
    fetched = run_git(git, ["-C", str(target), "fetch", "-q", "--depth=1", "origin", ref], variables)
    names = ["FETCH_HEAD"]
    if fetched.returncode:
        # A server may refuse a bare commit or a part of the history, and an abbreviated commit cannot be asked for.
        wanted = ["+refs/heads/*:refs/remotes/origin/*", *(["+HEAD:refs/remotes/origin/HEAD"] if ref == "HEAD" else [])]
        fetched = run_git(git, ["-C", str(target), "fetch", "-q", "--tags", "origin", *wanted], variables)
        names = [f"refs/remotes/origin/{ref}", ref]
    for name in names:
        commit = run_git(git, ["-C", str(target), "rev-parse", "-q", "--verify", f"{name}^{{commit}}"])
        if commit.returncode == 0:
            break
    if fetched.returncode or commit.returncode:
        reason = fetched.stderr.decode(errors="replace").strip() or f"it has no {ref}"
        raise PackError(masked(f"{ref} cannot be fetched from {repo}: {reason}"))
    name = commit.stdout.decode().strip()
    done = run_git(git, ["-C", str(target), "checkout", "-q", name], variables)
    if done.returncode == 0:
        submodules = ["submodule", "update", "-q", "--init", "--recursive", "--depth=1"]
        done = run_git(git, ["-C", str(target), *submodules], variables)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise PackError(masked(f"{ref} of {repo} cannot be checked out: {reason}"))
    return name


def _absolute(address: str) -> str:
    """The address of ``origin``: git looks a relative path up in the checkout, and the user has named it from where he is."""
    return os.path.abspath(address) if os.path.exists(address) else address


def _login(repo: str) -> tuple[str, list[tuple[str, str]], dict[str, str]]:
    """The address without its user and password; the settings and the variables by which git is told them.

    In an argument, every user of the control node could read them; git's own helpers get the address as one, too.
    """
    found = re.match(r"(https?://)([^/\s]+)@([^/@\s]+)(.*)", repo)
    if not found:
        return repo, [], {}
    scheme, login, host, path = found.groups()
    user, colon, password = login.partition(":")
    variables = {"PYGUN_GIT_USER": urllib.parse.unquote(user), "PYGUN_GIT_PASSWORD": urllib.parse.unquote(password)}
    key = f"credential.{scheme}{host}"
    # The empty one takes the place of those that the user has for all addresses. A user alone may be one whose password they
    # know; or it is a token, which needs none.
    settings = [(f"{key}.helper", "")] if colon else [(f"{key}.username", urllib.parse.unquote(user))]
    return f"{scheme}{host}{path}", [*settings, (f"{key}.helper", HELPER.format("PYGUN_GIT"))], variables


def run_git(git: str, arguments: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run git in a folder of any owner, without a question to the user."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    environment = {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **(variables or {})}
    return subprocess.run(
        [git, "-c", "safe.directory=*", "-c", "core.quotepath=off", *arguments],
        capture_output=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
