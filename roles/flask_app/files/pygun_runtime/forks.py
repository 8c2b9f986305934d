# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a child that the app forks (multiprocessing, os.fork) an ordinary process instead of a worker.

It has copies of the sockets, the signal handlers and, with gevent, the whole event loop of the process that it comes
from: it kept the port, ignored SIGTERM, went on with the requests of others and with the heartbeat. So in a child

* nothing is left of the listening sockets and of the connections that were accepted from them;
* signals do what they do by default, where gunicorn or the runtime handled them;
* gevent starts again: only the greenlet that forked goes on, like the only thread of any forked process.

And a worker that has finished ends the children of multiprocessing, which would wait for them at its exit. Children
that its master has started (preload) are none of its own.

Programs that are executed get none of it: the file descriptors close then.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import stat
import sys
import threading
import time
import weakref

_SIGNALS = ("HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "TERM", "ALRM", "CHLD", "TTIN", "TTOU", "WINCH")
_NUMBERS = [getattr(signal, f"SIG{name}") for name in _SIGNALS]
_OURS = ("gunicorn.", "pygun_runtime.", "asyncio.")

#: Seconds between SIGTERM and SIGKILL for the children of a worker that has finished.
PATIENCE = 2.0

_unexpected = False  # whether a fork in this process is the app's: not before `watch`, not in a child of the app
_expected: int | None = None  # the thread of the master that is about to fork a worker
_masks: dict[int, set] = {}  # of the threads that fork just now
_left: list = []  # what must not be collected in a child: greenlets that are collected run their `finally`

_served: set = set()
_worker = None
_registered = False


def watch(worker=None) -> None:
    """From here on a fork that is not announced is the app's; may be repeated. *worker*: the one that this process is."""
    global _registered, _unexpected, _worker  # noqa: PLW0603
    _unexpected = True
    _worker = worker
    if not _registered:
        _registered = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def serve(fds) -> None:
    """A child of the app has nothing to do with these listening sockets."""
    for fd in fds:
        with contextlib.suppress(OSError):
            _served.add(_name_of(fd))
    _served.discard(None)


def announce() -> None:
    """The next fork of this thread makes a worker."""
    global _expected  # noqa: PLW0603
    _expected = threading.get_ident()


def inherit(listeners, by_programs: bool) -> None:
    """gunicorn lets its master's sockets be inherited by every program that is started there; its next master needs it."""
    for listener in listeners:
        os.set_inheritable(listener.fileno(), by_programs)


def end_children() -> None:
    """End the children of multiprocessing that this process has started."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    children = multiprocessing.active_children() if multiprocessing else []
    for child in children:
        child.terminate()
    give_up = time.monotonic() + PATIENCE
    for child in children:
        child.join(max(0.0, give_up - time.monotonic()))
        if child.is_alive():
            child.kill()


def _forget_children() -> None:
    """multiprocessing takes the children of this process' parent for its own: its exit would end some, and fail to wait for others."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if hasattr(multiprocessing, "_children"):
        multiprocessing._children = set()


def _leave_directories() -> None:
    """A temporary directory of this process' parent is removed by that one: the first child to end would do it for all."""
    directory = getattr(sys.modules.get("tempfile"), "TemporaryDirectory", None)
    for finalizer in list(getattr(weakref.finalize, "_registry", {}).values()) if directory else ():
        if finalizer.func == directory._cleanup:
            finalizer.atexit = False


def _is_worker() -> bool:
    return _expected is not None and _expected == threading.get_ident()


def _before() -> None:
    if _unexpected and not _is_worker():  # a signal that comes meanwhile would find the handlers of the worker
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)


def _unblock() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_parent() -> None:
    global _expected  # noqa: PLW0603
    if _is_worker():
        _expected = None
    _unblock()


def _in_child() -> None:
    global _expected, _unexpected  # noqa: PLW0603
    if not _unexpected:
        return
    worker, _expected = _is_worker(), None
    _forget_children()
    _leave_directories()
    if worker or _is_gunicorns(sys._getframe(1)):
        _unblock()
        return
    _unexpected = False
    if _worker:
        _worker.alive = False  # a child that returns from a view ends
    try:
        _leave_signals()
        _leave_sockets()
        _leave_gevent()
    finally:
        _unblock()


def _is_gunicorns(frame) -> bool:
    """Whether gunicorn itself goes on in the child: as a daemon, or as the next master (by hand)."""
    while frame and frame.f_globals.get("__name__") == "gevent.os":
        frame = frame.f_back
    module = frame.f_globals.get("__name__") if frame else ""
    return module in ("gunicorn.arbiter", "gunicorn.util") and frame.f_code.co_name in ("daemonize", "reexec")


def _leave_signals() -> None:
    signal.set_wakeup_fd(-1)
    patched = sys.modules.get("gevent.signal")
    set_handler = patched._signal_signal if patched else signal.signal  # gevent's would start a loop
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if str(getattr(handler, "__module__", "")).startswith(_OURS):
            set_handler(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _leave_gevent() -> None:
    local = sys.modules.get("gevent._hub_local")
    hub = local and local.get_hub_if_exists()
    if not hub:
        return
    _left.append((hub, hub.loop, hub._threadpool, hub._resolver))
    hub.loop.destroy()
    local.set_loop(None)
    local.set_hub(None)
    greenlet = sys.modules["greenlet"]
    ends = greenlet.getcurrent()
    while ends.parent not in (None, hub):
        ends = ends.parent
    if ends.parent is hub:  # the old hub would be resumed once the greenlet is finished
        new = local.get_hub()
        new.parent = _end_of_process(greenlet, ends)
        new.handle_system_error = lambda kind, value, *_trace: _exit(value)
        ends.parent = new


def _end_of_process(greenlet, last):
    """A greenlet that ends the process when it is switched to."""
    current = main = greenlet.getcurrent()
    while main.parent is not None:
        main = main.parent

    def wait():
        try:
            current.switch()
        finally:
            os._exit(0 if last.dead else 1)

    end = greenlet.greenlet(wait, main)
    end.switch()
    return end


def _exit(value) -> None:
    """As sys.exit() ends a process, without what its parent has to do at its own end."""
    code = getattr(value, "code", 1)
    os._exit(code & 0xFF if isinstance(code, int) else 0 if code is None else 1)


def _leave_sockets() -> None:
    """Replace sockets by a file that never has data: the descriptors stay taken, and nothing is accepted or answered."""
    nothing, _open = os.pipe()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode) and _name_of(fd) in _served:
                os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)


def _name_of(fd: int) -> int | str | bytes | None:
    """What a listening socket and the connections accepted from it have in common: the port, or the path."""
    sock = _socket.socket(fileno=fd)
    try:
        if sock.type != _socket.SOCK_STREAM:
            return None
        name = sock.getsockname()
    finally:
        sock.detach()
    return name[1] if isinstance(name, tuple) else name or None
