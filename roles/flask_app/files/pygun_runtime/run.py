# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a program with the app's environment: `python -IS run.py PROGRAM [ARGUMENT]...`, and `run` in a release for people.

The instances, the trial of a release, programs beside the app and commands by hand start like this. The C library reads TZ,
LD_PRELOAD or MALLOC_ARENA_MAX as a process starts, and Python PYTHONHASHSEED: too early for anything that Python sets. So
the variables are set first, and PROGRAM takes the place of this process, with its pid and its open files.

* PROGRAM without a slash is looked up in the release's virtual environment first; so is what it starts itself, by PATH.
* It runs in the source's folder.
* FLASK_APP is the app that is served, unless the app's environment or a file .flaskenv or .env of its source says another.
* `{release}` in an argument, or in a variable, is the folder of this release.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # nothing of gunicorn is needed
    import env_file as env_files
else:
    from . import env_file as env_files

#: The digest of the environment file that this process, or an ancestor, was started with.
MARK = "PYGUN_ENVIRONMENT"
USAGE = "usage: run PROGRAM [ARGUMENT]...    for example: sudo -u scoring /srv/scoring/current/run flask db upgrade"


def gunicorn_again(values: dict[str, str], digest: str) -> None:
    """Execute gunicorn a second time, if it was started without these variables: by hand, or by an older launcher."""
    if digest in (os.environ.get(MARK), env_files.EMPTY) or not _is_gunicorn(sys.argv[0]):
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **values, MARK: digest})  # noqa: S606


def _is_gunicorn(program: str) -> bool:
    path = Path(program)
    return path.name == "gunicorn" or (path.name == "__main__.py" and path.parent.name == "gunicorn")


def service_of(release: Path, name: str) -> str:
    """A text of the service in release.json; empty if it is not there."""
    try:
        found = json.loads((release / "release.json").read_text(encoding="utf-8"))["service"][name]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def flask_app_of(release: Path) -> dict[str, str]:
    """FLASK_APP, by which `flask` finds the app that is served; nothing if the source says it itself.

    For the names that `flask` looks for on its own, the module is enough. It then finds the app also behind a middleware.
    """
    for name in (".flaskenv", ".env"):
        with contextlib.suppress(OSError):
            if "FLASK_APP" in (release / "src" / name).read_text(encoding="utf-8", errors="replace"):
                return {}
    wsgi = service_of(release, "wsgi")
    module, _colon, attribute = wsgi.partition(":")
    return {"FLASK_APP": module if attribute in ("app", "application") else wsgi} if module else {}


def program_of(release: Path, name: str) -> str:
    """The path of a program of the virtual environment, or the name as it is."""
    own = release / "venv" / "bin" / name
    return str(own) if "/" not in name and os.access(own, os.X_OK) else name


def with_log(release: Path, program: str, arguments: list[str]) -> tuple[str, list[str]]:
    """How to start a program of supervisor's that Python runs, so that its log is the app's; others start as they are.

    Instances have a log of their own, what a person starts talks to that person, and what a program starts talks to the program.
    """
    python = str(release / "venv" / "bin" / "python")
    starter = str(release / "lib" / "pygun_runtime" / "program.py")
    if not is_program_of_release(service_of(release, "run_dir")):
        return program, arguments
    if program in (python, f"{python}3"):
        options = [word for word in arguments[:1] if word == "-u"]
        words = arguments[len(options) :]
        if words and (words[0] == "-m" or not words[0].startswith("-")) and words != ["-m"]:
            return python, [*options, starter, *words]
    elif os.path.dirname(program) == os.path.dirname(python) and is_python(program):
        return python, [starter, program, *arguments]
    return program, arguments


def is_program_of_release(run_dir: str) -> bool:
    """Whether launch.py has just written down that this process is such a program: a child inherits the variables, and not the pid."""
    name = os.environ.get("SUPERVISOR_PROCESS_NAME", "")
    if "." not in name or not run_dir:
        return False
    try:
        return json.loads(Path(run_dir, f"{name}.json").read_bytes())["pid"] == os.getpid()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_python(program: str) -> bool:
    """Whether a program of a virtual environment is a script of its Python, as pip and uv write them."""
    try:
        with open(program, "rb") as stream:
            beginning = stream.read(512)
    except OSError:
        return False
    first, second = [*beginning.splitlines(), b"", b""][:2]
    return first.startswith(b"#!") and (b"python" in first or second.startswith(b"'''exec'"))


def search_path(release: Path, path: str) -> str:
    """PATH as an activated virtual environment has it: a shell that is PROGRAM finds what PROGRAM itself would be found by."""
    own = str(release / "venv" / "bin")
    return ":".join([own, *(folder for folder in (path or os.defpath).split(":") if folder != own)])


def main() -> None:
    release = Path(__file__).resolve().parents[2]
    if len(sys.argv) < 2:
        sys.exit(USAGE)
    try:
        values, digest = env_files.environment(str(release), service_of(release, "env_file"))
        values = {**flask_app_of(release), **os.environ, **values, MARK: digest}
        values = {name: value.replace(env_files.PLACEHOLDER, str(release)) for name, value in values.items()}
        values["PATH"] = search_path(release, values.get("PATH", ""))
        program, *arguments = (word.replace(env_files.PLACEHOLDER, str(release)) for word in sys.argv[1:])
        program, arguments = with_log(release, program_of(release, program), arguments)
        os.chdir(release / "src" if (release / "src").is_dir() else release)
        os.execvpe(program, [program, *arguments], values)  # noqa: S606
    except env_files.EnvFileError as error:
        sys.exit(f"pygun: {error}")
    except OSError as error:
        sys.exit(f"pygun: cannot run {program} of release {release}: {error.strerror}")


if __name__ == "__main__":
    main()
