# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sends an archive to a host part by part: module_utils/release/archive.py reads the parts as one."""

from __future__ import annotations

import typing as t
from pathlib import Path

from . import pack, progress


def send(action: t.Any, archive: Path, name: str, step: str) -> str:
    """Send all parts of an archive into the temporary folder of an action on its host; the path of the first one there.

    :param step: the text that is shown meanwhile
    """
    folder, shell = action._connection._shell.tmpdir, action._connection._shell
    parts = pack.parts(archive)
    sizes = [part.stat().st_size for part in parts]
    remote = shell.join_path(folder, name)
    files = [remote, *(f"{remote}.{number}" for number in range(1, len(parts)))]
    with progress.shown(step, progress.Amount(sum(sizes))) as amount:
        for part, size, file in zip(parts, sizes, files, strict=True):
            action._transfer_file(str(part), file)
            amount.done += size
    action._fixup_perms2((folder, *files))
    return remote
