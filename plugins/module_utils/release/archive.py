# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads an archive that the control node has sent in parts, as plugin_utils/pack.py makes it and plugin_utils/transfer.py sends it."""

from __future__ import annotations

import contextlib
import gzip
import os
import tarfile
import typing as t
import zlib


@contextlib.contextmanager
def opened(archive: str) -> t.Iterator[tarfile.TarFile]:
    """The archive, whose members are read one after the other.

    :raises tarfile.TarError: when it is not whole
    """
    try:
        with (
            _Parts(archive) as parts,
            gzip.GzipFile(fileobj=t.cast(t.BinaryIO, parts)) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as packed,
        ):
            yield packed
    except (EOFError, zlib.error) as error:
        raise tarfile.TarError(f"the archive is not whole: {error}") from error


class _Parts:
    """The parts of an archive (NAME, NAME.1, NAME.2, ...) as one file. A part that is read is removed, but the last one."""

    def __init__(self, archive: str) -> None:
        self.archive = archive
        self.number = 0
        self.stream = open(archive, "rb")  # pylint: disable=consider-using-with

    def read(self, size: int = -1) -> bytes:
        while True:
            data = self.stream.read(size)
            following = f"{self.archive}.{self.number + 1}"
            if data or not os.path.exists(following):
                return data
            self.stream.close()
            os.unlink(self.stream.name)
            self.number += 1
            self.stream = open(following, "rb")  # pylint: disable=consider-using-with

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
