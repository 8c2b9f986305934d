# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The object that `pygun.py` works with: it has the values that settings need, and attaches the hooks."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import gunicorn

from . import env_file as env_files
from . import forks, handover, headers, instance_log, patching, processors, prometheus, run
from .accelerators import Accelerators
from .lifecycle import Lifecycle
from .log_line import SHORTEST_SECRET, Redaction
from .readiness import Records
from .settings import ignored, known

#: The lossless worker uses gunicorn's internals: these are the versions that its tests ran against.
TESTED_GUNICORN = ("27.0.1",)
LOSSLESS_WORKER = "pygun_runtime.worker.LosslessGeventWorker"
LOGGER = "pygun_runtime.logs.Logger"
LOGGER_WITH_METRICS = "pygun_runtime.logs.StatsdLogger"

_from_file: set[str] = set()  # variables set from the environment file; a HUP may find them gone


class Runtime:
    """One app's place on this host.

    file: `__file__` of pygun.py; its folder is the release, its subfolder src/ (if there is one) the source
    app: name of the app
    bind: address to bind when no socket is handed over
    run_dir: folder of sockets and records; PYGUN_RUN_DIR takes precedence
    env_file: variables for the app, read at each start and HUP
    health_path: asked in process before a worker accepts, healthy is 2xx and 3xx; "" asks "/" and takes any
        answer below 500
    health_host: Host header of that request
    boot_timeout: seconds that importing the app and its health check may take, together
    body_timeout: seconds that the body of a request may take; 0 is no limit
    log_dir: folder of <instance>.log, which must exist; without it, and by hand, lines go to stdout
    log_format: "json" or "text"
    log_to: any of "file", "journald" and "syslog"
    log_health: whether healthy answers of health_path have access lines; those of "" and "/" always have
    log_query: whether query strings are logged
    log_redact: names of query parameters, and of variables of env_file, whose values are masked
    accelerators: one entry for each worker of all instances, set in its environment before it imports the app; for each dirty
        worker in the place of those, if the app has any
    accelerator_variable: the variable that has it
    """

    def __init__(
        self,
        file: str,
        *,
        app: str,
        bind: str | list[str] = "127.0.0.1:8000",
        run_dir: str | None = None,
        env_file: str | None = None,
        health_path: str = "",
        health_host: str = "localhost",
        boot_timeout: float = 30,
        body_timeout: float = 0,
        log_dir: str | None = None,
        log_format: str = "json",
        log_to: tuple[str, ...] | list[str] = ("file",),
        log_health: bool = False,
        log_query: bool = True,
        log_redact: tuple[str, ...] | list[str] = (),
        accelerators: tuple[str | int, ...] | list[str | int] = (),
        accelerator_variable: str = "CUDA_VISIBLE_DEVICES",
    ):
        self.app = app
        release = Path(file).resolve().parent
        self.release_path = str(release)
        self.release = release.name
        self.health_path = health_path or ""
        self.health_host = health_host
        self.boot_timeout = boot_timeout
        self.body_timeout = body_timeout
        self.gated = os.environ.get("PYGUN_GATE") == "1"
        self.notes: list[tuple[str, str]] = []  # (level, text): there is no log yet

        self.instance = os.environ.get("SUPERVISOR_PROCESS_NAME") or None
        self.accelerators = Accelerators(accelerators, accelerator_variable, self.instance)
        self.run_dir = self._usable_run_dir(os.environ.get("PYGUN_RUN_DIR") or run_dir)
        self.records = Records(self.run_dir, self.instance)
        values, self.env_digest = self._load_environment(env_file)
        prometheus.make_directory()
        self.asks_for_dirty_workers = patching.asks_for_dirty_workers(file)
        patching.patch_for(file, self.source, boot_timeout)
        self.notes += [("warning", text) for text in patching.said]
        instance_log.configure(
            instance_log.Settings(
                app=app,
                release=self.release,
                instance=self.instance,
                log_dir=os.environ.get("PYGUN_LOG_DIR") or log_dir,
                run_dir=self.run_dir,
                format=log_format,
                to=tuple(log_to),
                unlogged=self._unlogged(log_health),
                redaction=Redaction(log_query, log_redact, self._secrets(values, log_redact)),
            )
        )

        private = self.run_dir / f"{self.instance}.sock" if self.run_dir else None
        self.handover = handover.take(app, private)
        self.bind = self.handover.binds if self.handover else bind
        if self.handover:
            forks.serve(self.handover.fds)

    @property
    def source(self) -> str:
        """The folder to run in: the real path, because the `current` link moves."""
        source = Path(self.release_path, "src")
        return str(source) if source.is_dir() else self.release_path

    @property
    def worker_class(self) -> str:
        """The lossless gevent worker, or gunicorn's own if this gunicorn is not one it was tested with."""
        if gunicorn.__version__ in TESTED_GUNICORN:
            return LOSSLESS_WORKER
        self.notes.append(
            (
                "warning",
                f"gunicorn {gunicorn.__version__} is not known to the lossless worker (it knows "
                f"{', '.join(TESTED_GUNICORN)}): using gunicorn's gevent worker, restarts can lose requests",
            )
        )
        return "gevent"

    @property
    def logger_class(self) -> str:
        """One line per event, in the log of the instance; any other class is gunicorn's business alone."""
        return LOGGER

    @property
    def control_socket(self) -> str | None:
        """A control socket of this instance: gunicorn's default path is shared by all masters of a user.

        None if this gunicorn has no such thing; `attach` then takes the setting out.
        """
        if "control_socket" not in known():
            return None
        if self.run_dir:
            return str(self.run_dir / f"{self.instance}.ctl")
        from gunicorn.config import ControlSocket

        return ControlSocket.default

    def workers(self, maximum: int | None = None) -> int:
        """Worker processes for this instance: one for each of its accelerators, if these are not for dirty workers.

        Otherwise its share of the processors, at least 1, at most *maximum*.
        """
        if self.accelerators.own and not self.asks_for_dirty_workers:
            return len(self.accelerators.own)
        instances = os.environ.get("PYGUN_INSTANCES", "1")
        return processors.share(int(instances) if instances.isdigit() else 1, maximum)

    def per_instance(self, path: str) -> str:
        """*path* with the instance's name before its suffix: x.scoring-0.pid for x.pid."""
        whole = Path(path)
        return str(whole.with_name(f"{whole.stem}.{self.instance}{whole.suffix}")) if self.instance else path

    def attach(self, settings: dict) -> None:
        """Complete *settings* (the globals of pygun.py): the sockets, and hooks around those it defines itself.

        Must be the last line: it puts the boot under a time limit, and takes gunicorn's command line out of
        sight of an app that parses sys.argv at import.
        """
        if "control_socket" not in known() and settings.get("control_socket", "") is None:
            del settings["control_socket"]
        self.notes += [("warning", text) for text in ignored(settings)]
        if vain := patching.in_vain(settings.get("worker_class")):
            self.notes.append(("warning", vain))
        headers.believe_nobody(settings)
        for name in known() & set(settings):
            settings[name] = self._placed(settings[name])
        settings["bind"] = self.bind
        if self.instance:
            # gunicorn makes the name of its dirty arbiter's pid file of it, and kills whom it finds there.
            settings["proc_name"] = self._name_of_instance(settings.get("proc_name"))
        if settings.get("logger_class") == LOGGER and settings.get("statsd_host"):
            settings["logger_class"] = LOGGER_WITH_METRICS
        lifecycle = Lifecycle(self)
        lifecycle.hook_all(settings)
        self.dirty = lifecycle.dirty
        lifecycle.begin_boot(sys.argv)

    def _placed(self, value):
        """The value of a setting, with the folder of this release in the place of `{release}`."""
        if isinstance(value, str):
            return value.replace(env_files.PLACEHOLDER, self.release_path)
        return [self._placed(entry) for entry in value] if isinstance(value, list) else value

    def _name_of_instance(self, given: str | None) -> str:
        """What ps and gunicorn call it; *given* is the app's own name for all of its instances."""
        return f"{given}-{self.instance.rpartition('-')[2]}" if given else self.instance

    def _usable_run_dir(self, path: str | None) -> Path | None:
        if self.instance is None:
            self.notes.append(("debug", "not started by supervisor: no records, no private socket"))
            return None
        if not path or not os.access(path, os.W_OK | os.X_OK):
            self.notes.append(("warning", f"run_dir {path} cannot be written: no records, no private socket"))
            return None
        return Path(path).absolute()

    def _unlogged(self, log_health: bool) -> frozenset[str]:
        """The paths whose healthy answers have no access line; "/" is a page as well."""
        path = self.health_path.partition("?")[0]
        if log_health or path in ("", "/"):
            return frozenset()
        return frozenset({path, os.environ.get("SCRIPT_NAME", "").rstrip("/") + path})

    def _secrets(self, values: dict[str, str], names) -> list[str]:
        found = {name: values[name] for name in names if values.get(name)}
        for name in [name for name, value in found.items() if len(value) < SHORTEST_SECRET]:
            text = f"the value of {name} is shorter than {SHORTEST_SECRET} characters: it cannot be masked in the log"
            self.notes.append(("warning", text))
        return list(found.values())

    def _load_environment(self, path: str | None) -> tuple[dict[str, str], str]:
        """Set the app's environment, for a HUP too: TZ works at once, the rest of what a process reads at its start does not."""
        values, digest = env_files.environment(self.release_path, path)
        if not _from_file:  # not a HUP
            run.gunicorn_again(values, digest)
        for key in _from_file - set(values):
            os.environ.pop(key, None)
        os.environ.update({**values, run.MARK: digest})
        time.tzset()
        _from_file.clear()
        _from_file.update(values)
        return values, digest
