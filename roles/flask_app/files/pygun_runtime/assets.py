# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Templates and static files that an app names and its release does not have: the health endpoint needs none of them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

#: Bounds of what is read.
MOST_TEMPLATES = 300
LARGEST_TEMPLATE = 256 * 1024

_STATIC = re.compile(r"""url_for\(\s*['"]static['"]\s*,\s*filename\s*=\s*(['"])([^'"{}~+]+)\1\s*[,)]""")


def missing(apps, templates: list[str]) -> list[str]:
    """What no Flask app of these has, each with the place that names it; *templates* are `name (file:line)`."""
    apps = list(apps)
    found = [place for place in templates if apps and not any(_has(app, place.rpartition(" (")[0]) for app in apps)]
    for app in apps:
        with contextlib.suppress(Exception):  # a loader of the app's own
            found += _static_files(app)
    return found


def _has(app, name: str) -> bool:
    try:
        app.jinja_env.loader.get_source(app.jinja_env, name)
    except Exception as error:
        return type(error).__name__ != "TemplateNotFound"
    return True


def _static_files(app):
    folder = app.static_folder
    names = app.jinja_env.loader.list_templates()[:MOST_TEMPLATES] if folder else []
    for name in names:
        with contextlib.suppress(Exception):
            _text, path, _fresh = app.jinja_env.loader.get_source(app.jinja_env, name)
            if os.path.getsize(path) > LARGEST_TEMPLATE or not _is_own(app, path):
                continue
            for match in _STATIC.finditer(Path(path).read_text(encoding="utf-8", errors="replace")):
                if not os.path.lexists(os.path.join(folder, match[2])):
                    yield f"{os.path.basename(folder)}/{match[2]} ({name})"


def _is_own(app, path: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(app.root_path) + os.sep)
