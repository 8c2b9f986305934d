# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the app's own modules speak of, used or not yet. It is read in their text: a trial asks for one page only."""

from __future__ import annotations

import ast
import functools
import os
import sys
from pathlib import Path

#: Bounds of what is read.
MOST_FILES = 300
LARGEST_FILE = 512 * 1024

#: For each kind the names, by their modules.
_KINDS: dict[str, dict[str, set[str]]] = {
    "pools": {
        "multiprocessing": {"Pool", "Manager"},
        "multiprocessing.pool": {"Pool"},
        "multiprocessing.managers": {"BaseManager", "SyncManager"},
        "multiprocessing.connection": {"Client"},
        "concurrent.futures": {"ProcessPoolExecutor"},
        "concurrent.futures.process": {"ProcessPoolExecutor"},
        "joblib": {"Parallel"},
        "loky": {"get_reusable_executor", "ProcessPoolExecutor"},
    },
    "loops": {"asyncio": {"run"}, "anyio": {"run"}, "asgiref.sync": {"async_to_sync"}},
    "cookies": {"flask": {"session", "flash"}},
}
#: Kinds that are found by what is called, each time.
_EACH = ("variables", "templates")
_RENDER = ("render_template", "flask.render_template")
_MODULES = {module for names in _KINDS.values() for module in names}
_NAMES = {"run_until_complete"}.union(*(some for names in _KINDS.values() for some in names.values()))


def mentions(source: str) -> dict[str, list[str]]:
    """For each kind a list of `name (file:line)`, from the files of the folder *source* that are imported.

    Of variables of the environment, and of templates, all that are named; of other kinds the first one of each file.
    """
    found: dict[str, list[str]] = {kind: [] for kind in (*_KINDS, *_EACH)}
    for path in sorted(_path(module) for module in own_modules(source))[:MOST_FILES]:
        try:
            text = Path(path).read_bytes()
            tree = ast.parse(text) if len(text) <= LARGEST_FILE else None
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        if tree is None:
            continue
        kinds: dict[str, str] = {}
        nodes, later = list(ast.walk(tree)), _in_functions(tree)
        for kind, name, line in _spoken_of(nodes, later):
            kinds.setdefault(kind, f"{name} ({os.path.relpath(path, source)}:{line})")
        for kind, place in kinds.items():
            found[kind].append(place)
        for kind, name, line in _named(nodes, later):
            found[kind].append(f"{name} ({os.path.relpath(path, source)}:{line})")
    return found


def own_modules(source: str) -> list:
    """The imported modules of the folder *source*."""
    return [module for module in list(sys.modules.values()) if _path(module).startswith(source + os.sep)]


def _path(module) -> str:
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py"):
        return ""
    folder, name = os.path.split(path)
    return os.path.join(_real(folder), name)


#: Libraries have thousands of modules in some hundred folders.
_real = functools.cache(os.path.realpath)


def _spoken_of(nodes: list[ast.AST], later: set[ast.AST]):
    """Kind, name and line of each.

    :param later: the nodes that do not run as the module is imported
    """
    aliases: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            aliases.update({one.asname or one.name: one.name for one in node.names if one.name in _MODULES})
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for one in node.names:
                for kind in _kinds(node.module, one.name):
                    yield kind, f"{node.module}.{one.name}", node.lineno
                if f"{node.module}.{one.name}" in _MODULES:
                    aliases[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in nodes:
        if not isinstance(node, ast.Attribute) or node.attr not in _NAMES:
            continue
        module = aliases.get(_dotted(node.value))
        if isinstance(node.value, ast.Call) and _dotted(node.value.func).endswith("get_context"):
            module = "multiprocessing"
        for kind in _kinds(module, node.attr):
            if kind != "loops" or node in later:  # one that runs at import is alone
                yield kind, f"{module}.{node.attr}", node.lineno
        if node.attr == "run_until_complete" and node in later:
            yield "loops", node.attr, node.lineno


def _named(nodes: list[ast.AST], later: set[ast.AST]):
    """Templates, and variables without which a function fails: kind, name and line.

    A variable that the file asks for in another way as well, such as os.environ.get(), may be missing.
    """
    wanted, optional = {}, set()
    environments = {"os.environ"} | {
        one.asname or one.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for one in node.names
        if one.name == "environ"
    }
    tried = {node for one in nodes if isinstance(one, ast.Try) for node in ast.walk(one)}
    for node in nodes:
        if isinstance(node, ast.Call) and (text := _text_of(node.args)):
            if _dotted(node.func) in _RENDER:
                yield "templates", text, node.lineno
            else:
                optional.add(text)
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant):
            optional.add(node.left.value)
        elif isinstance(node, ast.Subscript) and _dotted(node.value) in environments:
            if isinstance(node.ctx, ast.Load) and node not in tried:
                if node in later:
                    wanted.setdefault(_text_of([node.slice]), node.lineno)
            else:
                optional.add(_text_of([node.slice]))
    for name, line in wanted.items():
        if name and name not in optional:
            yield "variables", name, line


def _dotted(node: ast.AST) -> str:
    """A name with its attributes, such as `os.environ`; an empty text for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _text_of(arguments: list) -> str:
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _kinds(module: str | None, name: str):
    return [kind for kind, names in _KINDS.items() if name in names.get(module, ())]


def _in_functions(tree: ast.AST) -> set[ast.AST]:
    """What does not run as the module is imported; a main() runs when it is the program."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    ]
    return {node for one in functions if getattr(one, "name", "") != "main" for node in ast.walk(one)}
