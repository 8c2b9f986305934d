# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisor's configuration files, read as supervisor reads them.

The standard library alone: on a host the tools have a copy of this file.
"""

from __future__ import annotations

import configparser
import glob
import os
import shlex

from ..host import places, text

#: Seconds; supervisor's own default, for a program that does not say how long it may take to stop.
STOPWAITSECS = 10
#: Seconds beyond stopwaitsecs, after which supervisord should have killed what did not stop.
STOP_MARGIN = 5.0
#: Argument spec of the options in plugins/doc_fragments/places.py.
PLACES_OPTIONS = {
    "base_dir": {"type": "path", "default": places.BASE_DIR},
    "conf_dir": {"type": "path", "default": places.CONF_DIR},
}


def program_files(conf_dir: str) -> list[str]:
    """The files that supervisord.conf includes."""
    folder = os.path.join(glob.escape(conf_dir), "conf.d")
    return sorted(glob.glob(os.path.join(folder, "*.conf")) + glob.glob(os.path.join(folder, "*.ini")))


def parse(path: str) -> configparser.RawConfigParser:
    """As much of a file as can be read; whether supervisor takes it, supervisor's own parser says."""
    return parse_text(text.read_text(path))


def parse_text(content: str) -> configparser.RawConfigParser:
    """The same for the text of a file."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(content.lstrip("\ufeff").replace("\r", ""))
    except configparser.Error:
        pass
    return parser


def get(parser: configparser.RawConfigParser, section: str, option: str) -> str:
    """The text of an option; empty if there is none."""
    return parser.get(section, option, fallback="") or ""


def variables(environment: str) -> dict[str, str]:
    """The names and values of an `environment`, taken apart as supervisor does; empty if it is none."""
    lexer = shlex.shlex(environment)
    lexer.wordchars += "/.+-():"
    try:
        words = list(lexer)
    except ValueError:
        return {}
    return {words[index]: words[index + 2].strip("'\"") for index in range(0, len(words) - 2, 4)}


def socket_path(settings: configparser.RawConfigParser) -> str:
    """Where supervisord listens, as supervisord.conf says."""
    return get(settings, "unix_http_server", "file") or places.SUPERVISOR_SOCKET
