# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build a release in its place."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import hashlib
import json
import os
import shlex
import shutil
import subprocess

from .. import python_env
from ..host import build_account
from ..host.atomic import kept_aside, now, remove_tree, write_atomically
from ..host.logins import masked
from ..virtual_env import compile_command
from . import package_data, package_lock, record, shared_paths, source_versions
from .app_files import AppFiles
from .contents import Contents
from .environments import Environments, Needed
from .package_lock import PackageLock
from .resolution import Resolution

#: Source of a release's packages: an index, an earlier lock of this host, or another host of the rollout.
RESOLVED, KEPT, GIVEN = "resolved", "kept", "given"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which release is wanted, as far as it is known before packages are resolved.

    :param release: its id; a provisional one without a lock
    :param inputs: key of everything that packages are resolved from (`package_lock.inputs_key`)
    :param digest: digest of its lock, if that is known
    :param lock: its lock, if this host has it, or was given it
    :param former: the lock that another release on this host has for the same inputs
    """

    release: str
    inputs: str
    digest: str = ""
    lock: PackageLock | None = None
    packages: str = RESOLVED
    former: PackageLock | None = None
    #: The same for all hosts of a run that can have one lock. A marker may ask for the last part of a Python version, too: what one host
    #: does not need, another of the same minor version may.
    kind_of_host: str = ""


@dataclasses.dataclass(frozen=True)
class Built:
    """A release that was built, or that stood there as it turned out."""

    release: str
    lock: PackageLock
    packages: str
    exists: bool = False
    warning: str = ""
    #: Packages that were built, without projects of the app's own source.
    from_source: tuple[str, ...] = ()


def plan(params, python, store):
    """Find the lock for a release: the one that another host of the rollout has, or else the one that this host has."""
    inputs = package_lock.inputs_key(params, python)
    same = [release for release in _good_first(store) if store.metadata(release).get("inputs") == inputs]
    locks = list(filter(None, map(store.lock, same)))
    former, kind = (locks[0] if locks else None), KEPT
    digest = former.digest if former and not params["upgrade"] else ""
    lock = former if digest else None
    kind_of_host = f"{inputs}-{python}"
    given = params["locks"].get(kind_of_host)
    if given:
        kind, digest = GIVEN if given != digest else KEPT, given
        lock = next((one for one in [_given(params), *locks] if one and one.digest == digest), None)
        kind = RESOLVED if params.get("resolution") == "done" else kind
    release = release_id(params, python, digest)
    return Plan(release, inputs, digest, lock, kind if digest else RESOLVED, former, kind_of_host)


def _good_first(store):
    failed = store.failed()
    return sorted(store.ids(), key=lambda release: release in failed)


def _given(params):
    """The lock that came with the parameters, or None."""
    with contextlib.suppress(package_lock.Unreadable):
        return PackageLock.parse(params["lock"]) if params["lock"] else None
    return None


def release_id(params, python, lock):
    """Sixteen hexadecimal digits that change when, and only when, something that runs changes.

    :param lock: digest of the release's lock
    """
    identity = {
        "content": params["content"],
        "requirements": params["requirements"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
        "installer": "uv" if params["uv"] else "pip",
        "python": python,
        "lock": lock,
    }
    if params["shared_paths"]:
        identity["shared_paths"] = params["shared_paths"]
    identity.update(package_lock.options_of_installer(params))
    if params["app_python"].startswith("/"):
        identity["interpreter"] = params["app_python"]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def build(params, wanted, python, store, account=None):
    """Build the release in its place; ``release.json`` comes last and makes it count.

    :param wanted: the `Plan`. Without a lock the release gets its name when its packages are resolved
    :param account: the build account, which runs the packages' code. Until root owns all files again, only it and root can enter the release
    """
    path = store.path(wanted.release)
    if store.is_complete(wanted.release) and not store.damage(wanted.release):
        # Another run has built it before this one got the lock, and it may serve: nothing is built in its place.
        lock = store.lock(wanted.release) or wanted.lock or PackageLock(())
        return Built(wanted.release, lock, wanted.packages, exists=True)
    with contextlib.ExitStack() as undo:
        undo.enter_context(kept_aside(path))
        contents, needed = _unpack(params, path, python, store, account)
        files = _app_files(params, account)
        files.fetch(path, store, contents.former)
        with contents.lent("lib", account):
            _compile(params, os.path.join(path, "lib"), account)
        with contents.lent("src", account):  # a build of the app's own package writes there
            built, environment = _environment(params, wanted, path, needed, store, account)
        release = (
            wanted.release if built.lock.digest == wanted.digest else release_id(params, python, built.lock.digest)
        )
        if release != wanted.release:
            if store.is_complete(release) and not store.damage(release):
                remove_tree(path)
                return dataclasses.replace(built, release=release, exists=True)
            undo.enter_context(kept_aside(store.path(release)))
            path = contents.path = shutil.move(path, store.path(release))
        with contents.lent("src", account):
            _compile(params, os.path.join(path, "src"), account)
        files.place(path)
        contents.record()
        shared_paths.link(path, params["shared_paths"])
        Environments(store.root).link(environment, path)
        _write_run(path)
        write_atomically(os.path.join(path, package_lock.FILE), built.lock.text.encode(), 0o644)
        os.chown(path, 0, grp.getgrnam(params["group"]).gr_gid)
        os.chmod(path, 0o750)
        subprocess.run(  # pylint: disable=ansible-bad-function
            ["sync", "--file-system", path], check=False
        )  # a power cut must not leave a release that only looks complete
        known = {"inputs": wanted.inputs, "lock": built.lock.digest, "environment": environment}
        write_atomically(os.path.join(path, "release.json"), _metadata(params, release, python, known), 0o644)
    folders = built.lock.folders()
    versions = source_versions.warning(source_versions.projects(os.path.join(path, "src"), folders))
    warning = " ".join(filter(None, (built.warning, versions, package_data.warning(path, folders))))
    built = dataclasses.replace(built, warning=warning)
    return dataclasses.replace(built, release=release, from_source=needed.built(built.lock))


def resolve(params, wanted, python, store, account=None):
    """Resolve the packages of a release for all hosts of its kind, which can then install them side by side. Nothing else stays."""
    path = store.path(wanted.release)
    try:
        contents, needed = _unpack(params, path, python, store, account)
        with contents.lent("src", account):
            lock = _resolve(params, wanted, path, needed, account)
    finally:
        remove_tree(path)
    return Built(wanted.release, lock, RESOLVED, from_source=needed.built(lock))


def _unpack(params, path, python, store, account):
    """The files of a release in its folder, and what they say of its environment."""
    os.umask(0o022)  # root's may keep everybody else from what it makes
    os.makedirs(path, mode=0o700)
    contents = Contents(path, params["requirements"])
    contents.unpack(params["archive"], store, [file["path"] for file in params.get("fetch") or ()])
    needed = Needed(params, path, python)
    if account:
        os.chown(path, 0, account.gid)
        os.chmod(path, 0o710)
    return contents, needed


def _app_files(params, account):
    if not params.get("fetch"):
        return AppFiles([])
    environment = python_env.Installer.from_options(params, account).environment
    return AppFiles(params["fetch"], json.loads(params["fetch_from"]), params["python"], environment, account)


def _environment(params, wanted, path, needed, store, account):
    """Find or make the environment of a release. Return what was built so far, and the name of the environment."""
    lock, kind, warning = wanted.lock, wanted.packages, ""
    if lock is None:
        lock, kind = _resolve(params, wanted, path, needed, account), RESOLVED
        warning = (
            "The lock of the other hosts of this run cannot be used here; packages were resolved."
            if wanted.digest
            else ""
        )
    try:
        return Built(wanted.release, lock, kind, warning=warning), _install(params, lock, needed, store, account)
    except python_env.InstallError as error:
        lacks = python_env.not_found(str(error)) if kind == GIVEN else ""
        if lacks:
            cause = f"The other hosts of this run have {lacks} from before, and this host cannot get it any more."
            remedy = "Deploy with -e flask_app_upgrade=true: the packages of all hosts are then resolved again."
            raise python_env.InstallError(str(error), cause, remedy, error.whole) from error
        if kind != KEPT:
            raise
        # The index may no longer have packages that this host has installed before.
        last = str(error).strip().splitlines()[-1:]
        warning = f"The packages of the release before cannot be installed again, and were resolved: {' '.join(last)}"
        fresh = _resolve(params, wanted, path, needed, account)
        if fresh.digest == lock.digest:
            raise
        return Built(wanted.release, fresh, RESOLVED, warning=warning), _install(params, fresh, needed, store, account)


def _resolve(params, wanted, path, needed, account):
    """Resolve the packages to a lock. Return the former lock if the new one has the same packages."""
    names = [] if package_lock.ALL in params["upgrade"] else params["upgrade"]
    resolution = Resolution(params, path, account, wanted.former, names)
    found = resolution.lock()
    needed.from_source |= resolution.installer.from_source
    return wanted.former if wanted.former and wanted.former.same_as(found) else found


def _install(params, lock, needed, store, account):
    """Have the environment with the packages of a lock; return its name."""
    environments, name = Environments(store.root), needed.name(lock)
    if not environments.is_usable(name):
        environments.make(name, needed.contents(lock), account, lambda venv: needed.install(lock, venv, account))
    environments.open_to(name, params["group"])
    return name


def _write_run(path):
    """Write `run`, which starts a program with the app's environment, for people and for other programs."""
    words = [os.path.join(path, "venv", "bin", "python"), "-IS", os.path.join(path, "lib", "pygun_runtime", "run.py")]
    text = f'#!/bin/sh\n# RUN PROGRAM [ARGUMENT]... with the environment of the app.\nexec {shlex.join(words)} "$@"\n'
    write_atomically(os.path.join(path, "run"), text.encode(), 0o755)


def _compile(params, folder, account):
    """Byte-compile source: the app may not write next to it. A file that does not compile is the gate's to judge.

    The host's interpreter does it, and not the one of the environment, which runs the packages' code.
    """
    command = compile_command(params["python"], folder)
    with contextlib.suppress(subprocess.TimeoutExpired):
        if os.path.isdir(folder):
            build_account.run(command, account, {"LC_ALL": "C.UTF-8"}, timeout=1800, network=False)


def _metadata(params, release, python, known=None):
    found = {
        "id": release,
        "app": params["name"],
        "built_at": now(),
        "python": python,
        "content": params["content"],
        "origin": params["origin"],
        "requirements": params["requirements"],
        "packages": [masked(text) for text in params["packages"] or ()],
        "server_packages": params["server_packages"],
        "overrides": [masked(text) for text in params["overrides"] or ()],
        "pygun_py_shown": params["pygun_py_shown"],
        "shared_paths": params["shared_paths"],
        "service": record.service_from(params["service"]),
        **(known or {}),
    }
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()
