# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collects wheels on the control node for a host with another Python, another platform and no network.

uv works out the versions, since it can pretend to be another Python on another platform; pip downloads them, by the
hashes that uv wrote down.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..module_utils.host.logins import masked
from ..module_utils.release import git_logins
from ..module_utils.release.package_lock import options_in
from ..module_utils.release.server_packages import (
    FOR_GUNICORN_20,
    Named,
    attempts,
    changed,
    leaves_another_way,
    left_open,
)

try:
    from packaging import tags, utils
except ImportError:  # ansible-core brings it; its sanity tests import plugins without
    tags = utils = None

#: Versions of glibc that uv knows as platforms (uv 0.13); a host with another counts as the next older one.
_GLIBC_OF_UV = (17, 28, *range(31, 41))
#: The oldest glibc that any wheel names.
_OLDEST_GLIBC = 5
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
#: Options of a requirement file, or of python_extra_args, that say where packages are.
_PLACE = re.compile(r"(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)(?:\s*=\s*|\s+)(\S+)")
#: A package in a lock that comes from an address, and so from no index.
_OF_ADDRESS = re.compile(r"^([A-Za-z0-9._-]+) @ (?!file:)([^\s\\]+)", re.MULTILINE)


class WheelsError(Exception):
    """The wheels cannot be collected; the message says why and what to do."""


@dataclass(frozen=True)
class Target:
    """A Python and a platform."""

    python: str
    machine: str
    glibc: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """From a text such as ``3.11.2-manylinux_2_36_x86_64``."""
        found = re.fullmatch(r"(3\.\d+(?:\.\d+)?)-manylinux_2_(\d+)_(\w+)", text)
        if not found:
            raise WheelsError(
                f"{text!r} is no Python with a platform that wheels could be collected for. Write one such as"
                " 3.11-manylinux_2_36_x86_64 (python_wheelhouse_target)."
            )
        return cls(found[1], found[3], int(found[2]))

    def of_app(self, python: str) -> Target:
        """The same platform with the Python that an app asks for (``flask_app_python``), unless that is a path."""
        return dataclasses.replace(self, python=python) if python and not python.startswith("/") else self

    @property
    def text(self) -> str:
        return f"{self.python}-manylinux_2_{self.glibc}_{self.machine}"

    @property
    def platforms(self) -> list[str]:
        """Every platform tag that such a host takes, the newest first."""
        found = []
        for minor in range(self.glibc, _OLDEST_GLIBC - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _LEGACY:
                found.append(f"{_LEGACY[minor]}_{self.machine}")
        return [*found, f"linux_{self.machine}"]

    @property
    def for_uv(self) -> str:
        known = [minor for minor in _GLIBC_OF_UV if minor <= self.glibc] or [_GLIBC_OF_UV[0]]
        return f"{self.machine}-manylinux_2_{known[-1]}"

    def tags(self) -> frozenset[tags.Tag]:
        """The tags of the wheels that such a host takes."""
        version = tuple(int(part) for part in self.python.split(".")[:2])
        own = tags.cpython_tags(version, platforms=self.platforms)
        plain = tags.compatible_tags(version, f"cp{version[0]}{version[1]}", platforms=self.platforms)
        return frozenset([*own, *plain])


@dataclass(frozen=True)
class Locked:
    """One entry of a lock file."""

    name: str
    version: str
    hashes: frozenset[str]
    text: str


def collect(
    dest: Path,
    target: Target,
    *,
    files: Iterable[Path],
    packages: Iterable[str],
    server: Iterable[str] = (),
    named: dict[str, list[Named]] | None = None,
    overrides: Iterable[str] = (),
    source: str = "",
    index_url: str = "",
    extra_args: Iterable[str] = (),
    scratch: Path,
    check: bool = False,
    warn: Callable[[str], None] = print,
) -> list[str]:
    """Add to ``dest`` what the requirements need on the target and ``dest`` lacks; the names of what was added.

    With ``check`` nothing is downloaded; the names are those of packages then. ``named`` says where the app names packages of the
    server, and ``warn`` is told where they change the app's, and which packages come from an address. Of ``extra_args``, the
    installer's on the hosts, those count that say where packages are.

    :raises WheelsError: when something has no wheel for the target, or no index can be reached
    """
    pip, uv = _tools(scratch)
    files, packages, overrides = list(map(str, files)), list(packages), list(overrides)
    texts = [*(Path(file).read_text(encoding="utf-8") for file in files), *packages, *overrides]
    environment = {**_environment(pip, index_url), "PROJECT_ROOT": source}  # requirement_lines.SOURCE
    environment.update(git_logins.environment(texts, int(environment.get("GIT_CONFIG_COUNT") or 0)))
    shutil.rmtree(scratch / "plain", ignore_errors=True)
    files = git_logins.copies(files, str(scratch / "plain"))
    wanted = scratch / "wanted.in"
    lock = scratch / "wanted.txt"
    lock.unlink(missing_ok=True)
    command = [
        *uv, "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate",
        "--only-binary", ":all:", "--index-strategy", "unsafe-best-match",
        "--python-version", target.python, "--python-platform", target.for_uv, "--output-file", str(lock),
    ]  # fmt: skip
    if dest.is_dir():
        command += ["--find-links", str(dest)]
    if overrides:
        lines = "".join(f"{git_logins.without(line)}\n" for line in overrides)
        (scratch / "overrides.in").write_text(lines, encoding="utf-8")
        command += ["--override", str(scratch / "overrides.in")]

    places = [f"{option} {place}" for option, place in _PLACE.findall(" ".join(extra_args))]

    def resolve(asked: Iterable[str]) -> list[Locked]:
        lines = (*places, *map(git_logins.without, packages), *asked)
        wanted.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        _run([*command, *files, str(wanted)], environment, target)
        return parse_lock(lock.read_text(encoding="utf-8"))

    locked = _with_server(resolve, list(server), named or {}, left_open(server, files, packages), warn)
    for name, address in _OF_ADDRESS.findall(lock.read_text(encoding="utf-8")):
        warn(
            f"{name} comes from {masked(address)}, and its wheel is not collected: each host fetches it from there. For hosts that"
            f" cannot, put the wheel into python_wheelhouse, and write {name}==VERSION."
        )
    fitting = target.tags()
    missing = [entry for entry in locked if not present(dest, entry, fitting)]
    if check or not missing:
        return [f"{entry.name}=={entry.version}" for entry in missing]
    dest.mkdir(parents=True, exist_ok=True)
    part = scratch / "wheels"
    shutil.rmtree(part, ignore_errors=True)
    places += filter(_PLACE.match, options_in(files))
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(part)]
    command += ["--python-version", target.python, "--implementation", "cp", "--requirement", str(lock)]
    for platform in target.platforms:
        command += ["--platform", platform]
    # A page of links knows no hashes, and pip wants them for all or for none.
    for group in ([one for one in missing if one.hashes], [one for one in missing if not one.hashes]):
        lock.write_text("".join(f"{line}\n" for line in (*places, *(one.text for one in group))), encoding="utf-8")
        if group:
            _run([*command, "--find-links", str(dest)], environment, target)
    added = sorted(part.glob("*.whl"))
    for wheel in added:
        shutil.copyfile(wheel, dest / f"{wheel.name}.part")
        (dest / f"{wheel.name}.part").rename(dest / wheel.name)
    return [wheel.name for wheel in added]


def _with_server(
    resolve: Callable[[Iterable[str]], list[Locked]],
    server: list[str],
    named: dict[str, list[Named]],
    names: set[str],
    warn: Callable[[str], None],
) -> list[Locked]:
    """Resolve the app's and the server's packages, with as few changes to the app's as possible."""

    @functools.cache
    def alone() -> dict[str, str]:
        try:
            return {entry.name: entry.version for entry in resolve(())}
        except WheelsError:
            return {}

    first = None
    for way, kept in attempts(server, named, names, alone):
        try:
            found = resolve([*way, *kept])
            if any(entry.name == "gunicorn" and entry.version.startswith("20.") for entry in found):
                found = resolve([*way, *kept, FOR_GUNICORN_20])
        except WheelsError as error:
            first = first or error
            if not leaves_another_way(str(error)):
                break
        else:
            for text in (
                changed(names, alone(), {entry.name: entry.version for entry in found}, server) if names else ()
            ):
                warn(text)
            return found
    raise first


def parse_lock(text: str) -> list[Locked]:
    """The entries of a lock file with hashes."""
    found = []
    for entry in re.split(r"(?<!\\)\n", text):
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s\\;]+)", entry)
        if match:
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            found.append(Locked(utils.canonicalize_name(match[1]), match[2], hashes, entry))
    return found


def present(folder: Path, entry: Locked, fitting: frozenset[tags.Tag]) -> bool:
    """Whether a folder has a matching wheel of this version, with a hash of the lock if that has any."""
    for wheel in folder.glob("*.whl") if folder.is_dir() else ():
        try:
            name, version, _build, supported = utils.parse_wheel_filename(wheel.name)
        except utils.InvalidWheelFilename:
            continue
        if name == entry.name and str(version) == entry.version and supported & fitting:
            if not entry.hashes or hashlib.sha256(wheel.read_bytes()).hexdigest() in entry.hashes:
                return True
    return False


def _tools(scratch: Path) -> tuple[list[str], list[str]]:
    """pip and uv of the control node; what it lacks comes into a virtual environment of this run."""
    pip = [sys.executable, "-m", "pip"]
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    has_pip = _succeeds([*pip, "--version"])
    if uv and has_pip:
        return pip, [uv]
    tools = scratch / "tools"
    if not (tools / "bin" / "uv").exists():
        if not _succeeds([sys.executable, "-m", "venv", "--clear", str(tools)]):
            raise WheelsError(
                f"The control node has no pip and no uv next to {sys.executable}, and cannot make a virtual environment for"
                " them. Install both into that Python's environment (pip install pip uv)."
            )
        own = [str(tools / "bin" / "python"), "-m", "pip"]
        _run([*own, "install", "--quiet", "uv"], dict(os.environ), None)
    return [str(tools / "bin" / "python"), "-m", "pip"], [str(tools / "bin" / "uv")]


def _environment(pip: list[str], index_url: str) -> dict[str, str]:
    """What both tools run with. uv reads none of pip's settings: where packages come from is handed over."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "UV_NO_PROGRESS": "1"}
    environment.pop("COLUMNS", None)
    listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False).stdout
    settings = dict(re.findall(r"^(?:global|install|download|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))
    if index_url:
        environment.update(PIP_INDEX_URL=index_url, UV_DEFAULT_INDEX=index_url)
    elif "index-url" in settings:
        environment.setdefault("UV_DEFAULT_INDEX", settings["index-url"])
    if "extra-index-url" in settings:
        environment.setdefault("UV_INDEX", settings["extra-index-url"])
    if "cert" in settings:
        environment.setdefault("SSL_CERT_FILE", settings["cert"])
    return environment


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str], environment: dict[str, str], target: Target | None) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = masked(done.stderr + done.stdout).splitlines()
        told = "\n".join(lines[-20:])
        what = f"The wheels for {target.text} cannot be collected" if target else f"{command[-1]} cannot be installed"
        raise WheelsError(
            f"{what}:\n{told}\nWhat no index has as a wheel for that Python and platform, build yourself on a host like it"
            " (`pip wheel`), and put it into python_wheelhouse; then run this again."
        )
