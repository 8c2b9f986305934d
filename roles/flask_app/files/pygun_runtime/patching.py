# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Patch the standard library for gevent before anything of the app is imported: its hooks, its settings, itself.

gunicorn patches in the worker. By then a master with `preload_app` has imported the app, and any master what pygun.py
imports: classes made of what is patched later (`class Context(ssl.SSLContext)`) fail at each use. The worker class is
known from the text of pygun.py, because reading it any other way would run it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import shlex
import sys
import warnings
from functools import cache
from pathlib import Path

from .child import answer_of

#: gunicorn's worker classes that patch nothing.
_OTHERS = {"sync", "gthread", "tornado", "asgi", "eventlet"}

TOO_LATE = "gevent patched too late, what was imported before may fail or block: "

said: list[str] = []


def patch_for(file: str, source: str, limit: float) -> None:
    """Patch, if the workers of the settings in *file* are gevent's; may be repeated.

    source: folder of the app; a worker class of its own is looked up there
    limit: seconds that importing such a class may take
    """
    if is_patched():
        return
    names, dirty = _worker_classes(Path(file).read_text(encoding="utf-8-sig"))
    # Dirty workers are forked from the master, and need real threads.
    if not dirty and any(_is_gevent(name, source, limit) for name in _commanded() or names):
        patch()


def asks_for_dirty_workers(file: str) -> bool:
    """Whether the settings in *file* name dirty apps."""
    return _worker_classes(Path(file).read_text(encoding="utf-8-sig"))[1]


def patch() -> None:
    """What gunicorn's worker does too; the second time changes nothing. What gevent warns of is added to `said`."""
    from gevent import monkey

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        monkey.patch_all()
    said.extend(TOO_LATE + str(one.message) for one in found if one.category is monkey.MonkeyPatchWarning)


def is_gevent(worker_class: type) -> bool:
    """Whether *worker_class* patches when it starts."""
    return any(base.__name__ == "GeventWorker" for base in worker_class.__mro__)


def in_vain(worker_class) -> str:
    """The error if the final *worker_class* of pygun.py is not one that needs the patch."""
    if worker_class not in _OTHERS or not is_patched():
        return ""
    return (
        f"the standard library is patched for gevent, and the worker class is {worker_class}: pygun.py decides that as it runs."
        " Give flask_app_worker_class the name of the class"
    )


def is_patched() -> bool:
    """Whether this process is patched already."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("ssl"))


def _commanded() -> list[str]:
    """The worker class on gunicorn's command line, which overrides pygun.py."""
    words = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")) + sys.argv[1:]
    found = []
    for word, following in zip(words, [*words[1:], ""]):
        if word in ("-k", "--worker-class"):
            found = [following]
        elif word.startswith("--worker-class="):
            found = [word.partition("=")[2]]
    return found


def _worker_classes(text: str) -> tuple[list[str], bool]:
    """The possible values of `worker_class` after *text* was run, and whether it asks for dirty workers."""
    found: list[str] = []
    dirty = False
    with contextlib.suppress(SyntaxError):  # gunicorn says so
        tree = ast.parse(text)
        for statement in tree.body:
            for node in ast.walk(statement):
                for name, value in _assigned(node):
                    dirty |= name == "dirty_apps"
                    if name == "worker_class":
                        found = ([] if node is statement else found) + _possible(value, tree)
    return found, dirty


def _assigned(node: ast.AST) -> list[tuple[str, ast.expr]]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [
        (target.id, node.value)
        for target in targets
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and isinstance(target, ast.Name) and node.value
    ]


def _possible(value: ast.expr, tree: ast.Module) -> list[str]:
    """The classes that an expression may stand for; one that cannot be told is gevent's if the file speaks of gevent."""
    names = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if ast.unparse(value) == "runtime.worker_class":
        return ["gevent"]
    if not names and "gevent" in ast.unparse(tree).lower():
        return ["gevent"]
    return names


def _is_gevent(name: str, source: str, limit: float) -> bool:
    if name in _OTHERS:
        return False
    last = name.rpartition("#")[2]  # egg:gunicorn#gevent
    return (
        last.startswith("gevent")
        or "ggevent." in name
        or name.startswith("pygun_runtime.")
        or _try(name, source, limit)
    )


@cache
def _try(name: str, source: str, limit: float) -> bool:
    """Whether the class *name* of the app is gevent's, found out in a child: importing it here would be too early."""
    module, _dot, attribute = name.rpartition(".")
    if not module:
        return False

    def find_out() -> str:
        sys.path.insert(0, source)
        os.chdir(source)
        return "gevent" if is_gevent(getattr(importlib.import_module(module), attribute)) else ""

    return answer_of(find_out, limit) == "gevent"
