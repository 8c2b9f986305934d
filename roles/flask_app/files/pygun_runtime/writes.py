# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files an app wants to write below its release, where nothing may be written: it belongs to root, and goes one day.

Also which SQLite databases it keeps below /tmp.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
_SHOWN = 3
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108
#: What the module tempfile has named is meant to go.
_MEANT_TO_GO = re.compile(r"/tmp[a-z0-9_]{8}\b")


class Writes:
    """Watches, from its making on, what this process does to files below *release*; also what the app hides."""

    def __init__(self, release: str):
        self.release = release
        self.paths: list[str] = []
        self.databases: list[str] = []
        self.last_database = ""
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        with contextlib.suppress(Exception):
            if event == "open":
                if isinstance(arguments[2], int) and arguments[2] & _WRITING:
                    self._add(arguments[0])
            elif event == "sqlite3.connect":
                if not str(arguments[0]).startswith(("file:", ":memory:")):
                    self._add(arguments[0])
                    self._add_database(arguments[0])
            elif event in _CHANGING:
                self._add(arguments[-2] if event == "os.symlink" else arguments[0])

    def _add(self, path) -> None:
        if isinstance(path, int) or not path:
            return
        whole = os.path.abspath(os.fsdecode(path))
        if not whole.startswith(self.release + "/") or "__pycache__" in whole or whole in self.paths:
            return
        if os.path.realpath(whole).startswith(os.path.realpath(self.release) + "/"):  # no shared path
            self.paths.append(whole)

    def _add_database(self, path) -> None:
        whole = self.last_database = os.path.abspath(os.fsdecode(path))
        kept = (self.release + "/", os.environ.get("PYGUN_SHARED_DIR", self.release) + "/")
        if whole.startswith(_TEMPORARY) and not whole.startswith(kept) and not _MEANT_TO_GO.search(whole):
            self.databases = sorted({*self.databases, whole})

    def naming(self, error: str) -> str:
        """An error's text, with the file that SQLite does not name."""
        unnamed = ("unable to open database file", "attempt to write a readonly database")
        return f"{error}: {self.last_database}" if self.last_database and error.endswith(unnamed) else error

    def warnings(self) -> list[str]:
        """A text about each kind, if there are any."""
        return self._about_the_release() + self._about_databases()

    def _about_databases(self) -> list[str]:
        if not self.databases:
            return []
        return [
            f"The app keeps an SQLite database below /tmp ({', '.join(self.databases[:_SHOWN])}), which is empty again after each restart"
            " of supervisord and of the host. Have it keep its data below"
            f" {os.environ.get('PYGUN_SHARED_DIR', 'the shared directory of the app')}, with the variable or configuration file by which"
            " the app takes the address of its database (flask_app_env, flask_app_files)."
        ]

    def _about_the_release(self) -> list[str]:
        if not self.paths:
            return []
        named = ", ".join(os.path.relpath(path, self.release) for path in self.paths[:_SHOWN])
        more = f" and {len(self.paths) - _SHOWN} more" if len(self.paths) > _SHOWN else ""
        where = os.environ.get("PYGUN_SHARED_DIR", "the app's shared directory")
        paths = sorted({self._to_share(path) for path in self.paths} - {""})
        remedy = (
            f"Set flask_app_shared_paths: [{', '.join(paths[:_SHOWN])}], which makes them outlive releases, or let"
            if paths
            else "Let"
        )
        return [
            f"The app opens {named}{more} of its release for writing. No process of it may write there, and the next release"
            f" has none of it. {remedy} it write below {where}, which PYGUN_SHARED_DIR in its environment names; it opens an SQLite"
            " file that is only read with `file:PATH?mode=ro` and uri=True."
        ]

    def _to_share(self, path: str) -> str:
        """The path in the source that would have to be shared: the folder, unless that holds code; empty outside of the source."""
        source = os.path.join(self.release, "src")
        if not path.startswith(source + "/"):
            return ""
        folder = os.path.dirname(path)
        holds_code = folder == source or (
            os.path.isdir(folder) and any(name.endswith(".py") for name in os.listdir(folder))
        )
        return os.path.relpath(path if holds_code else folder, source)
