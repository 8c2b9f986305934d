# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gunicorn hooks of an instance, from its start to its end. They know no worker class; only the request's id costs
something per request.

A boot is bounded: importing the app and its health check have `boot_timeout` seconds together, in the master
too (preload). A worker that fails its health check

* refuses to serve in the first boot of a master that an activation started (PYGUN_GATE=1);
* serves all the same otherwise, with a warning: one dependency that is down must not empty the pool.

Workers that end before they are ready, three in a row, end the master: gunicorn would start them for ever.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import signal
import sys
import time
from importlib import metadata

import gunicorn
from gunicorn.errors import HaltServer

from . import (
    body_limit,
    dirty,
    forks,
    headers,
    health,
    instance_log,
    log_capture,
    logs,
    patching,
    phrases,
    prometheus,
    request_id,
    signals,
    threads,
)
from .dirty import DirtyWorkers
from .settings import known
from .time_limit import TimeLimit, TimeLimitExceeded

#: The hooks that an instance needs, and how many arguments gunicorn gives them.
HOOKS = {
    "on_starting": 1,
    "on_reload": 1,
    "pre_fork": 2,
    "post_fork": 2,
    "post_worker_init": 1,
    "pre_request": 2,
    "child_exit": 2,
    "worker_exit": 2,
    "nworkers_changed": 3,
    "pre_exec": 1,
    "on_exit": 1,
}

#: Those that an instance with dirty workers needs too.
DIRTY_HOOKS = {"on_dirty_starting": 1, "dirty_post_fork": 2, "dirty_worker_init": 1, "dirty_worker_exit": 2}

#: The app's own hook goes first here: its preparations are checked and bounded too, and its children are not workers.
_OWN_HOOK_FIRST = {"post_worker_init", "pre_fork", "dirty_worker_init"}

EARLY_EXITS = 3
BOOT_FAILED = 3  # gunicorn's WORKER_BOOT_ERROR: a worker's exit code that ends the master

#: What ends a worker.
_STOPS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}

#: Seconds for the health check of a worker that will serve whatever it says.
LENIENT_HEALTH_LIMIT = 5.0


class _Boot:
    """The state of one worker's boot in master and worker; its end is in shared memory."""

    READY, STOPPED = 1, 2

    def __init__(self, gated: bool):
        self.gated = gated
        self.started = time.monotonic()
        self._end = mmap.mmap(-1, 1)

    def end(self, how: int) -> None:
        self._end[0] = how

    @property
    def ready(self) -> bool:
        return self._end[0] == self.READY

    @property
    def stopped(self) -> bool:
        """Whether the worker was told to end before it was ready."""
        return self._end[0] == self.STOPPED


class Lifecycle:
    """The hooks of one execution of pygun.py; state that outlives a HUP is on gunicorn's server object."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.limit = TimeLimit()
        self.arguments: list[str] = []
        self.told = mmap.mmap(-1, signal.NSIG)  # see signals.Handlers; the workers share it
        self.dirty: DirtyWorkers | None = None  # if the app has any

    def hook_all(self, settings: dict) -> None:
        """Put the hooks of an instance into *settings*, around the app's own."""
        names = list(HOOKS)
        if settings.get("dirty_apps") and settings.get("dirty_workers") and "dirty_apps" in known():
            self.dirty = DirtyWorkers(self.runtime.boot_timeout, self.runtime.accelerators)
            names += DIRTY_HOOKS
        for name in names:
            settings[name] = self.hook(name, settings.get(name))

    def hook(self, name: str, own):
        """Our hook *name*, joined with the one that pygun.py defines itself (None, a function or "module.function")."""
        ours = getattr(self, name)
        if own is None:
            return ours if name != "pre_request" or self.runtime.body_timeout else request_id.begin
        from gunicorn.config import validate_callable

        parameters = {**HOOKS, **DIRTY_HOOKS}[name]
        own = validate_callable(parameters)(own)
        first, second = (own, ours) if name in _OWN_HOOK_FIRST else (ours, own)
        # gunicorn counts the parameters of a hook, so *args will not do.
        if parameters == 1:
            return lambda a: (first(a), second(a))[0]
        if parameters == 2:
            return lambda a, b: (first(a, b), second(a, b))[0]
        return lambda a, b, c: (first(a, b, c), second(a, b, c))[0]

    # ---- in the master -------------------------------------------------------------------------------------------

    def begin_boot(self, arguments: list[str]) -> None:
        """From here to on_starting (or on_reload) the master may import the app: preload_app."""
        self.arguments = arguments[1:]
        arguments[1:] = []
        signals.watch_gevent()
        forks.watch()
        self.limit.start(self.runtime.boot_timeout, BOOT_FAILED, self._master_is_late)

    def _master_is_late(self, stack: str) -> None:
        seconds = self.runtime.boot_timeout
        print(f"pygun: the master {phrases.MASTER_LATE} {seconds} s; it is at:\n{stack}", file=sys.stderr)
        sys.stderr.flush()

    def _end_boot(self) -> None:
        self.limit.stop()
        sys.argv[1:] = self.arguments  # a HUP parses the command line again

    def on_starting(self, server) -> None:
        self._end_boot()
        server.START_CTX["args"] = [sys.executable, *sys.argv]
        if self.runtime.handover:
            server.systemd = True  # the public socket is not ours: gunicorn must not unlink its path
        server.pygun_early_exits = 0
        server.pygun_reloads = 0
        server.pygun_dirty = self.dirty
        server.pygun_gate = server.num_workers if self.runtime.gated else 0
        server.pygun_started = time.time()
        _tolerate_failing_workers_in_stop(server)
        _halt_in_main_loop(server)
        for level, text in self.runtime.notes:
            getattr(server.log, level)("%s", text)
        server.pygun_own_handlers = signals.hold_in_master(server, self.told)
        self._try(server.log, self.runtime.records.clear)
        self._try(server.log, prometheus.sweep)
        if self.dirty:
            dirty.read_counts_in_children(self.runtime.boot_timeout)
            dirty.stop_after_workers(server)
        self._write_record(server)

    def on_reload(self, server) -> None:
        self._end_boot()
        server.pygun_reloads += 1
        if self.dirty:  # the arbiter goes on with the memory that it has
            self.dirty = server.pygun_dirty = server.pygun_dirty or self.dirty
        if isinstance(server.log, logs.Logger):
            server.log.follow(server.cfg)
        server.pygun_own_handlers.update(signals.hold_in_master(server, self.told))
        self._write_record(server)

    def nworkers_changed(self, server, _new, _old) -> None:
        if hasattr(server, "pygun_started"):
            self._write_record(server)

    def _write_record(self, server) -> None:
        runtime = self.runtime
        lossless = bool(getattr(server.worker_class, "lossless", False))
        record = {
            "instance": runtime.instance,
            "pid": os.getpid(),
            "app": runtime.app,
            "release": runtime.release,
            "release_path": runtime.release_path,
            "workers": server.num_workers,
            "worker_class": "gevent" if lossless else server.cfg.worker_class_str,
            "lossless": lossless,
            "gunicorn": gunicorn.__version__,
            "gevent": _version("gevent"),
            "env_digest": runtime.env_digest,
            "started": server.pygun_started,
            "gated": runtime.gated,
            "dirty_workers": server.cfg.dirty_workers if self.dirty else 0,
        }
        self._try(server.log, runtime.records.write_master, record)

    def pre_fork(self, server, worker) -> None:
        if signals.taken(server):  # by a hook of the app
            server.pygun_own_handlers.update(signals.hold_in_master(server, self.told))
        worker.pygun_boot = _Boot(gated=server.pygun_gate > 0)
        server.pygun_gate = max(0, server.pygun_gate - 1)
        worker.pygun_place = _free_place(server)
        forks.inherit(server.LISTENERS, by_programs=False)
        forks.serve(listener.fileno() for listener in server.LISTENERS)
        forks.announce()

    def child_exit(self, server, worker) -> None:
        self._try(server.log, self.runtime.records.remove_ready, server.pid, worker.pid)
        self._try(server.log, self.runtime.records.retire_served, server.pid, worker.pid)
        self._try(server.log, prometheus.mark_dead, worker.pid)
        boot = worker.pygun_boot
        if boot.ready:
            server.pygun_early_exits = 0
            return
        if boot.stopped or not server.LISTENERS:  # the master is stopping
            return
        server.pygun_early_exits += 1
        server.pygun_gate += boot.gated  # whoever takes its place is gated as well
        took = time.monotonic() - boot.started
        if took >= self.runtime.boot_timeout:
            reason = f"a worker was {phrases.WORKER_LATE} {self.runtime.boot_timeout} s and had to be ended"
        elif server.pygun_early_exits >= EARLY_EXITS:
            reason = f"{EARLY_EXITS} workers in a row {phrases.ENDED_EARLY}, the last one after {took:.1f} s"
        else:
            return
        server.log.error("Giving up: %s", reason)
        raise HaltServer(reason, BOOT_FAILED)

    def pre_exec(self, server) -> None:
        """USR2, in the forked child: a second master would fight over the private socket and the records."""
        if self.runtime.instance:
            server.log.error("USR2 is not supported under supervisor: restart the instance instead")
            os._exit(1)
        forks.inherit(server.LISTENERS, by_programs=True)

    def on_exit(self, server) -> None:
        self._try(server.log, self.runtime.records.remove_own, os.getpid())
        if self.runtime.handover:
            self.runtime.handover.remove_private()

    # ---- in the dirty arbiter and its workers ----------------------------------------------------------------------

    def on_dirty_starting(self, arbiter) -> None:
        self.dirty.arbiter_begins(arbiter)
        self._try(arbiter.log, self.runtime.records.write_dirty_arbiter, arbiter.ppid, self.dirty.record())

    def dirty_post_fork(self, arbiter, worker) -> None:
        worker.pygun_place = self.dirty.free_place(arbiter, worker)

    def dirty_worker_init(self, worker) -> None:
        record = {"pid": worker.pid, "accelerator": worker.pygun_accelerator}
        self._try(worker.log, self.runtime.records.write_dirty, self.dirty.master, worker.pid, record)
        self.dirty.ready(worker)

    def dirty_worker_exit(self, arbiter, worker) -> None:
        self.dirty.ended(arbiter, worker)
        self._try(arbiter.log, self.runtime.records.remove_dirty, arbiter.ppid, worker.pid)

    # ---- in a worker ---------------------------------------------------------------------------------------------

    def post_fork(self, server, worker) -> None:
        _end_when_stopped(server, worker.pygun_boot)
        sys.argv[1:] = []
        instance = (self.runtime.instance or "").rpartition("-")[2]
        os.environ["PYGUN_WORKER"] = f"{instance if instance.isdigit() else 0}-{worker.pygun_place[1]}"
        give = self.runtime.accelerators.give
        worker.pygun_accelerator = None if self.dirty else give(worker.pygun_place[1], worker.log)
        worker.pygun_handlers = signals.Handlers(worker, server.pygun_own_handlers, self.told)
        if isinstance(worker.log, logs.Logger):
            log_capture.install_in_gevent(instance_log.instance_log().say)
        self.limit = TimeLimit()

        def late(stack):
            worker.log.error(f"Worker {phrases.WORKER_LATE} %s s; it is at:\n%s", self.runtime.boot_timeout, stack)

        self.limit.start(self.runtime.boot_timeout, BOOT_FAILED, late)

    def post_worker_init(self, worker) -> None:
        boot = worker.pygun_boot
        health_state = self._check_health(worker, boot)
        self.limit.stop()
        worker.pygun_handlers.put_back()
        request_id.attach(worker)
        headers.watch(worker.log)
        if patching.is_gevent(type(worker)):
            from .loop_watch import LoopWatch

            worker.pygun_loop_watch = LoopWatch(worker.log)
        record = {
            "pid": worker.pid,
            "master": worker.ppid,
            "release": self.runtime.release,
            "at": time.time(),
            "health": health_state,
            "accelerator": worker.pygun_accelerator,
        }
        self._try(worker.log, self.runtime.records.write_ready, worker.ppid, worker.pid, record)
        boot.end(boot.READY)
        self._count_requests(worker)

    def pre_request(self, worker, request) -> None:
        request_id.begin(worker, request)
        if self.runtime.body_timeout:
            body_limit.begin(request, self.runtime.body_timeout)

    def _count_requests(self, worker) -> None:
        """Publish the worker's request count with its heartbeat, so that a request costs nothing more."""
        beat, told, at, looked = worker.notify, 0, 0.0, 0.0
        self._tell_requests(worker)

        def notify():
            nonlocal told, at, looked
            beat()
            if time.monotonic() - looked >= 1.0:
                looked = time.monotonic()
                worker.pygun_handlers.put_back()
            if worker.nr != told and time.monotonic() - at >= 1.0:  # some workers' hearts beat with each request
                told, at = worker.nr, time.monotonic()
                self._tell_requests(worker)

        worker.notify = notify

    def _tell_requests(self, worker) -> None:
        if os.getppid() != worker.ppid:
            return  # the count belongs to the master, which is gone
        with contextlib.suppress(OSError):  # not worth a line a second
            self.runtime.records.write_served(worker.ppid, worker.pid, worker.nr)

    def worker_exit(self, _server, worker) -> None:
        if worker.pygun_boot.ready:
            self._tell_requests(worker)
        handlers = getattr(worker, "pygun_handlers", None)
        if handlers and worker.pid == os.getpid():  # or the master has found it gone
            handlers.finish()
            forks.end_children()
            threads.name_those_that_hold(worker.log, worker.cfg.graceful_timeout)

    def _check_health(self, worker, boot) -> str:
        """ "ok" or "failed: why"; a gated worker whose check fails ends here."""
        if self.dirty:
            self.limit.stop()
            try:
                self.dirty.wait(boot.started + self.runtime.boot_timeout)
            except dirty.Failed as error:
                return self._unhealthy(worker, boot, f"{phrases.DIRTY_FAILED} {error}")
        seconds = self.runtime.boot_timeout - (time.monotonic() - boot.started)
        if not boot.gated:
            seconds = min(seconds, LENIENT_HEALTH_LIMIT)
        seconds = max(seconds, 0.1)
        where = []
        asked = health.below_script_name(self.runtime.health_path or "/")
        self.limit.start(seconds, BOOT_FAILED, where.append)
        try:
            health.check(worker.wsgi, self.runtime.health_path, self.runtime.health_host, worker.cfg)
            return "ok"
        except TimeLimitExceeded:
            why = f"GET {asked} {phrases.NO_ANSWER} within {seconds:.1f} s"
            detail = "; it is at:\n" + "".join(where)
        except health.Unhealthy as error:
            why = str(error)
            detail = ""
        except Exception as error:
            worker.log.exception("The health check raised an exception")
            why = f"GET {asked} {phrases.RAISED} {type(error).__name__}: {error}"
            detail = ""
        return self._unhealthy(worker, boot, why, detail)

    @staticmethod
    def _unhealthy(worker, boot, why: str, detail: str = "") -> str:
        if boot.gated:
            worker.log.error("Health check failed, refusing to serve: %s%s", why, detail)
            sys.exit(BOOT_FAILED)
        worker.log.warning("Health check failed, serving all the same: %s%s", why, detail)
        return f"failed: {why}"

    @staticmethod
    def _try(log, action, *arguments) -> None:
        """Records help an activation; a full or missing run directory must not stop the service."""
        try:
            action(*arguments)
        except OSError as error:
            log.warning("Cannot update the records of this instance: %s", error)


def _free_place(server) -> tuple[int, int]:
    """The smallest number that no other worker has; at a reload, all begin with 0 again, while the old ones finish."""
    taken = {worker.pygun_place for worker in server.WORKERS.values() if hasattr(worker, "pygun_place")}
    reloads = server.pygun_reloads
    return reloads, next(number for number in range(len(taken) + 1) if (reloads, number) not in taken)


def _tolerate_failing_workers_in_stop(server) -> None:
    """Let a stop go on when a worker fails to boot meanwhile.

    gunicorn 27 raises HaltServer from there too, now with nobody to catch it: a release that fails in two
    workers at once ended with a traceback of gunicorn, and without waiting for its other workers.
    """
    reap = server.reap_workers

    def reap_workers():
        while True:
            try:
                return reap()
            except HaltServer:
                if server.LISTENERS:
                    raise

    server.reap_workers = reap_workers


def _halt_in_main_loop(server) -> None:
    """Have a HaltServer end the master that an older gunicorn raises in its handler of SIGCHLD.

    Before 24, workers are reaped there, and gevent calls that handler in its event loop, where an exception ends nothing.
    """
    if hasattr(server, "signal_chld"):
        return
    murder, halted = server.murder_workers, []

    def handle_chld(*_signal):
        try:
            server.reap_workers()
        except HaltServer as error:
            halted.append(error)
        server.wakeup()

    def murder_workers():
        if halted:
            raise halted.pop()
        murder()

    server.handle_chld, server.murder_workers = handle_chld, murder_workers


def _end_when_stopped(server, boot: _Boot) -> None:
    """Let a stop end a worker that has no signal handlers of its own yet.

    gunicorn 27 leaves it those of its master until then, which put what comes into a queue that nobody reads: the
    worker went on to serve, and was killed with its requests in flight when graceful_timeout was over.
    """

    def end(*_signal):
        boot.end(boot.STOPPED)
        sys.exit(0)

    missed = set()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    for number in _STOPS:
        signal.signal(number, end)
    with contextlib.suppress(queue.Empty, IndexError):
        take = getattr(server.SIG_QUEUE, "get_nowait", None) or server.SIG_QUEUE.pop  # a list in other gunicorns
        while True:
            missed.add(take())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    if missed & _STOPS:
        end()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
