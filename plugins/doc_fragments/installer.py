# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of modules that install Python packages; `python_env.INSTALLER_OPTIONS` is their argument spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that `release` and `venv` share."""

    DOCUMENTATION = r"""
options:
  python:
    description: Interpreter on the host that the virtual environment is made from.
    type: path
    default: /usr/bin/python3
  uv:
    description: Path of uv on the host. Without it the interpreter's own C(venv) and C(pip) do the work.
    type: path
  index_url:
    description: Address of the package index. It is handed over in the environment, since it may hold a password.
    type: str
    default: ""
  ca_bundle:
    description: File on the host with the certificates that the installer trusts (PEM).
    type: str
    default: ""
  extra_args:
    description: Further arguments of the installer.
    type: list
    elements: str
    default: []
  wheelhouse:
    description: Directory on the host with wheels; it takes the place of every index.
    type: str
    default: ""
  cache_dir:
    description: Directory in which the account that installs has its download cache.
    type: str
    default: ""
  cache_max:
    description:
      - Size that this cache may have, such as C(5GB), after a build of a release. One that is larger is emptied. 0 is no limit.
    type: str
    default: "0"
  timeout:
    description: Seconds that one call of the installer may take.
    type: int
    default: 1800
"""
