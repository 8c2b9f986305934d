# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pack the command `pygun`: the modules' own code, in one archive that Python imports from."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

MODULE_UTILS = Path(__file__).parents[1] / "module_utils"
#: The package in the archive.
PACKAGE = "pygun_tools"
#: It needs Ansible.
_LEFT_OUT = ("stack_module.py",)
#: A time that every archive can have: the same code makes the same archive.
_TIME = (2020, 1, 1, 0, 0, 0)


def _files(folder: Path) -> list[tuple[str, bytes]]:
    paths = sorted(path for path in folder.rglob("*.py") if path.name not in _LEFT_OUT)
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]


def digest(folder: Path = MODULE_UTILS) -> str:
    """A digest of the code, by which its archive is recognized."""
    found = hashlib.sha256()
    for name, content in _files(folder):
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def archive(folder: Path = MODULE_UTILS) -> bytes:
    """The archive. The digest of the code is its comment, and so at its very end: a part of an archive does not have it."""
    files, target = _files(folder), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in [
            ("__init__.py", b""),
            *((name, content) for name, content in files if name != "__init__.py"),
        ]:
            info = zipfile.ZipInfo(f"{PACKAGE}/{name}", _TIME)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            stream.writestr(info, content)
        stream.comment = digest(folder).encode()
    return target.getvalue()
