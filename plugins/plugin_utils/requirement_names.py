# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names in requirement files that no host can install, since they are for other systems, or of no package at all."""

from __future__ import annotations

import re

#: What pip of other systems writes down, of which there is nothing for Linux.
_OF_SYSTEMS = {
    "Windows": (
        "win32",
        frozenset(
            "pywin32 pypiwin32 pywinpty windows-curses pywin32-postinstall tensorflow-intel twisted-iocpsupport onnxruntime-directml".split()
        ),
    ),
    "macOS": (
        "darwin",
        frozenset("pyobjc pyobjc-core tensorflow-macos tensorflow-metal jax-metal macfsevents".split()),
    ),
}
#: Modules that come with Python, and that no package index has: people write down all that they import.
_OF_PYTHON = frozenset(
    "abc base64 bisect cgi codecs collections contextlib copy csv ctypes decimal difflib distutils fnmatch ftplib getpass gettext glob gzip"
    " hashlib heapq imaplib io itertools json math mimetypes optparse os pickle pprint random re shutil smtplib socket sqlite3 string struct"
    " subprocess sys telnetlib tempfile textwrap threading time tkinter tomllib traceback unittest urllib warnings webbrowser xml zipfile zlib"
    " zoneinfo".split()
)
#: Packages of a distribution that no index has. ``pip freeze`` outside of a virtual environment lists them.
_OF_DISTRIBUTION = frozenset(
    "apt-clone apt-xapian-index apturl brlapi cloud-init command-not-found cupshelpers debconf landscape-client language-selector python-apt"
    " sepolicy ubuntu-advantage-tools ubuntu-drivers-common ubuntu-pro-client ufw unattended-upgrades usb-creator xkit".split()
)
_VERSION_OF_DISTRIBUTION = re.compile(r"==\s*\d[\w.+-]*(?:ubuntu|\+deb|-debian)\d")


def refusal(name: str | None, text: str) -> str:
    """Why a requirement without a marker is refused, and what to write; empty if it is not.

    :param name: its normalized name
    :param text: the requirement
    """
    for system, (platform, names) in _OF_SYSTEMS.items():
        if name in names or (system == "macOS" and str(name).startswith("pyobjc-framework-")):
            return f", which there is for {system} only. Write {text} ; sys_platform == '{platform}'."
    if name in _OF_PYTHON:
        return ", a module of Python itself, which no index has as a package. Take the line out."
    if name in _OF_DISTRIBUTION or _VERSION_OF_DISTRIBUTION.search(text):
        return (
            ", a package of a distribution, which no index has so: pip freeze outside of a virtual environment lists them. Take out the lines"
            " that the app does not need; `pip freeze` in its own environment writes them."
        )
    return ""
