# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Resolve the requirements of an app to a lock: its packages and the server's, whose versions the app may choose."""

from __future__ import annotations

import functools
import os
import re

from .. import python_env, virtual_env
from ..host.atomic import remove_tree
from ..host.logins import masked
from ..resolved import normalize, requirement_of
from . import git_logins, installable, package_lock, server_packages, source_versions
from .package_lock import PackageLock
from .requirement_lines import FOLDERS, lines, notes

#: The first setuptools without pkg_resources.
_WITHOUT_PKG_RESOURCES = 82


class Resolution:
    """The packages that an installer chooses for a release. Nothing is installed.

    :param path: folder of the release; its source belongs to the account
    :param former: the lock of an earlier release, whose versions stay but for those of ``upgraded``
    """

    def __init__(self, params, path, account=None, former: PackageLock | None = None, upgraded=()):
        self.params, self.path = params, path
        self.files = [os.path.join(path, name) for name in params["requirements"]]
        self.work = os.path.join(path, "resolution")
        self.venv = os.path.join(self.work, "venv")
        self.installer = python_env.Installer.from_options(params, account)
        self.installer.environment["PROJECT_ROOT"] = os.path.join(path, "src")  # requirement_lines.SOURCE
        self.installer.environment.update(installable.environment_for(self.files))
        texts = [text for file in self.files for _where, text in lines(file)]
        self.installer.environment.update(git_logins.environment([*texts, *params["packages"], *params["overrides"]]))
        named = source_versions.folders_in(texts)
        self.installer.environment.update(source_versions.environment_for(os.path.join(path, "src"), named))
        self.server = params["server_packages"]
        self.named = server_packages.named(self.server, self.files, params["packages"], path)
        self.wants_hashes = server_packages.wants_hashes(self.files, params["uv"])
        may_change = self.server and not self.wants_hashes
        #: Names of packages that the server's packages must not change in silence.
        self.open = server_packages.left_open(self.server, self.files, params["packages"]) if may_change else set()
        names = set(map(normalize, upgraded))
        kept = former.packages if former and names and not self.wants_hashes else ()
        self.kept = [f"{one.name}=={one.version}" for one in kept if one.version and one.name not in names]

    def lock(self) -> PackageLock:
        """Resolve.

        :raises InstallError: nothing fits, or an index cannot be reached
        """
        os.makedirs(self.work, exist_ok=True)
        self.files = git_logins.copies(self.files, os.path.join(self.work, "requirements"))
        warnings = []
        try:
            self.installer.create(self.venv, self.params["python"])
            python = virtual_env.made_from(self.venv)
            installable.check(
                self.files, self.params["packages"], python, virtual_env.platform(), bool(self.params["uv"])
            )
            try:
                found = self._best()
            except python_env.InstallError as error:
                if not self.kept or not _is_conflict(str(error)):
                    raise
                self.kept = []
                self.__dict__.pop("alone", None)
                found = self._best()
                warnings.append("The upgraded packages do not fit the other versions: all packages are resolved again.")
            versions = {package.name: package.version for package in found}
            if versions.get("gunicorn", "").startswith("20."):
                found = self._with_pkg_resources(found, versions)
            found = self._with_hashes(found)
        finally:
            remove_tree(self.work)
        if self.open:
            warnings += server_packages.changed(self.open, self.alone, versions, self.server)
        return PackageLock.of(found, warnings, os.path.join(self.path, "src"))

    @functools.cached_property
    def alone(self):
        """Names and versions of the app's packages without the server's; none if no version fits.

        :raises InstallError: for a gunicorn that cannot serve, which only an installer finds: behind a marker, or of a package
        """
        own = self._own_arguments(self.files, self._named_packages())
        try:
            chosen = self.installer.resolve(self.venv, own) if own else []
        except python_env.InstallError:
            return {}  # the resolution of all says why
        versions = {package.name: package.version for package in chosen if package.version}
        gunicorn = versions.get("gunicorn")
        if gunicorn and server_packages.is_too_old(gunicorn):
            named = ", ".join(str(place) for place in self.named.get("gunicorn", ()))
            cause, remedy = server_packages.refusal(gunicorn, named)
            raise python_env.InstallError(f"gunicorn {gunicorn} cannot serve.", cause, remedy)
        return versions

    def _best(self):
        """The app's packages and the server's, with the server's versions where the app leaves the choice."""
        first = None
        for way, kept in server_packages.attempts(self.server, self.named, self.open, lambda: self.alone):
            try:
                found = self._together(way, kept)
            except python_env.InstallError as error:
                first = first or error
                if not server_packages.leaves_another_way(error.whole):
                    break
            else:
                if first is None or self._is_obtainable():
                    return found
                break
        if self.named and not isinstance(first, python_env.MissingWheel):
            named = ", ".join(str(place) for places in self.named.values() for place in places)
            cause = f"The app names {named}; the server needs {', '.join(self.server)}. The two do not fit each other."
            if any(name in str(first) for name in self.named):
                raise python_env.InstallError(str(first), cause, server_packages.remedy(self.named)) from first
        raise first

    def _is_obtainable(self):
        """Whether the index has the server's packages: it is the app then that they do not fit."""
        try:
            self.installer.resolve(self.venv, self.server)
        except python_env.InstallError:
            return False
        return True

    def _named_packages(self):
        secret = [text for text in self.params["packages"] if masked(text) != text]
        own = [text for text in self.params["packages"] if text not in secret]
        return own + (["-r", self._write("packages.txt", secret)] if secret else [])  # and not in the list of processes

    def _own_arguments(self, files, packages=()):
        own = [argument for name in files for argument in ("-r", name)] + list(packages)
        if own and self.kept:
            own += ["-c", self._write("kept.txt", self.kept)]
        overrides = self.params["overrides"] + [text for name in files for _where, text in notes(name, "override")]
        if overrides:
            overrides = server_packages.with_extras(overrides, self.server)
            own += ["--overrides", self._write("overrides.txt", overrides)]
        return own

    def _together(self, server, kept=()):
        if not self.wants_hashes:
            arguments = self._own_arguments(self.files, self._named_packages()) + server
            if kept:
                arguments += ["-c", self._write("constraints.txt", kept)]
            return self.installer.resolve(self.venv, arguments) if arguments else []
        # Requirements without hashes come second: named packages, the server's, and projects in the source.
        folders = [name for name in self.files if os.path.basename(name) == FOLDERS]
        own = self._own_arguments([name for name in self.files if name not in folders])
        found = {package.name: package for package in self.installer.resolve(self.venv, own)}
        fixed = [requirement_of(package) for _name, package in sorted(found.items())]
        fixed += server_packages.constraints({name: self.named[name] for name in self.named if name not in found})
        second = [*self._named_packages(), *server, *(argument for name in folders for argument in ("-r", name))]
        if second:
            arguments = ["-c", self._write("constraints.txt", fixed), *second]
            more = self.installer.resolve(self.venv, arguments)
            if self.params.get("require_hashes"):
                self._refuse_without_hash([one for one in more if one.name not in found])
            found = {**{one.name: one for one in more}, **found}
        return list(found.values())

    def _refuse_without_hash(self, packages):
        """Refuse a requirement of a project in the source that is in no file with hashes."""
        source = f"file://{os.path.join(self.path, 'src')}"
        bare = [requirement_of(one) for one in packages if not one.address.startswith(source)]
        if bare:
            raise python_env.InstallError(
                f"{', '.join(bare)} would come without a hash.",
                "flask_app_require_hashes is true, and a project in the source asks for what the requirement files do not name.",
                "Write these packages into the requirement files, with their hashes.",
            )

    def _with_pkg_resources(self, found, versions):
        """The packages, and those that gunicorn 20 imports without requiring them."""
        needed, present = server_packages.FOR_GUNICORN_20, versions.get("setuptools", "")
        if re.match(r"\d+", present) and int(re.match(r"\d+", present)[0]) < _WITHOUT_PKG_RESOURCES:
            return found
        named = server_packages.named(["setuptools"], self.files, self.params["packages"], self.path)
        for place in named.get("setuptools", ()):
            if place.decides:
                cause = f"gunicorn 20 imports pkg_resources of {needed}, and the app names {place}."
                raise python_env.InstallError(cause, cause, "Take the version out, or name gunicorn==21.2.0 or later.")
        others = [package for package in found if package.name != "setuptools"]
        return others + [one for one in self.installer.resolve(self.venv, [needed]) if one.name == "setuptools"]

    def _with_hashes(self, found):
        """The packages with the hashes that the app names or, where it names none, those that the index knows."""
        names = set(map(virtual_env.requirement_name, self.params["overrides"]))
        overridden = {one.name: one.version or "" for one in found if one.name in names}
        given = package_lock.hashes_in(self.files, overridden)
        known = self.installer.with_hashes(self.venv, found, package_lock.options_in(self.files))
        return [one._replace(hashes=given.get(one.name, one.hashes)) for one in known]

    def _write(self, name, content):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f"{git_logins.without(line)}\n" for line in content)
        return path


def _is_conflict(text):
    return bool(re.search(r"No solution found|ResolutionImpossible|conflict", text))
