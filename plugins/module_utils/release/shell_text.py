# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find what only a shell understands in a command that is started without one.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import re
import typing as t

#: Quotes protect a text as they do in a shell. What is between double quotes may be the text of a `sh -c`.
_PROTECTED = re.compile(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ACTIVE = re.compile(
    r"\$\([^)\s]*\)?|\$\{[^}\s]*\}?|\$[A-Za-z_]\w*|`[^`\s]*`?|\|\||&&|\d?>>?(?:&\d?)?|&>|[|;<]|&(?=\s|$)"  # not the & of an address
    r"|(?:(?<=\s)|^)(?:~(?=/|\s|$)\S*|#)"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
#: Commands of the shell itself, for which there is no program.
_BUILTINS = frozenset(
    ". alias case cd eval exec export for if set shift source trap ulimit umask unset until while { ( [[ !".split()
)
#: Words with a meaning, in a list of words.
_WORDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"}


def found_in(command: str | t.Sequence[str]) -> str:
    """The first part of a command that only a shell understands; empty if there is none.

    :param command: a text, or a list of words, which are taken as they are
    """
    if not isinstance(command, str):
        return beginning(command[0] if command else "") or next((word for word in command if word in _WORDS), "")
    text = _PROTECTED.sub("_", command.strip())
    match = _ACTIVE.search(text)
    return beginning(text.partition(" ")[0]) or (match.group() if match else "")


def beginning(word: str) -> str:
    """The first word of a command, if no program can have that name; otherwise an empty text."""
    return word if word in _BUILTINS or _ASSIGNMENT.match(word) else ""
