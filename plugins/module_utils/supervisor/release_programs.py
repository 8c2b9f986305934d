# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The programs of an app's own release (`flask_app_programs`), as supervisor's configuration describes them: one writer, one reader.

Each has a file and a group of its own, ``APP.NAME``. No name of an app has a dot.
"""

from __future__ import annotations

import configparser
import dataclasses
import os
import shlex
import shutil
import typing as t

from . import conf, program_files, program_scope
from .program_settings import Entry

#: Settings of supervisor that such a program may have. The others are the app's, or follow from what a program of an app is.
SETTINGS = (
    "name",
    "command",
    "numprocs",
    "startsecs",
    "stopasgroup",
    "killasgroup",
    "stopsignal",
    "stopwaitsecs",
    "umask",
)
#: Our own: all processes stop before the first one starts.
SINGLETON = "singleton"
#: It tries for ever, as an instance does: a broker that is down for an hour must not leave it down for good.
_DEFAULTS: Entry = {
    "autostart": True,
    "autorestart": "true",
    "startsecs": 5,
    "startretries": 100000,
    "killasgroup": True,
    "stdout_logfile_maxbytes": 0,
}
_LAUNCHER = "/launch.py"


@dataclasses.dataclass(frozen=True)
class ReleaseProgram:
    """One program of an app's release. Empty and 0 is what its section does not say."""

    group: str
    path: str = ""
    command: str = ""
    root: str = ""
    user: str = ""
    run_dir: str = ""
    log_file: str = ""
    processes: int = 1
    startsecs: float = 1.0
    stop_timeout: float = conf.STOPWAITSECS
    singleton: bool = False

    @property
    def app(self) -> str:
        """The app that it belongs to."""
        return self.group.partition(".")[0]

    @property
    def name(self) -> str:
        """The name that it has in `flask_app_programs`."""
        return self.group.partition(".")[2]

    @property
    def process_names(self) -> list[str]:
        """The names that supervisor gives its processes."""
        return process_names(self.group, self.processes)


def process_names(name: str, processes: int) -> list[str]:
    """The names of the processes of a program; one process has the program's own."""
    return [f"{name}-{number}" for number in range(processes)] if processes > 1 else [name]


def scope(app: str) -> str:
    """The scope that marks the files of an app's programs."""
    return f"{app}.programs"


def command_text(command: t.Any) -> str:
    """A command as supervisor reads it: a text as it is, a list of words with quotes where they need them."""
    return shlex.join(map(str, command)) if isinstance(command, (list, tuple)) else str(command).strip()


def render(programs: t.Sequence[Entry], app: dict[str, t.Any]) -> list[dict[str, str]]:
    """The files of these programs, with their paths.

    :param app: name, root, user, run_dir, log_dir, conf_dir, tools_dir, and stopwaitsecs for programs that do not say
    """
    home = f"{app['root']}/shared"
    launcher = f"{app['tools_dir']}/supervisor/bin/python -IB {app['tools_dir']}{_LAUNCHER} {app['root']}"
    files = []
    for given in programs:
        entry = {name: value for name, value in given.items() if value is not None}
        singleton = str(entry.pop(SINGLETON, False)).lower() in ("true", "yes", "on", "1", "y", "t")
        group = f"{app['name']}.{entry['name']}"
        environment = {"HOME": home, "USER": app["user"], "LOGNAME": app["user"], "PYGUN_RUN_DIR": app["run_dir"]}
        if singleton:
            environment["PYGUN_SINGLETON"] = "1"
        entry = {
            **_DEFAULTS,
            "stopwaitsecs": app["stopwaitsecs"],
            **entry,
            "name": group,
            "command": f"{launcher} {command_text(entry['command'])}",
            "user": app["user"],
            "directory": home,
            "environment": environment,
        }
        text = program_scope.head(scope(app["name"])) + program_files.section("program", entry, app["log_dir"])
        files.append({"path": f"{app['conf_dir']}/conf.d/{group}.conf", "content": text})
    return files


def release_programs(parser: configparser.RawConfigParser, path: str = "") -> t.Iterator[ReleaseProgram]:
    """The programs of releases in a file of supervisor."""
    for section in parser.sections():
        kind, _sep, name = section.partition(":")
        try:
            words = shlex.split(conf.get(parser, section, "command"))
        except ValueError:
            continue
        launchers = [number for number, word in enumerate(words[:4]) if word.endswith(_LAUNCHER)]
        if kind != "program" or "." not in name or not launchers or len(words) < launchers[0] + 3:
            continue
        environment = conf.variables(conf.get(parser, section, "environment"))
        yield ReleaseProgram(
            group=name.strip(),
            path=path,
            command=shlex.join(words[launchers[0] + 2 :]).replace("%%", "%"),
            root=words[launchers[0] + 1],
            user=conf.get(parser, section, "user"),
            run_dir=environment.get("PYGUN_RUN_DIR", ""),
            log_file=conf.get(parser, section, "stdout_logfile"),
            processes=int(_number(conf.get(parser, section, "numprocs"), 1)),
            startsecs=_number(conf.get(parser, section, "startsecs"), 1),
            stop_timeout=_number(conf.get(parser, section, "stopwaitsecs"), conf.STOPWAITSECS),
            singleton="PYGUN_SINGLETON" in environment,
        )


def programs_of(app: str, conf_dir: str) -> list[ReleaseProgram]:
    """The programs of one app's release, or of all apps, that the files in conf.d define.

    :param app: its name; empty for all
    """
    found = [program for path in conf.program_files(conf_dir) for program in release_programs(conf.parse(path), path)]
    return [program for program in found if app in ("", program.app)]


def program_in(content: bytes | None, path: str) -> ReleaseProgram | None:
    """The program that the bytes of a file define; None if it is not a program of a release."""
    parser = conf.parse_text((content or b"").decode("utf-8", "replace"))
    return next(release_programs(parser, path), None)


#: Where a program that the release does not have is looked for (systemd's default for a unit).
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def obstacle(program: ReleaseProgram, release: str) -> str:
    """Why the program cannot start in the release of this folder, with the remedy; empty if nothing is known against it."""
    word = shlex.split(program.command)[0].replace("{release}", release)
    if not os.path.exists(os.path.join(release, "lib", "pygun_runtime", "run.py")):
        return "it was built by an older version of pygun.stack, which knew no programs. Deploy what was in it again."
    if "/" not in word:
        own = os.path.join(release, "venv", "bin", word)
        if os.access(own, os.X_OK) or shutil.which(word, path=_PATH):
            return ""
        return f"there is no {word} in its virtual environment. Name the package that brings it in the requirements of the app, or in flask_app_packages."
    path = os.path.join(release, "src", word)
    if not os.path.isfile(path):
        return f"there is no {path}. Correct the command, which is looked up in the source's directory."
    if not os.stat(path).st_mode & 0o111:
        return f"{path} is not executable. Make it so in the source, or begin the command with its interpreter."
    return ""


def _number(text: str, default: float) -> float:
    return float(text) if text.isdecimal() and text.isascii() and len(text) < 10 else default
