# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take the paths that outlive releases (flask_app_shared_paths) out of a source. Their files are the first content on a host."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

from .pack import Entry, PackError

#: Folder of a release that holds the first content.
FIRST_CONTENT = "shared"


@dataclasses.dataclass
class Taken:
    """``entries`` are those of the release; ``paths`` are to be links on the host, a folder with a slash at its end."""

    entries: list[Entry]
    paths: list[str]
    notes: list[str]


def take_out(entries: Iterable[Entry], declared: Iterable[str], prefix: str = "src") -> Taken:
    """Divide the entries of a source into those of the release and the first content of the declared paths.

    A symbolic link at a declared path stays as it is: it leads to where the data is on the host.

    :raises PackError: for a path that holds code
    """
    left, paths, notes = list(entries), [], []
    for text in declared:
        path = text.rstrip("/")
        place = f"{prefix}/{path}"
        if any(entry.path == place and entry.link is not None for entry in left):
            notes.append(f"{path} stays a symbolic link, as it is in the source.")
            continue
        found, others = [], []
        for entry in left:
            (found if entry.path == place or entry.path.startswith(f"{place}/") else others).append(entry)
        code = [entry.path for entry in found if entry.path == place and place.endswith(".py")]
        code += [entry.path for entry in found if os.path.basename(entry.path) == "__init__.py"]
        if code:
            raise PackError(
                f"flask_app_shared_paths names {path}, and the source has code there ({code[0].removeprefix(prefix + '/')}): an update would"
                " never reach it. Name a file or folder that holds data only."
            )
        moved = [dataclasses.replace(entry, path=FIRST_CONTENT + entry.path.removeprefix(prefix)) for entry in found]
        left = others + moved
        if found:
            what = "a file of the source is" if len(found) == 1 else f"{len(found)} files of the source are"
            notes.append(
                f"{path} outlives releases: {what} its content on a host where it is empty, and nothing elsewhere."
            )
        is_file = bool(found) and found[0].path == place
        is_folder = text.endswith("/") or (found and not is_file) or not os.path.splitext(path)[1]
        paths.append(f"{path}/" if is_folder and not is_file else path)
    return Taken(left, sorted(paths), notes)
