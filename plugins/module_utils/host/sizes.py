# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sizes of files and folders, as people write them and as they are."""

from __future__ import annotations

import contextlib
import os
import re

_UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def bytes_of(text: str) -> int:
    """The bytes in a size such as ``5GB``; 0 for what is none."""
    match = re.fullmatch(r"(\d+)\s*([KMG]B|)", str(text).strip().upper())
    return int(match[1]) * _UNITS[match[2]] if match else 0


def size_of(folder: str) -> int:
    """The bytes that a folder takes on its file system. Links are not followed, and a file with two names counts once."""
    total, counted, folders = 0, set(), [folder]
    while folders:  # os.walk of Python 3.11 calls itself, and a build may nest as deep as it likes
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with contextlib.suppress(OSError):  # gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in counted:
                        counted.add((status.st_dev, status.st_ino))
                        total += status.st_blocks * 512
    return total
