# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the variables of the role python, and about the Python and the system packages of an app."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..text import shown
from .places import check_host_path
from .rules import rule


@rule("python_uv_version", "supervisor_superlance_version", "supervisor_version")
def _version(value: str) -> Iterator[str]:
    if not re.fullmatch(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", value):
        yield "write a plain version such as 4.3.0, without an operator or a v."


@rule("python_index_url")
def _index_url(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"(https?|file)://\S+", value):
        yield "write the whole address of the index, such as https://packages.example.com/simple."
    elif value and re.fullmatch(r"https?://(\S*@)?", value):
        yield "it names no host. Write the whole address, such as https://packages.example.com/simple."


@rule("python_wheelhouse")
def _wheelhouse(value: str) -> Iterator[str]:
    if value and not value.startswith("/"):
        yield 'it is looked up on the control node, by every playbook alike. Make it absolute, as in "{{ inventory_dir }}/wheelhouse".'


@rule("python_wheelhouse_target")
def _wheelhouse_target(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"3\.\d+(\.\d+)?-manylinux_2_\d+_[a-z0-9_]+", value):
        yield "write a Python and a platform, such as 3.11-manylinux_2_36_x86_64."


@rule("python_extra_args")
def _extra_args(values: list[str]) -> Iterator[str]:
    own = {
        "--index-url": "python_index_url",
        "-i": "python_index_url",
        "--default-index": "python_index_url",
        "--cert": "python_ca_bundle",
        "--cache-dir": "python_cache_dir",
        "--python": "python_interpreter",
    }
    for value in values:
        option = re.split(r"[=\s]", value)[0]
        if option in own:
            yield f"{shown(value)} has a variable of its own. Set {own[option]}."
        elif option in ("--target", "-t", "--prefix", "--user", "--root", "--system", "-r", "--requirement"):
            yield f"{shown(value)} would install somewhere or something else than the role expects. Take it out."
        elif value.startswith("-") and " " in value:
            yield f"{shown(value)} is one argument with a space in it. Write two entries, or OPTION=VALUE."


@rule("flask_app_python")
def _app_python(value: str) -> Iterator[str]:
    if value.startswith("/"):
        yield from check_host_path(value)
    elif value and not re.fullmatch(r"3\.\d{1,2}", value):
        version = re.fullmatch(r"(?:[A-Za-z]+[ =-]*)?(3\.\d{1,2})(?:\.\d+)?", value)
        yield (
            f'write a version of two numbers, such as "{version.group(1) if version else "3.12"}", or the whole path of an'
            " interpreter, such as /usr/bin/python3."
        )
    elif value and int(value.partition(".")[2]) < 11:
        yield "the runtime needs Python 3.11 or later. Take a newer one."


@rule("flask_app_system_packages")
def _system_packages(values: list[str]) -> Iterator[str]:
    for value in values:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
            yield (
                f"{shown(value)} is no name of a package of the distribution. Write the name only, such as libgomp1, without a"
                " version or an architecture."
            )
