# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisor's configuration files, read as supervisor reads them."""

from __future__ import annotations

import configparser
import glob
import os
import shlex

from ..host import inspection

#: Argument spec of the options in plugins/doc_fragments/places.py.
PLACES_OPTIONS = {
    "base_dir": {"type": "path", "default": "/srv"},
    "conf_dir": {"type": "path", "default": "/etc/supervisor"},
}
#: Where supervisord listens when its configuration does not say so.
_SOCKET = "/run/supervisor/supervisor.sock"


def program_files(conf_dir: str) -> list[str]:
    """The files that supervisord.conf includes."""
    folder = os.path.join(glob.escape(conf_dir), "conf.d")
    return sorted(glob.glob(os.path.join(folder, "*.conf")) + glob.glob(os.path.join(folder, "*.ini")))


def parse(path: str) -> configparser.RawConfigParser:
    """As much of a file as can be read; whether supervisor takes it, supervisor's own parser says."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(inspection.read_text(path).lstrip("\ufeff").replace("\r", ""))
    except configparser.Error:
        pass
    return parser


def get(parser: configparser.RawConfigParser, section: str, option: str) -> str:
    """The text of an option; empty if there is none."""
    return parser.get(section, option, fallback="") or ""


def variables(text: str) -> dict[str, str]:
    """The names and values of an `environment`, taken apart as supervisor does; empty if it is none."""
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():"
    try:
        words = list(lexer)
    except ValueError:
        return {}
    return {words[index]: words[index + 2].strip("'\"") for index in range(0, len(words) - 2, 4)}


def socket_path(settings: configparser.RawConfigParser) -> str:
    """Where supervisord listens, as supervisord.conf says."""
    return get(settings, "unix_http_server", "file") or _SOCKET
