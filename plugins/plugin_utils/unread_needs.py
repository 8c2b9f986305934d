# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a source may say of its packages where nothing looks for it, and the one thing to write so that it is read."""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from .project_file import table
from .text import shown

#: Requirement files by other names than requirements.txt, in the source or in a folder of it.
_REQUIREMENTS = re.compile(
    r"(?:[\w.-]+/)?[\w.-]*requirements?(?:[\w.-]*\.(?:txt|in|pip|lock))?|requirements?/[\w.-]+\.(?:txt|in|pip)"
    r"|(?:reqs?|dependencies|deps)\.txt",
    re.I,
)
#: Those that a server needs, the likeliest first; and those that it does not.
_LIKELY = ("prod", "deploy", "server", "requirements.txt", "base", "common", "main", "app", "core", "requirement")
_UNLIKELY = re.compile(
    r"dev|test|doc|lint|local|ci\b|constraint|build|optional|extra|typing|types\b|pre.?commit|style|bench|notebook",
    re.I,
)
_CONDA = re.compile(r"(?:conda[\w.-]*|(?:conda-)?env(?:ironment)?[\w.-]*|conda-lock)\.ya?ml", re.I)
_NAMED = re.compile(r"^name:\s*[\"']?([\w.-]+)", re.MULTILINE)
_SCRIPT = re.compile(r"^# /// script\s*$(?:\n#[^\n]*)*?\n# dependencies\s*=", re.MULTILINE)
_LISTED_AT_MOST = 4
_READ_AT_MOST = 1 << 20


def is_for_others(name: str) -> bool:
    """Whether a file of this name is for development, tests or the like."""
    return bool(_UNLIKELY.search(name))


def is_conda(name: str) -> bool:
    """Whether a file of this name is Conda's."""
    return bool(_CONDA.fullmatch(name))


def of_conda(path: Path) -> str:
    """Why a file of Conda's is refused, and what to do."""
    named = _NAMED.search(path.read_text(encoding="utf-8", errors="replace"))
    return (
        f"{path} is Conda's, which neither uv nor pip reads. Write a requirements.txt next to it from the environment that Conda has made"
        f" of it, and deploy again: `conda run -n {named[1] if named else 'NAME'} python -m pip list --format=freeze > requirements.txt`."
        " What is no Python package belongs into flask_app_system_packages."
    )


def refusal(source: Path, inside: Collection[str], project: dict) -> str:
    """What to write, for a source of which nothing was read; empty if it says nothing of packages.

    :param inside: paths in the source that belong to the release
    :param project: its pyproject.toml
    """
    otherwise = "If the app needs no packages, leave that out with flask_app_exclude."
    groups = [*project.get("dependency-groups", {}), *project.get("project", {}).get("optional-dependencies", {})]
    groups = [name for name in groups if not _UNLIKELY.search(name)]
    if groups:
        return (
            f"{source / 'pyproject.toml'} names packages only in the groups {', '.join(groups)}, and none of them is chosen. Name those that"
            f" the app needs in flask_app_extras, such as flask_app_extras: [{groups[0]}]."
        )
    found = sorted(filter(_REQUIREMENTS.fullmatch, inside), key=_likelihood)
    if found and not _UNLIKELY.search(found[0]):
        more = f" and {len(found) - _LISTED_AT_MOST} more" if len(found) > _LISTED_AT_MOST else ""
        return (
            f"{source} has no requirements.txt, and has {', '.join(found[:_LISTED_AT_MOST])}{more}. Name the one that the app needs:"
            f" flask_app_requirements: [{found[0]}]. {otherwise}"
        )
    conda = next(filter(is_conda, sorted(inside)), None)
    if conda:
        return f"{of_conda(source / conda)} {otherwise}"
    if "pixi.toml" in inside or "pixi" in project.get("tool", {}):
        name = "pixi.toml" if "pixi.toml" in inside else "pyproject.toml"
        return (
            f"{source / name} is Pixi's, which neither uv nor pip reads. Write a requirements.txt next to it with NAME==VERSION of the Python"
            f" packages that `pixi list` shows, and deploy again. {otherwise}"
        )
    if "setup.cfg" in inside and _is_project(source / "setup.cfg"):
        return (
            f"{source / 'setup.cfg'} describes a package, and no installer takes it without a pyproject.toml. Write one next to it, with the two"
            ' lines `[build-system]` and `requires = ["setuptools"]`, and deploy again.'
        )
    environments = table(project, "tool", "hatch", "envs")
    if any(table(environments, name).get("dependencies") for name in environments if not _UNLIKELY.search(name)):
        return (
            f"{source / 'pyproject.toml'} names packages for environments of Hatch only (tool.hatch.envs). Name those that the app needs in"
            f" project.dependencies. {otherwise}"
        )
    script = next(
        (name for name in sorted(inside) if re.fullmatch(r"[\w-]+\.py", name) and _has_script(source / name)), None
    )
    if script:
        return (
            f"{source / script} says in its head which packages it needs (a script of PEP 723), which only `uv run` reads. Write a"
            f" requirements.txt next to it, and deploy again: `uv export --script {script} --output-file requirements.txt`."
        )
    return ""


def missing_file(source: Path, project: dict, inside: Collection[str]) -> str:
    """What to do about a file that a pyproject.toml names for the build, and no host gets."""
    for place, name in _files_of(project):
        if posixpath.normpath(name) not in inside:
            why = "which is left out of the release" if (source / name).exists() else "and there is no such file"
            return (
                f"{source / 'pyproject.toml'}, {place} names {shown(name)}, {why}. Add the file, name it in"
                " flask_app_include if it is ignored, or correct the name."
            )
    return ""


def _files_of(project: dict) -> Iterator[tuple[str, str]]:
    """The files that a build cannot do without, each after the place that names it."""
    about = project.get("project", {})
    names = table(project, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
    yield from (("tool.setuptools.dynamic", str(name)) for name in ([names] if isinstance(names, str) else names))
    hook = table(project, "tool", "hatch", "metadata", "hooks", "requirements_txt")
    yield from (("tool.hatch.metadata.hooks.requirements_txt", str(name)) for name in hook.get("files", ()))
    system = project.get("build-system", {})
    if not system or "setuptools" in str(system.get("build-backend", "setuptools")):  # which goes on without
        return
    readme, text = about.get("readme"), about.get("license")
    for place, name in (("project.readme", readme), ("project.license", text)):
        name = name.get("file") if isinstance(name, dict) else name if place == "project.readme" else None
        if isinstance(name, str):
            yield place, name


def _likelihood(name: str) -> tuple[bool, int, str]:
    rank = next((number for number, part in enumerate(_LIKELY) if part in name.lower()), len(_LIKELY))
    return bool(_UNLIKELY.search(name)), rank, name


def _is_project(path: Path) -> bool:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return False
    return parser.has_section("metadata") or parser.has_option("options", "install_requires")


def _has_script(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return bool(_SCRIPT.search(stream.read(_READ_AT_MOST)))
