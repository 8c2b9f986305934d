# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The floors of the plugins: imports lead down, never up or in a circle (docs/ARCHITECTURE.md)."""

import ast
import functools
import graphlib
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"

#: Top floor first. A file may import from its own floor and from those below.
FLOORS = [
    {"action", "modules", "filter", "lookup"},
    {"plugin_utils"},
    {"module_utils.command_line"},
    {"module_utils.control", "module_utils.control_programs"},
    {"module_utils.activation"},
    {"module_utils.doctor", "module_utils.uninstall", "module_utils.one_off"},
    {
        "module_utils.status",
        "module_utils.status_table",
        "module_utils.log_reader",
        "module_utils.log_text",
        "module_utils.programs",
    },
    {"module_utils.instance"},
    {"module_utils.supervisor"},
    {"module_utils.release"},
    {"module_utils.python_env"},
    {"module_utils.virtual_env"},
    {"module_utils.resolved"},
    {"module_utils.diagnosis", "module_utils.balancer_state", "module_utils.haproxy", "module_utils.stack_module"},
    {"module_utils.host"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path):
    return ".".join(path.relative_to(PLUGINS).with_suffix("").parts).removesuffix(".__init__")


def room_of(module):
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "module_utils" else parts[0]


MODULES = {module_of(path) for path in PLUGINS.rglob("*.py")}


def imports_of(path):
    """The files of the collection that a file imports."""
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("ansible_collections.pygun"), f"{path}: import it relatively"
            if node.level:
                base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
                base = ".".join(part for part in base if part)
                yield from ({f"{base}.{name.name}" for name in node.names} & MODULES) or {base}


@functools.cache
def graph():
    """Each file, and what it imports. Not while pytest collects: every process of it would parse all files."""
    return {module_of(path): set(imports_of(path)) for path in PLUGINS.rglob("*.py")}


def test_imports_lead_down():
    up = {
        (module, other)
        for module, imported in graph().items()
        for other in imported
        if room_of(module) in FLOOR_OF and FLOOR_OF[room_of(other)] < FLOOR_OF[room_of(module)]
    }
    assert not up


def test_there_is_no_circle():
    list(graphlib.TopologicalSorter(graph()).static_order())


def test_every_room_has_a_floor():
    assert {room_of(module) for module in MODULES if "." in module} - {"doc_fragments"} <= FLOOR_OF.keys() | {
        "module_utils"
    }


# -- sizes ---------------------------------------------------------------------------------------------------------------

ROOT = PLUGINS.parent
SOURCES = [
    path for folder in (PLUGINS, *ROOT.glob("roles/*/files")) for path in folder.rglob("*.py") if not path.is_symlink()
]
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_CLASS = 500, 300
#: The files that docs/ARCHITECTURE.md excuses, each in a line with its reason.
EXCUSED = {
    line.split("`")[1]
    for line in (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("- Longer than the others: `")
}


def too_long(source):
    """The names of what has too many lines in the source of a file."""
    if len(source.splitlines()) > MOST_LINES_OF_A_FILE:
        yield "the file"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_CLASS:
            yield f"class {node.name}"


def test_no_file_and_no_class_is_too_long():
    found = {str(path.relative_to(ROOT)): list(too_long(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {name: what for name, what in found.items() if what and name not in EXCUSED} == {}


def test_a_long_class_and_a_long_file_are_found():
    assert list(too_long("class A:\n" + "    a = 1\n" * 300)) == ["class A"]
    assert list(too_long("class A:\n" + "    a = 1\n" * 299)) == []
    assert list(too_long("a = 1\n" * 501)) == ["the file"]
