# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's dirty workers belong to the boot of an instance.

gunicorn starts a dirty arbiter beside the workers, and starts a dirty worker that fails again, for ever: the instance serves
without it. Here a worker is not ready before the dirty workers of its master are. What they find out about themselves is
shared memory, which master, arbiter, dirty workers and workers have in common.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import struct
import time
import traceback

from . import phrases
from .child import answer_of
from .launch import end_with_parent
from .time_limit import TimeLimit

#: Seconds for which all dirty workers have to stay up.
STEADY = 1.0
#: Seconds, at most, that a dirty worker waits that takes the place of one that has failed.
LONGEST_PAUSE = 5
BOOT_FAILED = 3  # gunicorn's code for a worker that cannot boot

_POLL = 0.05
_HEAD = struct.Struct("=iii")  # how often an arbiter began, how many dirty workers it wants, how many failed in a row
_TEXT = 1000
_PLACES = 4096  # a byte for each dirty worker, by its age
_SIZE = _HEAD.size + _TEXT + _PLACES


class Failed(Exception):
    """The dirty workers are not up, and why."""


class DirtyWorkers:
    """The dirty workers of one master.

    boot_timeout: seconds that loading their apps may take
    accelerators: those of the instance, one for each dirty worker
    """

    def __init__(self, boot_timeout: float, accelerators):
        self.boot_timeout = boot_timeout
        self.accelerators = accelerators
        self.master = 0
        self.passed = mmap.mmap(-1, 1)  # whether they have been up once, since the master started
        self._shared = mmap.mmap(-1, _SIZE)

    # ---- in the arbiter and its workers ---------------------------------------------------------------------------

    def arbiter_begins(self, arbiter) -> None:
        """In the arbiter, before it starts workers."""
        self.master = arbiter.ppid
        begun, _wanted, failed = self._head()
        self._shared[_HEAD.size + _TEXT :] = bytes(_PLACES)
        self._set_head(begun + 1, _wanted_by(arbiter), failed)
        from gunicorn.dirty.worker import DirtyWorker

        load = DirtyWorker.load_apps

        def load_apps(worker):
            worker.pygun_accelerator = self.accelerators.give(self.free_place(arbiter, worker), worker.log)
            self._load(worker, load)

        DirtyWorker.load_apps = load_apps

    @staticmethod
    def free_place(arbiter, worker) -> int:
        """The smallest number that no other dirty worker has; *worker* itself finds the same as its arbiter."""
        taken = {one.pygun_place for one in arbiter.workers.values() if one is not worker}
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def record(self) -> dict:
        """What the arbiter says about itself."""
        begun, wanted, _failed = self._head()
        return {"pid": os.getpid(), "dirty_workers": wanted, "begun": begun}

    def _load(self, worker, load) -> None:
        """In a dirty worker: have it load its apps within the time of a boot; a stop ends it at once meanwhile."""
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
            signal.signal(number, lambda *_signal: os._exit(0))
        end_with_parent(signal.SIGKILL)  # nobody could ask it any more, and it would keep its model in memory
        time.sleep(min(self._head()[2], LONGEST_PAUSE))  # not many times a second, where it fails each time
        names = ", ".join(worker.app_paths)
        limit = TimeLimit()

        def late(stack):
            worker.log.error(f"Dirty worker {phrases.WORKER_LATE} %g s; it is at:\n%s", self.boot_timeout, stack)
            self._note(f"{names}: {phrases.WORKER_LATE} {self.boot_timeout:g} s")

        limit.start(self.boot_timeout, BOOT_FAILED, late)
        try:
            load(worker)
        except Exception as error:
            self._note(f"{names}: {traceback.format_exception_only(error.__cause__ or error)[-1].strip()}")
            raise
        finally:
            limit.stop()
        worker.init_signals()

    def ready(self, worker) -> None:
        """In a dirty worker, when its apps are loaded."""
        self._shared[_place(worker)] = 1
        if self.passed[0]:
            self._set_head(*self._head()[:2], 0)
            self._note("")

    def ended(self, arbiter, worker) -> None:
        """In the arbiter, when a dirty worker is gone."""
        begun, wanted, failed = self._head()
        was_ready = self._shared[_place(worker)]
        self._shared[_place(worker)] = 0
        if not arbiter.alive:
            return
        if not was_ready or not self.passed[0]:
            self._set_head(begun, wanted, failed + 1)
            if not self._text():
                self._note(f"{', '.join(worker.app_paths)}: its process ended")

    # ---- in a worker ----------------------------------------------------------------------------------------------

    def wait(self, until: float) -> None:
        """Wait until all are up; Failed as soon as they cannot be, or at *until*. Once they have been up, nobody waits again."""
        steady_since, known = None, 0
        while not self.passed[0]:
            begun, wanted, failed = self._head()
            up = self.up()
            now = time.monotonic()
            if (
                begun and up >= wanted and known in (0, begun)
            ):  # also after failures, where the instance serves all the same
                steady_since, known = steady_since or now, begun
                if now - steady_since >= STEADY:
                    self.passed[0] = 1
            else:
                steady_since = None
                if failed:
                    raise Failed(self._text())
                if begun > 1:
                    raise Failed("the dirty arbiter ended, and was started again")
            if now >= until + STEADY:  # a dirty worker that is late says more than this
                raise Failed(f"{up} of {wanted} were up within {self.boot_timeout:g} s")
            time.sleep(_POLL)
        self._set_head(*self._head()[:2], 0)

    def up(self) -> int:
        """How many are up."""
        return self._shared[_HEAD.size + _TEXT :].count(1)

    # ---- shared memory --------------------------------------------------------------------------------------------

    def _head(self) -> tuple[int, int, int]:
        return _HEAD.unpack(self._shared[: _HEAD.size])

    def _set_head(self, *values: int) -> None:
        self._shared[: _HEAD.size] = _HEAD.pack(*values)

    def _text(self) -> str:
        return self._shared[_HEAD.size : _HEAD.size + _TEXT].rstrip(b"\0").decode(errors="replace")

    def _note(self, text: str) -> None:
        self._shared[_HEAD.size : _HEAD.size + _TEXT] = text.encode(errors="replace")[:_TEXT].ljust(_TEXT, b"\0")


def stop_after_workers(server) -> None:
    """Have a stop end the dirty arbiter when the workers have finished: gunicorn does so before, and they need it."""
    kill, reap, later = server.kill_dirty_arbiter, server.reap_dirty_arbiter, []

    def kill_dirty_arbiter(number):
        if number == signal.SIGTERM and server.WORKERS and not server.LISTENERS:
            later.append(number)
        else:
            kill(number)

    def reap_dirty_arbiter():
        if later and not server.WORKERS:
            kill(later.pop())
        reap()

    server.kill_dirty_arbiter, server.reap_dirty_arbiter = kill_dirty_arbiter, reap_dirty_arbiter


@contextlib.contextmanager
def one_of_each(config, dirty: DirtyWorkers, log):
    """An arbiter of the trial, whose only worker has all dirty apps; the process may ask them as a worker does."""
    from gunicorn.dirty import DirtyArbiter, set_dirty_socket_path

    config.set("dirty_workers", 1)
    arbiter = DirtyArbiter(config, log)
    pid = os.fork()
    if not pid:
        try:
            arbiter.run()
        finally:
            os._exit(0)
    set_dirty_socket_path(arbiter.socket_path)
    os.environ["GUNICORN_DIRTY_SOCKET"] = arbiter.socket_path
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STEADY
        while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < end:
            time.sleep(_POLL)
        shutil.rmtree(arbiter.tmpdir, ignore_errors=True)


def read_counts_in_children(seconds: float) -> None:
    """Have gunicorn read how many workers a dirty app asks for in a child, for at most *seconds*.

    It imports the app for that, in the master: what gevent patches in a worker later is then imported already, and fails.
    """
    from gunicorn.dirty import arbiter

    read = arbiter.get_app_workers_attribute

    def read_in_child(path: str) -> int | None:
        text = answer_of(lambda: str(read(path) or ""), seconds)
        return int(text) if text.isdecimal() else None

    arbiter.get_app_workers_attribute = read_in_child


def _wanted_by(arbiter) -> int:
    """How many dirty workers the arbiter starts: no more than its apps ask for together."""
    counts = [spec["worker_count"] for spec in getattr(arbiter, "app_specs", {}).values()]
    return arbiter.num_workers if None in counts or not counts else min(arbiter.num_workers, max(counts))


def _place(worker) -> int:
    return _HEAD.size + _TEXT + worker.age % _PLACES
