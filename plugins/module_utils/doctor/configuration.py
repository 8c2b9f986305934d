# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of supervisord's configuration: its files, its sections, and supervisor's own parser."""

from __future__ import annotations

import re
import typing as t

from ..diagnosis.symptoms import diagnose
from .characters import find_hidden, find_lookalike
from .findings import ERROR, WARNING, Finding, from_table
from .state import HostState

#: Sections that supervisord.conf needs, and what their absence breaks.
_SECTIONS = {
    "unix_http_server": "no socket is made, so that neither supervisorctl nor a deploy can reach supervisord",
    "rpcinterface:supervisor": "supervisord answers no request",
    "supervisorctl": "supervisorctl does not know where supervisord listens",
}


def file_named_in(text: str) -> str:
    """The file that supervisor's parser names; empty if it names none."""
    found = re.search(r"(?:file: |file=|source: |errors: )'?<?([^'>)\n]+?)'?>?[\s),]", text + "\n")
    return found.group(1) if found else ""


def check_hidden_characters(state: HostState) -> t.Iterator[Finding]:
    for path, text in state.configuration.files.items():
        hidden = find_hidden(path, text)
        if hidden:
            number, found = hidden
            yield Finding(
                ERROR,
                "hidden-character",
                path,
                f"{path}, line {number}, column {found.start() + 1}: U+{ord(found.group()):04X}"
                + (" (Windows line end)" if found.group() == "\r" else ""),
                "The file was edited or copied with a character that looks like nothing or like a blank, but is"
                " part of the value.",
                f"`grep -nP '[^\\x20-\\x7E\\t]' {path}` shows it; retype the line, or deploy, which writes the file again.",
            )


def check_file(state: HostState) -> t.Iterator[Finding]:
    path = state.configuration.path
    if not state.configuration.exists:
        yield Finding(
            ERROR,
            "conf-missing",
            path,
            f"there is no {path}",
            "supervisord's configuration was removed: it cannot start again.",
            "Deploy: the role pygun.stack.supervisor writes it.",
        )


def check_parser(state: HostState) -> t.Iterator[Finding]:
    """Check for a configuration that supervisor's own parser refuses."""
    conf, text = state.configuration, state.configuration.parser.text
    if not conf.exists or not conf.parser.status or not conf.parser_exists:
        return
    path = file_named_in(text) or conf.path
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("For help")]
    lookalike = find_lookalike(path, conf.files.get(path, ""))
    known = diagnose(text, "supervisord")
    if known:
        finding = from_table(known, path, "\n".join(lines[:4] + lookalike), kind="parser")
    else:
        finding = Finding(
            ERROR,
            "conf-invalid",
            path,
            "\n".join(lines[-4:] + lookalike) or f"supervisor's parser ends with {conf.parser.status}",
            "supervisord cannot read its configuration: it runs on with the old one until it is restarted.",
            "Correct the line that is named, or deploy, which writes the files again.",
            kind="parser",
        )
    absent = re.search(r"(/\S+) does not exist", text)
    finding.missing = absent.group(1) if absent else ""
    yield finding


def check_sections(state: HostState) -> t.Iterator[Finding]:
    conf = state.configuration
    if not conf.exists or conf.parser.status:
        return
    for section, breaks in _SECTIONS.items():
        if section not in conf.settings:
            yield Finding(
                ERROR,
                "conf-section",
                conf.path,
                f"there is no section [{section}] in {conf.path}",
                f"The section was removed: {breaks}.",
                "Run the role pygun.stack.supervisor again (a deploy does): it writes the section.",
            )
    if "supervisord" in conf.settings and "user" not in conf.settings["supervisord"]:
        yield Finding(
            WARNING,
            "supervisor-root",
            conf.path,
            "[supervisord] does not say user=root; supervisord logs `CRIT Supervisor is running as root`",
            "The line was removed. Nothing is broken: supervisord is root to start programs as other users.",
            "Run the role pygun.stack.supervisor again (a deploy does): it writes the line.",
        )
