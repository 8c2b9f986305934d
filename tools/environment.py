"""The development environment: virtual environments from locks, and the variables every tool runs with."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.shell import CACHE, ROOT, Failed, install, output, run, say, succeeds

LOCKS = ROOT / "requirements"
VENV = CACHE / "venv"
COLLECTIONS = CACHE / "collections"
COLLECTION = COLLECTIONS / "ansible_collections" / "pygun" / "stack"

# ansible-core's own support matrix of the control node, (first, last) minor version of Python 3.
CONTROL_PYTHONS = {"2.19": (11, 13), "2.20": (12, 14), "2.21": (12, 14)}


@dataclass(frozen=True)
class Environment:
    """One virtual environment: an interpreter and a lock."""

    folder: Path
    python: str
    lock: Path

    def ensure(self) -> Path:
        """Make it, or leave it if it was made from the same lock by the same interpreter."""
        identity = output(self.python, "-c", "import sys; print(sys.version, sys.base_prefix)")
        stamp = hashlib.sha256(self.lock.read_bytes() + identity.encode() + b"compiled").hexdigest()
        mark = self.folder / "made-from"
        if mark.is_file() and mark.read_text() == stamp:
            return self.folder
        say(
            f"Making {self.folder.relative_to(ROOT)} from {self.lock.relative_to(ROOT)} with Python {identity.split()[0]}."
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not succeeds(self.python, "-c", "import ensurepip"):
            install([venv_package(self.python)], "this Python cannot make virtual environments")
        run(self.python, "-m", "venv", self.folder)
        python = self.folder / "bin" / "python"
        uv = self._uv(python)
        # Compiled once: nothing writes bytecode later, and to compile is a third of each start of gunicorn or of a playbook.
        run(
            uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--compile-bytecode", "--python", python, self.lock,
            env={**os.environ, **uv_variables(python)},
        )  # fmt: skip
        mark.write_text(stamp)
        return self.folder

    def _uv(self, python: Path) -> Path:
        """uv is ten times faster than pip here; pip fetches it, by the hash of the lock."""
        if self.folder != VENV and (VENV / "bin" / "uv").exists():
            return VENV / "bin" / "uv"
        entry = re.search(r"^uv==(?:.*\\\n)*.*\n", (LOCKS / "dev.txt").read_text(), re.MULTILINE)
        if not entry:
            raise Failed("requirements/dev.txt does not name uv. Run `./dev lock` on a machine that has uv.")
        only = CACHE / "uv.txt"
        only.write_text(entry.group())
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--cache-dir", CACHE / "pip"]
        certificates = ["--cert", host_ca_bundle()] if host_ca_bundle() else []
        run(*pip, *certificates, "install", "--quiet", "--require-hashes", "--no-deps", "--requirement", only)
        return self.folder / "bin" / "uv"


def venv_package(python: str) -> str:
    """The Debian package that adds ensurepip to an interpreter."""
    version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    return f"python{version}-venv"


def uv_variables(python: Path | str) -> dict[str, str]:
    """uv reads none of pip's settings: hand over the one that says where packages come from."""
    found = {"UV_CACHE_DIR": str(CACHE / "uv"), "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink")}
    index = os.environ.get("PIP_INDEX_URL")
    if not index and succeeds(python, "-m", "pip", "config", "get", "global.index-url"):
        index = output(python, "-m", "pip", "config", "get", "global.index-url")
    if index:
        found["UV_DEFAULT_INDEX"] = index
    bundle = host_ca_bundle()
    if bundle:
        found["SSL_CERT_FILE"] = bundle
    return found


def host_ca_bundle() -> str | None:
    """The CA bundle this machine was told to use (a company's proxy), if any."""
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        path = os.environ.get(name)
        if path and Path(path).is_file():
            return path
    return None


def development() -> Environment:
    """The environment with all tools."""
    return Environment(VENV, getattr(sys, "_base_executable", sys.executable), LOCKS / "dev.txt")


def benchmarks() -> Environment:
    """Our server as the roles pin it, and its peers."""
    return Environment(CACHE / "venvs" / "bench", development().python, LOCKS / "bench.txt")


def ensure() -> None:
    """Make the environment and the path under which Ansible finds this collection; set the variables tools run with."""
    CACHE.mkdir(exist_ok=True)
    development().ensure()
    if not COLLECTION.is_symlink():
        COLLECTION.parent.mkdir(parents=True, exist_ok=True)
        COLLECTION.symlink_to("../../../..")
    enter()


def enter() -> None:
    """What a shell does on `activate`, and every tool's scratch space moved into .cache."""
    os.environ.update(
        {
            "VIRTUAL_ENV": str(VENV),
            "PATH": os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)]),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(CACHE / "ansible"),
            "XDG_CACHE_HOME": str(CACHE / "xdg"),
            "UV_CACHE_DIR": str(CACHE / "uv"),
            "PIP_CACHE_DIR": str(CACHE / "pip"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RUFF_CACHE_DIR": str(CACHE / "ruff"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
        }
    )
    os.environ.pop("PYTHONHOME", None)
    # A host with a UTF-8 locale is not a given (minimal images, CI), and Ansible refuses to start without one.
    if "utf" not in os.environ.get("LC_ALL", os.environ.get("LC_CTYPE", os.environ.get("LANG", ""))).lower():
        os.environ["LC_ALL"] = "C.UTF-8"


def pythons() -> dict[int, str]:
    """The machine's Pythons that ansible-core could run on: minor version -> executable."""
    found: dict[int, str] = {}
    own = getattr(sys, "_base_executable", sys.executable)
    found[sys.version_info.minor] = own
    for minor in range(11, 15):
        pyenv = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"), reverse=True)
        on_path = shutil.which(f"python3.{minor}")
        for candidate in [*([on_path] if on_path else []), *map(str, pyenv)]:
            if minor not in found and succeeds(
                candidate, "-c", f"import sys; assert sys.version_info[:2] == (3, {minor})"
            ):
                found[minor] = candidate
    return dict(sorted(found.items()))


def ansible_versions() -> dict[str, Environment]:
    """ansible-core version -> environment, for each version that one of the machine's Pythons can run.

    The versions are spread over the Pythons, so that together they cover as many of these as there are.
    """
    available = pythons()
    chosen: dict[str, Environment] = {}
    used: set[int] = set()
    for version, (first, last) in CONTROL_PYTHONS.items():
        fitting = [minor for minor in available if first <= minor <= last]
        if not fitting:
            continue
        minor = next((minor for minor in fitting if minor not in used), fitting[-1])
        used.add(minor)
        folder = CACHE / "venvs" / f"ansible-{version}"
        chosen[version] = Environment(folder, available[minor], LOCKS / f"ansible-{version}.txt")
    return chosen


def lock() -> None:
    """Resolve requirements/*.in anew. The result names no index and no path: it holds on every machine."""
    compile_command = [
        VENV / "bin" / "uv", "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--universal", "--upgrade",
        "--no-header", "--no-emit-index-url", "--no-annotate",
    ]  # fmt: skip
    variables = {**os.environ, **uv_variables(VENV / "bin" / "python")}
    for name in ("dev", "bench"):
        say(f"Resolving requirements/{name}.txt.")
        run(*compile_command, "--python-version", "3.11", f"{name}.in", "-o", f"{name}.txt", cwd=LOCKS, env=variables)
    for version, (first, _) in CONTROL_PYTHONS.items():
        say(f"Resolving requirements/ansible-{version}.txt.")
        run(
            *compile_command, "--python-version", f"3.{first}", "unit.in", "-", "-o", f"ansible-{version}.txt",
            cwd=LOCKS, env=variables, input=f"ansible-core~={version}.0\n", text=True,
        )  # fmt: skip
