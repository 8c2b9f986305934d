# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build a release in its place."""

from __future__ import annotations

import contextlib
import functools
import grp
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import time

from .. import python_env
from ..host import build_account
from ..host.atomic import kept_aside, now, write_atomically
from . import record, server_packages
from .app_files import AppFiles
from .requirement_lines import FOLDERS, lines


def release_id(params, python):
    """Sixteen hexadecimal digits that change when, and only when, something that runs changes."""
    identity = {
        "content": params["content"],
        "requirements": params["requirements"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
        "installer": "uv" if params["uv"] else "pip",
        "python": python,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def build(params, release, python, store, account=None):
    """Build the release in its place, and return warnings; ``release.json`` comes last and makes it count.

    :param account: who runs what the packages bring. Until all is root's again, nobody else can enter the release
    """
    path = store.path(release)
    src, lib = os.path.join(path, "src"), os.path.join(path, "lib")
    os.umask(0o022)  # root's may keep everybody else from what it makes
    with kept_aside(path):
        os.makedirs(path, mode=0o700)
        _unpack(params["archive"], path)
        if account:
            os.chown(path, 0, account.gid)
            os.chmod(path, 0o710)
        files = _app_files(params, account)
        files.fetch(path, store)
        build_account.hand_over(lib, account)
        _compile(params, lib, account)
        build_account.take_over(lib, account)
        build_account.hand_over(src, account)  # a build of the app's own package writes there
        warnings = _install(params, path, account)
        _compile(params, src, account)
        build_account.take_over(src, account)
        files.place(path)
        _have_runtime_found(path)
        _write_run(path)
        os.chown(path, 0, grp.getgrnam(params["group"]).gr_gid)
        os.chmod(path, 0o750)
        subprocess.run(  # pylint: disable=ansible-bad-function
            ["sync", "--file-system", path], check=False
        )  # a power cut must not leave a release that only looks complete
        write_atomically(os.path.join(path, "release.json"), _metadata(params, release, python), 0o644)
    return warnings


def _unpack(archive, path):
    built = time.time()
    with tarfile.open(archive) as packed:
        for member in packed:
            if os.path.isabs(member.name) or ".." in member.name.split("/"):
                raise tarfile.TarError(f"{member.name} leads out of the release")
            member.mtime = built  # an archive has no times, and browsers are told those of static files
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            packed.extract(member, path)


def _app_files(params, account):
    if not params.get("fetch"):
        return AppFiles([])
    environment = python_env.Installer.from_options(params, account).environment
    return AppFiles(params["fetch"], json.loads(params["fetch_from"]), params["python"], environment, account)


def _install(params, path, account):
    """Install the packages of a release; return warnings."""
    venv = os.path.join(path, "venv")
    files = [os.path.join(path, name) for name in params["requirements"]]
    found = server_packages.named(params["server_packages"], files, params["packages"], path)
    _check_git(files, params["packages"])
    installer = python_env.Installer.from_options(params, account)
    installer.environment["PROJECT_ROOT"] = os.path.join(path, "src")  # requirement_lines.SOURCE
    installer.create(venv, params["python"])
    alone = _Alone(params, path, installer, files, found)
    _install_best(params, path, installer, files, found, alone)
    if python_env.installed(venv).get("gunicorn", "").startswith("20."):
        _add_pkg_resources(params, path, installer, files)
    installer.take_over(venv)
    return alone.changed(python_env.installed(venv))


def _check_git(files, packages):
    """Refuse a package from a git repository on a host without git."""
    if shutil.which("git"):
        return
    given = [place for file in files for place in lines(file)]
    for where, text in [*given, *(("flask_app_packages", text) for text in packages)]:
        if re.search(r"(^|\s)git\+", text):
            cause = f"{where} names a git repository, and this host has no git."
            remedy = "Install git on the host; or name an archive of the commit, such as https://HOST/TEAM/APP/archive/COMMIT.tar.gz."
            raise python_env.InstallError("a package of the app's comes from a git repository.", cause, remedy)


class _Alone:
    """What the app gets without the server's packages: they must not change in silence what it names."""

    def __init__(self, params, path, installer, files, found):
        self.params, self.path, self.installer, self.files, self.found = params, path, installer, files, found
        server = params["server_packages"]
        may_change = server and not server_packages.wants_hashes(files, params["uv"])
        self.names = server_packages.left_open(server, files, params["packages"]) if may_change else set()

    @functools.cached_property
    def versions(self):
        """Names and versions; none when nothing fits.

        :raises InstallError: for a gunicorn that cannot serve, which only an installer finds: behind a marker, or of a package
        """
        own = _own_arguments(self.params, self.path, self.files)
        try:
            versions = self.installer.resolve(os.path.join(self.path, "venv"), own) if own else {}
        except python_env.InstallError:
            return {}  # the installation says why
        gunicorn = versions.get("gunicorn")
        if gunicorn and server_packages.is_too_old(gunicorn):
            named = ", ".join(str(place) for place in self.found.get("gunicorn", ()))
            cause, remedy = server_packages.refusal(gunicorn, named)
            raise python_env.InstallError(f"gunicorn {gunicorn} cannot serve.", cause, remedy)
        return versions

    def changed(self, installed):
        """Warnings of the packages that the app names and the server's packages have changed."""
        if not self.names:
            return []
        return list(server_packages.changed(self.names, self.versions, installed, self.params["server_packages"]))


def _have_runtime_found(path):
    """Tell the environment where the runtime is, in a file that is not one which a package has put there."""
    for packages in python_env.site_packages(os.path.join(path, "venv")):
        text = f"{os.path.join(path, 'lib')}\n"
        write_atomically(os.path.join(packages, "pygun_runtime.pth"), text.encode(), 0o644)


def _write_run(path):
    """What runs a program of the app with its environment, for people and for programs beside the app."""
    words = [os.path.join(path, "venv", "bin", "python"), "-IS", os.path.join(path, "lib", "pygun_runtime", "run.py")]
    text = f'#!/bin/sh\n# RUN PROGRAM [ARGUMENT]... with the environment of the app.\nexec {shlex.join(words)} "$@"\n'
    write_atomically(os.path.join(path, "run"), text.encode(), 0o755)


def _install_best(params, path, installer, files, found, alone):
    """Install the app's packages and the server's, with the server's versions where the app leaves the choice."""
    first, server = None, params["server_packages"]
    for way, kept in server_packages.attempts(server, found, alone.names, lambda: alone.versions):
        try:
            _install_together(params, path, installer, files, found, way, kept)
        except python_env.InstallError as error:
            first = first or error
            if not server_packages.leaves_another_way(str(error)):
                break
        else:
            if first is None or _is_obtainable(params, path, installer):
                return
            break
    if found and not isinstance(first, python_env.MissingWheel):
        named = ", ".join(str(place) for places in found.values() for place in places)
        cause = f"The app names {named}; the server needs {', '.join(server)}. The two do not fit each other."
        if any(name in str(first) for name in found):
            raise python_env.InstallError(str(first), cause, server_packages.remedy(found)) from first
    raise first


def _is_obtainable(params, path, installer):
    """Whether the index has the server's packages: it is the app then that they do not fit."""
    try:
        installer.resolve(os.path.join(path, "venv"), params["server_packages"])
    except python_env.InstallError:
        return False
    return True


def _own_arguments(params, path, files):
    own = [argument for name in files for argument in ("-r", name)] + params["packages"]
    if params["overrides"]:
        overrides = server_packages.with_extras(params["overrides"], params["server_packages"])
        own += ["--overrides", _write_lines(os.path.join(path, "overrides.txt"), overrides)]
    return own


def _install_together(params, path, installer, files, found, server, kept=()):
    venv = os.path.join(path, "venv")
    if not server_packages.wants_hashes(files, params["uv"]):
        arguments = _own_arguments(params, path, files) + server
        if kept:
            arguments += ["-c", _write_lines(os.path.join(path, "constraints.txt"), kept)]
        if arguments:
            installer.install(venv, arguments)
        return
    # What has no hashes comes second: the server's packages, and projects in the source.
    folders = [name for name in files if os.path.basename(name) == FOLDERS]
    installer.install(venv, _own_arguments(params, path, [name for name in files if name not in folders]))
    present = python_env.installed(venv)
    fixed = [f"{name}=={version}" for name, version in sorted(present.items())]
    fixed += server_packages.constraints({name: found[name] for name in found if name not in present})
    second = [*server, *(argument for name in folders for argument in ("-r", name))]
    if second:
        installer.install(venv, ["-c", _write_lines(os.path.join(path, "constraints.txt"), fixed), *second])


def _add_pkg_resources(params, path, installer, files):
    """What gunicorn 20 imports and does not ask for."""
    venv, needed = os.path.join(path, "venv"), server_packages.FOR_GUNICORN_20
    if any(os.path.isdir(os.path.join(packages, "pkg_resources")) for packages in python_env.site_packages(venv)):
        return
    named = server_packages.named(["setuptools"], files, params["packages"], path).get("setuptools", ())
    for place in named:
        if place.decides:
            cause = f"gunicorn 20 imports pkg_resources of {needed}, and the app names {place}."
            raise python_env.InstallError(cause, cause, "Take the version out, or name gunicorn==21.2.0 or later.")
    installer.install(venv, [needed])


def _write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return path


def _compile(params, folder, account):
    """Byte-compile source: the app may not write next to it. A file that does not compile is the gate's to judge.

    The host's interpreter does it, and not the one of the environment, which runs the packages' code.
    """
    command = [params["python"], "-IS", "-m", "compileall", "-q", "-j", "0", folder]
    with contextlib.suppress(subprocess.TimeoutExpired):
        if os.path.isdir(folder):
            build_account.run(command, account, {"LC_ALL": "C.UTF-8"}, timeout=1800, network=False)


def _metadata(params, release, python):
    found = {
        "id": release,
        "app": params["name"],
        "built_at": now(),
        "python": python,
        "content": params["content"],
        "origin": params["origin"],
        "requirements": params["requirements"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
        "pygun_py_shown": params["pygun_py_shown"],
        "service": record.service_from(params["service"]),
    }
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()
