# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's logger_class, in front of the log of an instance.

Everything that an instance says becomes one line in one log: gunicorn's access and error lines, the root logger
(with it `current_app.logger` and every other logger that does not keep to itself), and what log_capture catches.

Access lines are made from the request at once, without a LogRecord: see log_line.
"""

from __future__ import annotations

import datetime
import logging
import sys

from gunicorn import glogging
from gunicorn.config import AccessLogFormat
from gunicorn.instrument.statsd import Statsd

from . import log_capture
from .instance_log import Handler, Log, instance_log
from .log_file import LogFile
from .server_log import ServerLog

_MICROSECOND = datetime.timedelta(microseconds=1)


class Logger(glogging.Logger):
    """gunicorn's logger, see the module.

    With gunicorn's logconfig, logconfig_dict or logconfig_json, which are about loggers, handlers and formatters,
    it is gunicorn's own logger and nothing else: who configures logging himself gets what he configured.
    """

    def __init__(self, cfg):
        self._log: Log | None = None
        self._access_to = self._error_to = None
        self._own_access_format = self._is_slow = False
        self._write_access = None
        self._unlogged: frozenset[str] = frozenset()
        super().__init__(cfg)
        if self._log is not None and isinstance(self._log.destination, LogFile):
            self._log.destination.events.room()  # what a killed master left behind says nothing about now

    def setup(self, cfg):
        self.error_log = logging.getLogger("gunicorn.error")
        self._remove_handlers()
        if cfg.logconfig or cfg.logconfig_dict or getattr(cfg, "logconfig_json", None):  # which came with gunicorn 21
            self._log = self._write_access = None
            super().setup(cfg)
            return
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(cfg.loglevel.lower(), logging.INFO)
        if hasattr(self, "_compute_access_log_enabled"):  # since gunicorn 27; others look at the settings each time
            self._access_log_enabled = self._compute_access_log_enabled()
        self._own_access_format = cfg.access_log_format != AccessLogFormat.default
        log = self._log = instance_log()
        self._access_to = _destination(cfg.accesslog, self._access_to)
        self._error_to = _destination(cfg.errorlog, self._error_to)
        self._install_handlers(log)
        self._unlogged = log.settings.unlogged
        # Read once: each look at gunicorn's configuration costs as much as an eighth of a line.
        self._is_slow = self._own_access_format or bool(self.access_log.handlers)
        self._write_access = log.access_writer(self._access_to) if cfg.accesslog else None
        log_capture.install(
            lambda *event: instance_log().say(*event), lambda handled: instance_log().say_record(handled)
        )

    def follow(self, cfg) -> None:
        """Take over the settings that a HUP has read; gunicorn does so itself since 26."""
        if self._log is not None and self.cfg is not cfg:
            self.setup(cfg)

    def _remove_handlers(self) -> None:
        for logger in (self.error_log, self.access_log, logging.getLogger()):
            for handler in list(logger.handlers):
                if getattr(handler, "_gunicorn", False):
                    logger.removeHandler(handler)

    def _install_handlers(self, log: Log) -> None:
        root = logging.getLogger()
        handler = Handler(log, self._error_to)
        self.error_log.addHandler(handler)  # of those who write to it, or take its handlers
        root.addHandler(Handler(log))
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        root.setLevel(self.loglevel)
        if self.cfg.syslog:  # gunicorn's own forwarding, beside ours
            self._set_syslog_handler(self.error_log, self.cfg, self.syslog_fmt, "error")
            if not self.cfg.disable_redirect_access_to_syslog:
                self._set_syslog_handler(self.access_log, self.cfg, self.syslog_fmt, "access")
        self.error_log = ServerLog(self.error_log, self.loglevel, handler)

    def access(self, resp, req, environ, request_time):
        write = self._write_access
        if write is None:
            if self._log is None:
                super().access(resp, req, environ, request_time)
            elif self.access_log.handlers:
                self._own_message(resp, req, environ, request_time)
            return
        try:
            status, size, headers_sent = resp.status_code, resp.sent, resp.headers_sent
        except AttributeError:
            status, size, headers_sent = None, None, False
        if not headers_sent:
            answered = _answered(resp, status)
            if answered is None:
                return
            status, size = answered
        elif not size and resp.response_length:
            size = _sent_by_kernel(resp)
        if self._unlogged and 200 <= status < 400 and environ["RAW_URI"].partition("?")[0] in self._unlogged:
            return
        message = self._own_message(resp, req, environ, request_time) if self._is_slow else None
        try:
            write(environ, status, size, request_time // _MICROSECOND, message)
        except Exception:
            self.exception("An access line could not be written")

    def _own_message(self, resp, req, environ, request_time) -> str | None:
        """Follow gunicorn's settings access_log_format and syslog."""
        try:
            atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
            if self.access_log.handlers:
                self.access_log.info(self.cfg.access_log_format, atoms)
            return self.cfg.access_log_format % atoms if self._own_access_format else None
        except Exception:
            self.exception("access_log_format could not be followed")
            return None

    def reopen_files(self):
        if self._log is None or not self.cfg.capture_output:  # gunicorn's way of it would move our descriptors
            super().reopen_files()
        if self._log is not None:
            for destination in (self._log.destination, self._access_to, self._error_to):
                if destination is not None:
                    destination.reopen()


class StatsdLogger(Logger, Statsd):
    """The same beside gunicorn's metrics: its setting statsd_host exchanges the logger, but only the default one."""

    def setup(self, cfg):
        super().setup(cfg)
        if self._log is not None:
            self._access_log_enabled = False  # of gunicorn's logger, which Statsd calls

    def access(self, resp, req, environ, request_time):
        if self._log is not None:
            Logger.access(self, resp, req, environ, request_time)
        Statsd.access(self, resp, req, environ, request_time)


def _destination(name: str | None, before):
    """Where gunicorn's accesslog or errorlog points; None is the instance's log."""
    if name in (None, "-"):
        return None
    return before if before is not None and before.path == name else LogFile(name, create=True)


def _answered(resp, status) -> tuple[int, int | None] | None:
    """Status and bytes of an answer that is not the app's; None if it will be logged when there is one.

    gunicorn logs a request whose app raised before its headers were sent, and again when it has answered 500.
    """
    if status is None and isinstance(resp.status, str):  # from Worker.handle_error
        return int(resp.status[:3]), None
    error = sys.exc_info()[1]
    if error is None or isinstance(error, OSError):  # the caller has gone away
        return (status or 0), resp.sent
    return None


def _sent_by_kernel(resp) -> int:
    """gunicorn does not count what sendfile(2) sends."""
    failed = sys.exc_info()[1] is not None
    omitted = getattr(resp, "_omits_body", False)  # before gunicorn 26.2, HEAD got the file too
    return 0 if failed or omitted else resp.response_length
