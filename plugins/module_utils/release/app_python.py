# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The interpreter of an app and its version."""

from __future__ import annotations

import os
import re

from .. import virtual_env
from ..host.interpreter import NoInterpreter, choose

_NAME = re.compile(r"(?:.*/python)?(3\.\d+)")


def wanted(app_python, default, may_come=False):
    """Return the path of the interpreter of an app, and its version.

    :param app_python: a path, or a version such as ``3.12``; empty takes the default
    :param default: the host's own
    :param may_come: whether a missing one is no error: in check mode, when packages that a deploy installs first may bring it. Its version has
        two numbers then, as its name says.
    :raises NoInterpreter: when there is none, or it cannot be run
    """
    try:
        path = choose(app_python, default)
    except NoInterpreter:
        if not may_come:
            raise
        path = f"/usr/bin/python{app_python}"
    version = virtual_env.python_version(path)
    if version is None and may_come and not os.path.exists(path):
        name = _NAME.fullmatch(path)
        version = name[1] if name else virtual_env.python_version(default)
    if version is None:
        variable = "flask_app_python" if app_python else "python_interpreter"
        raise NoInterpreter(f"{path} cannot be run ({variable}). Nothing was changed.")
    return path, version
