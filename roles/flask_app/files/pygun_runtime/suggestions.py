# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Suggest values of flask_app_wsgi if it names something that does not exist."""

from __future__ import annotations

import difflib
import itertools
import re
import sys
import types
from pathlib import Path

_FACTORIES = ("create_app", "make_app", "build_app", "get_app", "app_factory", "create_application")
_MADE_HERE = re.compile(
    rf"^(?:(app|application|server)\s*(?::[^=\n]+)?=[^=]|(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*Flask\(|def ({'|'.join(_FACTORIES)})\()",
    re.MULTILINE,
)
_AT_MOST = 3
_FILES_AT_MOST = 200
_READ_AT_MOST = 64 * 1024  # characters of each file


def targets(wanted: str, folder: str) -> list[str]:
    """The nearest apps and factories to *wanted* (MODULE:NAME), out of the module if it is loaded, else out of *folder*."""
    module, _colon, name = wanted.partition(":")
    name = re.match(r"\w*", name)[0] or "application"
    loaded = sys.modules.get(module)
    found = [f"{module}:{one}" for one in _in_module(loaded, name)] if loaded else list(_in_folder(Path(folder)))
    found.sort(key=lambda one: -difflib.SequenceMatcher(None, one, f"{module}:{name}").ratio())
    return found[:_AT_MOST]


def _in_module(module: types.ModuleType, name: str) -> list[str]:
    found = []
    for one, value in vars(module).items():
        near = difflib.SequenceMatcher(None, one, name).ratio() > 0.7
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            if one in _FACTORIES:
                found.append(f"{one}()")
            elif near:
                found.append(one)
        elif not isinstance(value, type) and (hasattr(type(value), "wsgi_app") or (near and callable(value))):
            found.append(one)
    return found


def _in_folder(folder: Path):
    """Modules and packages of a source, by their text: importing them could do anything."""
    files = itertools.chain(*(folder.glob(pattern) for pattern in ("*.py", "*/*.py", "*/*/*.py")))
    for path in itertools.islice(sorted(files), _FILES_AT_MOST):
        parts = path.relative_to(folder).with_suffix("").parts
        if not all(part.isidentifier() for part in parts):
            continue
        try:
            with path.open(encoding="utf-8", errors="replace") as stream:
                text = stream.read(_READ_AT_MOST)
        except OSError:
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for match in _MADE_HERE.finditer(text):
            yield f"{module}:{match[1] or match[2] or match[3] + '()'}"
