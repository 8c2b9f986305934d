# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what a deploy trusts for its packages: a hash of each, or the index that they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from ..module_utils.host.logins import masked
from ..module_utils.release.requirement_lines import FOLDERS, SOURCE, lines
from ..module_utils.virtual_env import requirement_name
from .pack import PackError

#: The line of a requirement file by which uv and pip install nothing without a hash.
REQUIRE = "--require-hashes"
_WRITE = (
    "Write the names into a requirements.in, and make the file with"
    " `uv pip compile --generate-hashes requirements.in --output-file requirements.txt`."
)
_LISTED_AT_MOST = 3


def _packages(files: Iterable[Path]) -> list[tuple[str, str]]:
    """The packages that requirement files name, each with its place; projects in the source are not among them."""
    given = [(path.name, *place) for path in files for place in lines(path)]
    return [
        (where, text)
        for name, where, text in given
        if not text.startswith("-") and not (name == FOLDERS and SOURCE in text)
    ]


def refuse_without(files: Collection[Path], packages: Collection[str], server: Collection[str]) -> None:
    """See that each package of a release has a hash, before anything is sent.

    :param packages: those of flask_app_packages
    :param server: the server's
    :raises PackError: for one that has none
    """
    begun = "flask_app_require_hashes is true, and"
    if packages:
        raise PackError(f"{begun} flask_app_packages names {masked(packages[0])}, where no hash can stand. {_WRITE}")
    found = _packages(files)
    bare = [f"{masked(text)} ({where})" for where, text in found if "--hash=" not in text]
    if bare:
        more = f" and {len(bare) - _LISTED_AT_MOST} more" if len(bare) > _LISTED_AT_MOST else ""
        raise PackError(f"{begun} there is no hash of {', '.join(bare[:_LISTED_AT_MOST])}{more}. {_WRITE}")
    absent = {requirement_name(text) for text in server} - {requirement_name(text) for _where, text in found}
    lacking = [text for text in server if requirement_name(text) in absent]
    if lacking:
        raise PackError(
            f"{begun} the app's requirements have no hash of the server's packages {', '.join(lacking)}. {_WRITE}"
        )


def trusted(files: Collection[Path], packages: Collection[str], index: str, wheelhouse: str) -> str:
    """One sentence: where packages come from, and how many of those named have a hash. Empty if none is named."""
    found = [text for _where, text in _packages(files)] + list(packages)
    if not found:
        return ""
    place = "the wheelhouse" if wheelhouse else masked(index) or "PyPI"
    count = sum("--hash=" in text for text in found)
    how = "with a hash of each" if count == len(found) else f"{count} of {len(found)} with a hash"
    return f"Packages come from {place}, {how if count else 'without hashes'}."
