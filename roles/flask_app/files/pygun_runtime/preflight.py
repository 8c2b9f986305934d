# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try this release without serving: `run.py python preflight.py FD`, run as the app's user.

Does the steps of a worker before it accepts, and stops there: settings, worker class, import of the app, health check.
Each step is announced on file descriptor FD as a line of JSON before it begins, so that its reader knows where a crash struck:
{"step": ...}. The other lines are {"late": true} when the time limit strikes, {"problem": ...} and, at the end, {"done": {...}}.
"""

from __future__ import annotations

import sys

if sys.path[:1] == [__file__.rpartition("/")[0]]:
    sys.path[0] = sys.prefix + "/bin"  # where gunicorn's program is; the modules beside this file have a package
sys.path.append(__file__.rpartition("/pygun_runtime/")[0])

import contextlib
import faulthandler
import json
import os
import re
import threading
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path

from gunicorn import util
from gunicorn.config import Config
from gunicorn.errors import AppImportError
from gunicorn.glogging import Logger

import pygun_runtime
from pygun_runtime import dirty, health, keys, patching, phrases, prometheus, settings, suggestions, time_limit, traits
from pygun_runtime.writes import Writes

#: Lines of an error that only name a page about it.
_POINTER = re.compile(r"\(Background on this error|For further information")


class Refused(Exception):
    """The release cannot serve; the text says why."""


def settings_of(file: Path) -> dict:
    """The names that pygun.py defines, as gunicorn would read them."""
    names = {"__file__": str(file), "__name__": "__config__"}
    exec(compile(file.read_text(encoding="utf-8-sig"), str(file), "exec"), names)  # noqa: S102
    return names


def configure(names: dict) -> Config:
    """gunicorn's configuration from the settings; one that gunicorn would ignore in silence is refused too."""
    known = settings.known()
    config = Config()
    for name, value in names.items():
        if name in known:
            try:
                config.set(name, value)
            except Exception as error:
                raise Refused(f"Invalid value for {name}: {value!r} ({error})") from None
    for text in settings.ignored(names):
        raise Refused(text)
    return config


def try_release(announce, writes: Writes) -> dict:
    """Go through the steps; returns facts about the release."""
    release = Path(__file__).resolve().parents[2]
    said = warnings_of_the_app()
    announce("settings")
    sys.path.insert(0, os.getcwd())  # as gunicorn does before it reads its settings
    names = settings_of(release / "pygun.py")
    config = configure(names)
    runtime = next(value for value in names.values() if isinstance(value, pygun_runtime.Runtime))

    announce("worker class")
    try:
        worker_class = config.worker_class
    except Exception as error:
        raise Refused(f"Invalid value for worker_class: {config.worker_class_str!r} ({error})") from None

    announce("import")
    os.chdir(config.chdir)
    sys.path.insert(0, config.chdir)
    for path in filter(None, (config.pythonpath or "").split(",")):
        sys.path.insert(0, os.path.abspath(path))
    os.environ.update(config.env)
    runtime.accelerators.give(0)
    keys.watch()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if runtime.dirty:  # before gevent patches anything, as in a master
            dirty.read_counts_in_children(runtime.boot_timeout)
            stack.enter_context(dirty.one_of_each(config, runtime.dirty, Logger(config)))
        if config.preload_app:
            import_app(config)
            said += threads_left_behind()
        if patching.is_gevent(worker_class):
            patching.patch()  # as the worker does; the master has done it, if it could know
        wsgi = import_app(config)
        imported = time.monotonic() - started
        if runtime.dirty:
            announce("dirty workers")
            try:
                runtime.dirty.wait(started + runtime.boot_timeout)
            except dirty.Failed as error:
                raise Refused(f"{phrases.DIRTY_FAILED} {error}") from None

        announce("health", asks=health.below_script_name(runtime.health_path or "/"))
        status = health.check(wsgi, runtime.health_path, runtime.health_host, config)
    resident, own = _memory()
    return {
        "import_s": round(imported, 3),
        "health": status,
        "workers": config.workers,
        "memory_kb": resident,
        "own_memory_kb": own,
        "preload": config.preload_app,
        "warnings": patching.said + said + writes.warnings(),
        **traits.traits(config.chdir, patching.is_gevent(worker_class)),
    }


def import_app(config: Config):
    """The app, as gunicorn imports it. If flask_app_wsgi names something that does not exist, the refusal suggests names that do."""
    module, _colon, name = config.wsgi_app.partition(":")
    try:
        return util.import_app(config.wsgi_app)
    except ModuleNotFoundError as error:
        # Of the metadata of a package that is not installed it says the same.
        if isinstance(error, metadata.PackageNotFoundError) or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the app imports
        missing = f"no module {error.name!r}"
    except AppImportError as error:
        if "Failed to find attribute" not in str(error):
            raise
        missing = f"{module!r} has no {name.partition('(')[0]!r}"
    there = ", ".join(suggestions.targets(config.wsgi_app, config.chdir))
    raise Refused(f"{phrases.NOT_THERE} {missing}" + (f"; {phrases.THERE_IS} {there}" if there else ""))


def summary(error: Exception) -> str:
    """The error in one line. Of a long text the beginning counts: what SQLAlchemy and pydantic put at the end is an address."""
    shown = traceback.format_exception_only(error)
    name = type(error).__qualname__
    text = next((part for part in reversed(shown) if name in part.partition(":")[0]), shown[-1])
    lines = [line.strip() for line in text.splitlines()]
    return " ".join([lines[0], *(line for line in lines[1:3] if not _POINTER.match(line))])[:300]


def warnings_of_the_app() -> list[str]:
    """A list that grows with what gevent says of patches that the app makes itself, and scikit-learn of models of another version."""
    said: list[str] = []
    show = warnings.showwarning

    def note(message, category, *arguments, **options):
        if category.__name__ == "MonkeyPatchWarning":
            said.append(patching.TOO_LATE + str(message))
        if category.__name__ == "InconsistentVersionWarning":
            said.append(str(message).partition("\n")[0])
        show(message, category, *arguments, **options)

    warnings.showwarning = note
    return said


def threads_left_behind() -> list[str]:
    """Threads of the master do not exist in the workers that it forks; gevent's, which are no threads, do."""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not names or patching.is_patched():
        return []
    return [
        f"The app starts threads as it is imported ({', '.join(names)}): with flask_app_preload they run in the master, and its"
        " workers have none of them. Start them in a hook, post_worker_init of flask_app_pygun_extra, or leave preload off."
    ]


def _memory() -> tuple[int, int]:
    """The memory of this process, and the part of it that other processes cannot share."""
    _size, resident, shared = (int(pages) for pages in Path("/proc/self/statm").read_text().split()[:3])
    unit = os.sysconf("SC_PAGE_SIZE")
    return resident * unit // 1024, (resident - shared) * unit // 1024


def main() -> None:
    out = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    sys.argv[1:] = []
    faulthandler.enable()  # a crash in native code then shows where
    os.dup2(2, 1)  # what the app prints belongs to the log, not to our answer

    def tell(**line) -> None:
        print(json.dumps(line), file=out, flush=True)

    # The limit may strike while a line is written, hence without the buffer.
    time_limit.listeners.append(lambda: os.write(out.fileno(), b'{"late": true}\n'))
    writes = Writes(str(Path(__file__).resolve().parents[2]))
    try:
        facts = try_release(lambda step, **more: tell(step=step, **more), writes)
    except (Refused, health.Unhealthy) as error:
        tell(problem=str(error))
        print(*patching.said, sep="\n", file=sys.stderr)
        status = 1
    except Exception as error:
        tell(problem=writes.naming(summary(error)))
        traceback.print_exc()
        status = 1
    else:
        tell(done=facts)
        status = 0
    sys.stderr.flush()
    prometheus.forget(os.getpid())
    os._exit(status)  # threads that the app started must not hold this back


if __name__ == "__main__":
    main()
