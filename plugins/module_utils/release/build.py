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
import shutil
import subprocess
import tarfile
import time

from .. import python_env
from ..host import build_account
from ..host.atomic import kept_aside, now, write_atomically
from . import record, server_packages
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
        build_account.hand_over(lib, account)
        _compile(params, lib, account)
        build_account.take_over(lib, account)
        build_account.hand_over(src, account)  # a build of the app's own package writes there
        warnings = _install(params, path, account)
        _compile(params, src, account)
        build_account.take_over(src, account)
        _have_runtime_found(path)
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
            raise python_env.InstallError(cause, cause, remedy)


class _Alone:
    """What the app gets without the server's packages: they must not change in silence what it names."""

    def __init__(self, params, path, installer, files, found):
        self.params, self.path, self.installer, self.files, self.found = params, path, installer, files, found
        given = [text for file in files for _where, text in lines(file)] + params["packages"]
        server = {"gunicorn", *map(python_env.requirement_name, params["server_packages"])}
        names = {
            python_env.requirement_name(text) for text in given if not text.startswith("-") and _leaves_choice(text)
        }
        self.names = names - server - {None}
        self.is_worth_knowing = bool(self.names and params["server_packages"])

    @functools.cached_property
    def versions(self):
        """Names and versions; none when nothing fits."""
        own = _own_arguments(self.params, self.path, self.files)
        try:
            return self.installer.resolve(os.path.join(self.path, "venv"), own)
        except python_env.InstallError:
            return {}  # the installation says why

    def constraints(self):
        """The versions of what the app names and leaves open, as lines of a constraint file."""
        versions = self.versions if self.is_worth_knowing else {}
        return [f"{name}=={versions[name]}" for name in sorted(self.names & set(versions))]

    def changed(self, installed):
        """Warnings of the packages that the app names and the server's packages have changed."""
        if not self.is_worth_knowing:
            return []
        differ = [
            name
            for name in sorted(self.names & set(self.versions))
            if _plain(installed.get(name, "")) != _plain(self.versions[name])
        ]
        return [
            server_packages.changed(name, self.versions[name], installed.get(name), self.params["server_packages"])
            for name in differ
        ]


def _plain(version):
    """A version as an installer and the name of a directory both may write it."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[-_]", ".", version.lower()))


def _leaves_choice(text):
    """Whether a requirement names more than one version."""
    return "://" not in text and not re.search(r"===?\s*[^\s,;*]+\s*(;|$|\s--)", text)


def _have_runtime_found(path):
    """Tell the environment where the runtime is, in a file that is not one which a package has put there."""
    for packages in python_env.site_packages(os.path.join(path, "venv")):
        text = f"{os.path.join(path, 'lib')}\n"
        write_atomically(os.path.join(packages, "pygun_runtime.pth"), text.encode(), 0o644)


def _install_best(params, path, installer, files, found, alone):
    """Install the app's packages and the server's, with the server's versions where the app leaves the choice."""
    first = None
    for way, kept in _ways(params, files, found, alone):
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
    server = params["server_packages"]
    if found and not isinstance(first, python_env.MissingWheel):
        named = ", ".join(str(place) for places in found.values() for place in places)
        cause = f"The app names {named}; the server needs {', '.join(server)}. The two do not fit each other."
        if any(name in str(first) for name in found):
            raise python_env.InstallError(str(first), cause, server_packages.remedy(found)) from first
    raise first


def _ways(params, files, found, alone):
    """The server's packages as they can be asked for, each with the versions of the app's packages that hold; the best first."""
    if alone.is_worth_knowing:
        _refuse_too_old(alone, found, params)
    ways = server_packages.ways(params["server_packages"], found)
    kept = [] if server_packages.wants_hashes(files, params["uv"]) else alone.constraints()
    for own in [kept, []] if kept else [[]]:
        yield ways[0], own
        _refuse_too_old(alone, found, params)
        for way in ways[1:]:
            # Another gunicorn than the lossless worker knows is for apps that ask for one.
            if "gunicorn" in alone.versions or server_packages.same_gunicorn(way, ways[0]):
                yield way, own


def _refuse_too_old(alone, found, params):
    """Refuse a gunicorn that cannot serve, and that only the installer has found: behind a marker, or of another package."""
    version = alone.versions.get("gunicorn")
    if version and server_packages.is_too_old(version) and not params["overrides"]:
        named = ", ".join(str(place) for place in found.get("gunicorn", ()))
        cause, remedy = server_packages.refusal(version, named)
        raise python_env.InstallError(cause, cause, remedy)


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
