"""README.zh-CN.md keeps step with README.md: the same headings, code, tables and links, in the same order."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator

import pytest

from tools.shell import ROOT

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


@dataclasses.dataclass(frozen=True)
class Block:
    """A heading, code block, row of a table or paragraph; `same` is what a translation must not change of it."""

    same: tuple
    text: str = dataclasses.field(compare=False)
    line: int = dataclasses.field(compare=False)
    section: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        return f"line {self.line}, under {self.section!r}: {self.same[0]} {self.text[:70]!r}"


def blocks(markdown: str) -> list[Block]:
    """What a README consists of. Comments, and the line that leads to the other language, are nothing."""
    found: list[Block] = []
    section = ""
    for number, lines in pieces(markdown):
        text = " ".join(lines)
        if lines[0].startswith("```"):
            text, same = lines[1], ("code block", *lines)
        elif text.startswith("#"):
            section, same = text, ("heading", text.split()[0])
        elif text.startswith("|"):
            same = ("table row", *map(kept, text.split("|")))
        elif text.startswith("<!--") or re.search(r"\]\(README(\.zh-CN)?\.md\)", text):
            continue
        else:
            same = ("paragraph", kept(text))
        found.append(Block(same, text, number, section))
    return found


def pieces(markdown: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that belong together, with the number of the first: of a code block or a paragraph all of them."""
    lines: list[str] = []
    for number, line in enumerate([*markdown.splitlines(), ""], 1):
        in_code = bool(lines) and lines[0].startswith("```")
        if in_code:
            lines.append(line)
        if lines and (line == "```" if in_code else re.match(r"$|#+ |\||```|<!--", line)):
            yield number - len(lines) + in_code, lines
            lines = []
            if in_code:
                continue
        if line and not in_code:
            lines.append(line)


def kept(text: str) -> tuple[str, ...]:
    """Code and link targets, in any order: grammar moves them about. A number that stands alone in a cell.

    A link to a heading of the page names it in the page's language: another test sees that it leads there.
    """
    text = re.sub(r"\]\(#[^)]*\)", "](#)", text)
    return tuple(sorted(re.findall(r"`[^`]+`|\]\([^)]+\)|^ *[\d.]+ *$|^ *-+ *$", text)))


def differences(english: str, chinese: str) -> list[str]:
    """What one README has and the other has not, as a person can find it."""
    ours, theirs = blocks(english), blocks(chinese)
    found = []
    for operation, start, end, other, last in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if operation != "equal":
            found += [f"{ENGLISH}, {block} has no counterpart in {CHINESE}" for block in only_here(ours, start, end)]
            found += [f"{CHINESE}, {block} has no counterpart in {ENGLISH}" for block in only_here(theirs, other, last)]
    return found


def only_here(found: list[Block], start: int, end: int) -> list[Block]:
    """A new section begins with its own heading, not after it and with the heading of the next one."""
    while 0 < start < end and found[end - 1].same[0] == "heading" and found[start - 1] == found[end - 1]:
        start, end = start - 1, end - 1
    return found[start:end]


def test_the_chinese_readme_says_what_the_english_one_says() -> None:
    texts = [(ROOT / name).read_text() for name in (ENGLISH, CHINESE)]
    found = differences(*texts)
    assert not found, "\n".join(["the translation is behind:", *found])


def test_each_readme_leads_to_the_other_in_its_first_lines() -> None:
    for page, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other})" in "".join((ROOT / page).read_text().splitlines()[:4])


TEXT = "# A\n\nSay `b` and [c](d).\n\n```console\n$ e\n```\n\n| f | `g` |\n|---|---|\n| 1 | h |\n"


@pytest.mark.parametrize(
    "wrong, told",
    [
        (TEXT.replace("# A", "## A"), "heading '# A'"),
        (TEXT.replace("# A\n", "# A\n\n## New\n"), "heading '## New'"),
        (TEXT.replace("$ e", "$ E"), "code block '$ e'"),
        (TEXT.replace("`b`", "b"), "paragraph 'Say `b` and [c](d).'"),
        (TEXT.replace("(d)", "(D)"), "paragraph 'Say `b` and [c](d).'"),
        (TEXT.replace("| 1 | h |\n", ""), "table row '| 1 | h |'"),
        (TEXT.replace("| 1 | h |", "| 2 | h |"), "table row '| 1 | h |'"),
        (TEXT.replace("| f | `g` |", "| f | g | |"), "table row '| f | `g` |'"),
        (TEXT + "\nMore.\n", "paragraph 'More.'"),
        (TEXT.replace("# A\n", "# New\n\n`new`\n\n# A\n"), "heading '# New'"),
    ],
)
def test_what_the_translation_lacks_is_named(wrong: str, told: str) -> None:
    assert not differences(TEXT, TEXT.replace("Say", "说").replace(" h ", " 行 "))
    assert told in "\n".join(differences(TEXT, wrong))
