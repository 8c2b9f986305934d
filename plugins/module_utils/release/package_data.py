# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the files of a project in the source that its package does not bring along: an editable installation had them, a release has not.

Root reads no content of them, and follows no link.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .. import virtual_env
from ..host.foreign import printable

#: What an app reads as it runs.
_READ = frozenset(
    ".cfg .csv .css .htm .html .ico .ini .j2 .jinja .jinja2 .js .json .mo .onnx .pickle .pkl .png .sql .svg .toml .txt .xml .yaml .yml".split()
)
_OTHERS = {"__pycache__", "node_modules", "tests", "test"}
_LOOKED_AT = 20_000


def warning(release: str, folders: t.Iterable[str]) -> str:
    """A sentence on such files; empty if there are none, or if the app is imported from a folder that its settings name.

    :param release: folder of the release, which is root's
    :param folders: paths in the source, relative to it, that packages were installed from
    """
    source, venv = os.path.join(release, "src"), os.path.join(release, "venv")
    with (
        contextlib.suppress(OSError),
        open(os.path.join(release, "pygun.py"), encoding="utf-8", errors="replace") as stream,
    ):
        if any(line.startswith("pythonpath") for line in stream):
            return ""
    lacking = [path for folder in folders for path in _lacking(source, venv, folder)]
    if not lacking:
        return ""
    what = "1 file of the source is" if len(lacking) == 1 else f"{len(lacking)} files of the source are"
    return (
        f"{what} not in the package that is installed from it, such as {printable(min(lacking))}: the app will not find them. Declare them in the project"
        " (with setuptools: a MANIFEST.in, or tool.setuptools.package-data); or have the app imported from its source, such as"
        " flask_app_gunicorn: {pythonpath: src}."
    )


def _lacking(source: str, venv: str, folder: str) -> t.Iterator[str]:
    """Files of the packages in one project, relative to the source. An app in flat layout is imported from its source."""
    project = os.path.join(source, folder)
    layout = os.path.join(project, "src")
    root = layout if os.path.isdir(layout) and not os.path.islink(layout) else project if folder else ""
    for site in virtual_env.site_packages(venv) if root else ():
        for name in _names(root):
            package, installed = os.path.join(root, name), os.path.join(site, name)
            if os.path.isdir(installed) and not os.path.islink(package):
                yield from (
                    os.path.relpath(path, source)
                    for path in _data(package)
                    if not os.path.lexists(os.path.join(installed, os.path.relpath(path, package)))
                )


def _data(package: str) -> t.Iterator[str]:
    count = 0
    for folder, names, files in os.walk(package):
        names[:] = sorted(name for name in names if name not in _OTHERS and not name.startswith("."))
        count += len(files)
        if count > _LOOKED_AT:
            return
        yield from (os.path.join(folder, name) for name in files if os.path.splitext(name)[1].lower() in _READ)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
