# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make virtual environments with pip or uv. virtual_env.py inspects them.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess

from .diagnosis.symptoms import diagnose
from .host import build_account, inspection
from .host.atomic import remove_file, remove_tree
from .host.build_account import Account, InstallError
from .host.logins import masked
from .host.sizes import bytes_of, size_of
from .resolved import chosen_by_pip, chosen_by_uv, normalize, requirement_of
from .virtual_env import NAME, compile_command, made_from, platform

_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
#: The address of a package, or a file that may name one. Where an index is does not count: with a wheelhouse, none is asked.
_ELSEWHERE = re.compile(
    r"^(?!\s*(?:#|-i\b|-f\b|--index-url|--extra-index-url|--find-links))[^#\n]*(?<!file)://"
    r"|^\s*(-r|-c|--requirement|--constraint)[\s=]*\S",
    re.MULTILINE,
)
#: Folders of packages that no service imports, and that are half of what scientific packages bring: they are not compiled.
_TESTS = r"/site-packages/(.+/)?tests?/"
#: A package that uv, or pip, has built.
_BUILT = re.compile(r"^\s*(?:Built |Created wheel for )([A-Za-z0-9._-]*[A-Za-z0-9])", re.MULTILINE)
#: Environment variables that installers and compilers get. Any other variable may be a secret of the app.
_PASSED_ON = re.compile(
    r"PATH|TZ|(https?|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|CC|CXX|CPP|AR|LD|LDSHARED"
    r"|(C|CXX|CPP|LD|MAKE|RUST)FLAGS|PKG_CONFIG_PATH|CPATH|C_INCLUDE_PATH|LIBRARY_PATH|LD_LIBRARY_PATH|JAVA_HOME|CUDA_HOME",
    re.IGNORECASE,
)

#: Argument spec of the options in plugins/doc_fragments/installer.py.
INSTALLER_OPTIONS = {
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "uv": {"type": "path"},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "ca_bundle": {"type": "str", "default": ""},
    "extra_args": {"type": "list", "elements": "str", "default": []},
    "wheelhouse": {"type": "str", "default": ""},
    "cache_dir": {"type": "str", "default": ""},
    "cache_max": {"type": "str", "default": "0"},
    "timeout": {"type": "int", "default": 1800},
}


class MissingWheel(InstallError):
    """The wheelhouse lacks a package."""

    def __init__(self, message, cause):
        super().__init__(
            message,
            cause,
            "On the control node, with the inventory and the variables of this run: `ansible-playbook"
            " pygun.stack.wheelhouse`. It adds what is missing to python_wheelhouse. Then run this again.",
        )


def explained(error):
    """The known reason of a failed installation, with ``cause`` and ``remedy``; None if it is not known."""
    return error if getattr(error, "cause", None) else diagnose(getattr(error, "whole", str(error)), "installer")


class Installer:
    """Makes virtual environments and installs into them.

    :param uv: path of uv, or None for the interpreter's own venv and pip
    :param index_url: the package index; it may hold a password, so it travels in the environment only
    :param ca_bundle: file with the certificates to trust
    :param extra_args: further arguments for ``pip install`` or ``uv pip install``
    :param wheelhouse: directory that replaces every index
    :param cache_dir: directory in which each account has its cache
    :param cache_max: size that this cache may have after `tidy_cache`
    :param timeout: seconds that one call of the installer may take
    :param account: the account that does all that; root takes over the result. None: the user of this process
    """

    def __init__(
        self,
        uv=None,
        index_url=None,
        ca_bundle=None,
        extra_args=(),
        wheelhouse=None,
        cache_dir=None,
        cache_max="0",
        timeout=1800,
        account: Account | None = None,
    ):
        self.uv = uv
        self.ca_bundle = ca_bundle
        self.extra_args, with_logins = _apart(extra_args)
        self._names_addresses = any("://" in argument for argument in extra_args)
        self.wheelhouse = wheelhouse
        self.timeout = timeout
        self.cache_max = cache_max
        self.account = account
        #: Names of the packages that it had to build.
        self.from_source: set[str] = set()
        self.cache = os.path.join(cache_dir, account.name) if cache_dir and account else cache_dir
        own = () if account else ("HOME", "TMPDIR")
        self.environment = {
            name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name) or name in own
        }
        self.environment.update(
            LC_ALL="C.UTF-8",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_INPUT="1",
            UV_LINK_MODE="clone",  # a copy where the file system has no clones: a link would lead out of the cache
            UV_NO_PROGRESS="1",
            UV_PYTHON_DOWNLOADS="never",
        )
        if ca_bundle:
            self.environment.update(SSL_CERT_FILE=ca_bundle, PIP_CERT=ca_bundle)
        if index_url and not wheelhouse:
            self.environment.update(UV_DEFAULT_INDEX=index_url, PIP_INDEX_URL=index_url)
        self.environment.update(with_logins)
        if self.cache:
            self.environment.update(
                UV_CACHE_DIR=os.path.join(self.cache, "uv"), PIP_CACHE_DIR=os.path.join(self.cache, "pip")
            )

    @classmethod
    def from_options(cls, params, account=None):
        """The installer that a module's parameters ask for (INSTALLER_OPTIONS)."""
        return cls(account=account, **{name: params[name] for name in INSTALLER_OPTIONS if name != "python"})

    def create(self, path, python):
        """Create an empty virtual environment at ``path``, in place of its content. `take_over` it in the end."""
        remove_tree(path, ignore_errors=True)
        if self.account:
            self._prepare(path, python)
        if self.uv:
            self._run([self.uv, "venv", "--no-project", "--no-config", "--python", python, path], network=False)
        else:
            self._run([python, "-I", "-m", "venv", path], network=False)

    def _prepare(self, path, python):
        """Give the account its working folders, and check that it can read its inputs."""
        account, scratch = self.account, scratch_of(path)
        build_account.end_processes(account)  # of a run that was killed
        os.umask(0o022)  # root's may keep everybody else from what it makes
        os.makedirs(os.path.dirname(path), exist_ok=True)
        for folder in (path, scratch):
            remove_tree(folder)
            build_account.own_folder(folder, account)
        os.chmod(path, 0o755)
        self.environment.update(HOME=scratch, TMPDIR=scratch, USER=account.name, LOGNAME=account.name)
        if self.cache:
            folder = os.path.dirname(self.cache)
            os.makedirs(folder, exist_ok=True)
            for name in build_account.FORMER_CACHES:
                remove_tree(os.path.join(folder, name), ignore_errors=True)
            build_account.own_folder(self.cache, account)
        needed = {"-x": (python, self.uv, path, self.cache), "-r": (self.wheelhouse, self.ca_bundle)}
        for kind, paths in needed.items():
            for needs in filter(None, paths):
                if os.path.lexists(needs) and self._try(["test", kind, needs], network=False).returncode:
                    closed = inspection.refusal(account.name, needs, os.X_OK if kind == "-x" else os.R_OK) or needs
                    raise InstallError(
                        f"{needs} is out of reach for {account.name}, the user that installs, so that no package's code runs as root."
                        f" {closed} is closed to it ({inspection.describe_mode(closed)}): open it to others, or move it."
                    )

    def install(self, path, arguments):
        """Install ``arguments`` (requirements, ``-r`` and ``-c`` options) into the virtual environment at ``path``."""
        command = self._command(path)
        with self._explaining(path, command, arguments):
            self._run(command + self.extra_args + list(arguments), self._needs_network(arguments))
        # What does not compile (a template, code for an older Python) is not imported either.
        self._try(compile_command(os.path.join(path, "bin", "python"), path, _TESTS), network=False)

    @contextlib.contextmanager
    def _explaining(self, path, command, arguments):
        """Say more of an error than the installer does, which was run with this command and these arguments."""
        try:
            yield
        except InstallError as error:
            text, why = str(error), ""
            if not self.uv and "from versions: none" in text:
                why = f"\n{self._why_pip_finds_nothing(command, arguments)}"
            if self.wheelhouse and (lacks := not_found(str(error))):
                cause = f"The wheelhouse has no {lacks} for Python {made_from(path)} on {platform()}."
                raise MissingWheel(text + why, cause) from error
            raise InstallError(text + why, whole=error.whole + why) from error

    def resolve(self, path, arguments):
        """All that `install` would install into the empty virtual environment at ``path``, as `Resolved`; nothing is installed."""
        report = os.path.join(scratch_of(path), "report.json") if self.account else f"{path}.report.json"
        command = [*self._command(path), "--dry-run"]
        command += ["--reinstall"] if self.uv else ["--quiet", "--ignore-installed", "--report", report]
        try:
            with self._explaining(path, command, arguments):
                said = self._run(command + self.extra_args + list(arguments), self._needs_network(arguments))
            return chosen_by_uv(said) if self.uv else chosen_by_pip(report)
        finally:
            remove_file(report)

    def with_hashes(self, path, packages, options):
        """The same packages with the hashes of all their files; without, where an index gives none.

        pip's answer has them. uv is asked again: it knows them from the index.

        :param options: lines of requirement files with options, such as further indexes
        """
        if not self.uv or self.wheelhouse:
            return packages
        file = f"{path}.packages.txt"
        with open(file, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in [*options, *(requirement_of(package) for package in packages)])
        python = os.path.join(path, "bin", "python")
        command = [self.uv, "pip", "compile", "--no-config", "--no-deps", "--generate-hashes", "--no-header"]
        command += ["--no-annotate", "--quiet", "--python", python, *self.extra_args, file]
        try:
            done = self._try(command)
        except InstallError:
            return packages
        finally:
            remove_file(file)
        found = {}
        for line in done.stdout.replace("\\\n", " ").splitlines() if done.returncode == 0 else ():
            match = NAME.match(line)
            if match:
                found[normalize(match.group(1))] = tuple(sorted(_HASH.findall(line)))
        return [package._replace(hashes=found.get(package.name, ())) for package in packages]

    def _command(self, path):
        """The command that installs into the virtual environment at ``path``, without arguments."""
        python = os.path.join(path, "bin", "python")
        if self.uv:
            command = [self.uv, "pip", "install", "--no-config", "--python", python]
        else:
            command = [python, "-I", "-m", "pip", "install", "--no-compile"]
        return [*command, *(["--no-index", "--find-links", self.wheelhouse] if self.wheelhouse else [])]

    def _needs_network(self, arguments):
        """Whether an index or an address is needed: always without a wheelhouse, otherwise for requirements with an address."""
        if not self.wheelhouse or self._names_addresses or any("://" in argument for argument in arguments):
            return True
        for option, path in zip(arguments, arguments[1:]):
            if option == "-r":
                with open(path, encoding="utf-8-sig", errors="replace") as stream:
                    if _ELSEWHERE.search(stream.read()):
                        return True
        return False

    def take_over(self, path):
        """End the processes that the installation left, and make root the owner of the virtual environment at ``path``."""
        build_account.take_over(path, self.account)
        remove_tree(scratch_of(path))
        remove_file(os.path.join(path, ".lock"))  # uv's, open to every user

    def tidy_cache(self):
        """Remove unused entries of the cache, or all entries if it is still too large."""
        if not self.cache:
            return
        if self.uv:
            with contextlib.suppress(InstallError):
                self._try([self.uv, "cache", "prune", "--no-config", "--quiet"], network=False)
        most = bytes_of(self.cache_max)
        if most and size_of(self.cache) > most:
            remove_tree(self.cache, ignore_errors=True)

    def _why_pip_finds_nothing(self, command, arguments):
        """pip says of an index that refuses, or has no wheel for this host, the same as of a package that does not exist.

        Only its debugging output tells them apart, so it is asked again.
        """
        if "--no-index" in command + self.extra_args:
            return "pip was run without an index."
        try:
            done = self._try([*command, *self.extra_args, "-vv", "--retries", "0", *arguments])
        except InstallError:
            return ""
        telling = re.compile(r"\s*(Could not fetch URL .*|Skipping link: none of the wheel's tags .*)")
        found = [telling.match(line) for line in (done.stderr + done.stdout).splitlines()]
        return _last_lines("\n".join(dict.fromkeys(match.group(1) for match in found if match)), 5)

    def _run(self, command, network=True):
        done = self._try(command, network)
        said = done.stderr + done.stdout
        if done.returncode:
            raise InstallError(_last_lines(said), whole=_last_lines(said, count=0))
        self.from_source |= set(map(normalize, _BUILT.findall(said)))
        return said

    def _try(self, command, network=True):
        # uv passes over an address of --find-links then, and does not wait for it.
        environment = self.environment if network else {**self.environment, "UV_OFFLINE": "1"}
        try:
            return build_account.run(command, self.account, environment, self.timeout, network)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"{command[0]} did not end within {self.timeout} s") from error
        except (OSError, subprocess.SubprocessError) as error:
            raise InstallError(f"{command[0]} cannot be run: {getattr(error, 'strerror', None) or error}") from error


def _apart(arguments):
    """The arguments that an installer is given, and variables of its environment for the options that have a login in a value: every user
    of the host can read the list of processes. A variable has all values of its option, since an argument would take its place.
    """
    found, rest = [], list(arguments)
    while rest:
        words = [rest.pop(0)]
        option, equal, value = words[0].partition("=")
        if not equal and option.startswith("-") and rest and "://" in rest[0] and not rest[0].startswith("-"):
            value = rest.pop(0)
            words.append(value)
        found.append(({"-f": "--find-links"}.get(option, option), value, words))
    secret = {option for option, value, _words in found if option.startswith("--") and masked(value) != value}
    variables = {}
    for option in secret:
        name = option[2:].replace("-", "_").upper()
        values = [value for other, value, _words in found if other == option]
        variables[f"PIP_{name}"] = " ".join(values)
        variables[f"UV_{name}"] = ("," if name == "FIND_LINKS" else " ").join(values)
    return [word for option, _value, words in found if option not in secret for word in words], variables


def scratch_of(path):
    """The folder for home and temporary files while the virtual environment at ``path`` is made."""
    return f"{path}.build"


#: How uv and pip say that no wheel of what they were given will do.
_LACKING = (
    r"was not found in the provided package locations and (?:you require|\S+ depends on) ([^\s,]+)",
    r"(\S+) was not found in the provided package locations",
    r"No matching distribution found for ([^\s(]+)",
    r"(\S+) has no wheels with a matching",
    r"there is no version of ([^\s,]+)",
    r"only [^\n]* (?:is|are) available[^\n]*? (?:require|depends on) ([^\s,]+)",
)


def not_found(text):
    """The requirement that an installer did not find; None if the installation failed for another reason."""
    for pattern in _LACKING:
        found = re.search(pattern, " ".join(text.split()))
        if found:
            return found.group(1).rstrip(",.")
    return None


def _last_lines(text, count=25):
    """The last lines, or all of them, without the passwords in addresses."""
    lines = [masked(line) for line in text.strip().splitlines()]
    return "\n".join(lines[-count:])
