# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's signal handlers hold, whatever the app sets; the app's are called as well.

An app that handles SIGTERM itself (to call sys.exit, as in many tutorials) took the place of the handler by which a
stop waits for requests. So gunicorn's are put back: in the master after an import there, in a worker after the import,
after its hooks and health check, and with the heartbeat.

What the app does when it is told to end (SIGTERM, SIGINT, SIGQUIT, SIGABRT), it does once the worker has finished its
requests, as the last thing; what it does at other signals, right after gunicorn. Signals that gunicorn leaves alone in
a worker (SIGHUP, SIGUSR2, SIGCHLD) are the app's.
"""

from __future__ import annotations

import functools
import signal
import sys

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)
_HANDLED = (*_ENDS, signal.SIGUSR1, signal.SIGWINCH)

#: What the process was started with, such as SIGINT ignored by nohup: nobody has set it since.
_INHERITED = {number: signal.getsignal(number) for number in _HANDLED}

_gevents: dict[int, functools.partial] = {}  # what gevent.signal_handler() was given: Python does not know these


class Handlers:
    """The signal handlers of one worker."""

    def __init__(self, worker, own: dict, told):
        """*own*: the handlers that the app set in the master. *told*: a byte for each signal, 1 once the log tells it."""
        self._log = worker.log
        self._own = dict(own)
        self._told = told
        self._gunicorns: dict[int, object] = {}
        self._wakeup = -1
        self._came: list[int] = []
        self._calling: set[int] = set()
        watch_gevent()
        worker.init_signals = _followed_by(worker.init_signals, self._take)
        worker.load_wsgi = _followed_by(worker.load_wsgi, self.put_back)

    def _take(self) -> None:
        """gunicorn has just set its handlers: from here on, they are called by ours."""
        handlers = {number: signal.getsignal(number) for number in _HANDLED}
        self._gunicorns = {number: handler for number, handler in handlers.items() if callable(handler)}
        self._wakeup = signal.set_wakeup_fd(-1)
        self._set()

    def put_back(self) -> None:
        """Note the handlers that the app has set meanwhile, and set gunicorn's again."""
        if self._gunicorns:  # some workers have an event loop handle signals
            _adopt(self._own, set(self._gunicorns), self._handle, self._log, self._told)
            self._set()

    def _set(self) -> None:
        for number in self._gunicorns:
            signal.signal(number, self._handle)  # unasked: some set them below Python (faulthandler, gevent)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.siginterrupt(number, False)
        signal.set_wakeup_fd(self._wakeup)

    def _handle(self, number, frame):
        if number in _ENDS:
            self._came.append(number)
        self._gunicorns[number](number, frame)
        if number not in _ENDS:
            self._call(number)

    def finish(self) -> None:
        """Call the app's handler of the stop signal, after the worker has finished."""
        for number in dict.fromkeys(self._came):
            self._call(number)

    def _call(self, number) -> None:
        own = self._own.get(number)
        if own is None or number in self._calling:  # many call whom they replaced
            return
        self._calling.add(number)
        try:
            own(number, None)
        except (SystemExit, KeyboardInterrupt):
            pass  # it ends anyway
        except Exception:
            self._log.exception("The app's handler of %s failed", _name(number))
        finally:
            self._calling.discard(number)


def hold_in_master(server, told) -> dict:
    """Let gunicorn's handlers hold in the master; returns those that the app has set there, for the workers."""
    own: dict = {}
    _adopt(
        own,
        _HANDLED,
        server.signal,
        server.log,
        told,
        {number: (signal.SIG_DFL, before) for number, before in _INHERITED.items()},
    )
    signal.set_wakeup_fd(-1)
    server.init_signals()
    return own


def taken(server) -> bool:
    """Whether a handler of the master's was replaced."""
    return any(signal.getsignal(number) != server.signal for number in server.SIGNALS)


def watch_gevent() -> None:
    """Have gevent.signal_handler() noted; may be repeated."""
    hub = sys.modules.get("gevent.hub")
    if hub is None or hasattr(hub.signal, "pygun_init"):
        return
    hub.signal.pygun_init = init = hub.signal.__init__

    def noted(self, number, handler, *arguments, **options):
        init(self, number, handler, *arguments, **options)
        _gevents[number] = functools.partial(handler, *arguments, **options)

    hub.signal.__init__ = noted


def _adopt(own: dict, numbers, ours, log, told, harmless=None) -> None:
    """Add to *own* what was set in place of *ours* and is not *harmless*, and tell of it once."""
    for number in numbers:
        found = signal.getsignal(number)
        below = _gevents.pop(number, None)
        if below is not None:
            own[number] = lambda *_signal, below=below: below()
        elif found in (ours, signal.default_int_handler, *(harmless or {}).get(number, ())):
            continue
        elif callable(found):
            own[number] = found
        if not told[number]:
            told[number] = 1
            log.warning("%s", _what(number, below or found))


def _what(number, found) -> str:
    name = _name(number)
    if not callable(found):
        return f"The app has set {name} to be ignored or to its default: gunicorn's handler is put back"
    when = "once the worker has finished its requests" if number in _ENDS else "after it"
    return f"The app handles {name} itself ({place(found)}): gunicorn's handler is put back, the app's is called {when}"


def place(handler) -> str:
    """File and line of a function."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(handler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(handler)


def _name(number) -> str:
    return signal.Signals(number).name


def _followed_by(first, second):
    def both():
        first()
        second()

    return both
