# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs supervisord so that what one program lacks costs only that program: `supervisord.py SCRIPT ARGUMENT...`

supervisor itself ends, and with it every program of the host, when it cannot open the socket of one [fcgi-program],
or when the user or the log directory of one program does not exist. Here that program waits in BACKOFF, with the
reason as its spawn error, and is tried again. A public socket stays open from the start of supervisord to that of the
first process. SCRIPT is the `supervisord` of supervisor's own virtual environment, whose Python runs this file.
When supervisord ends, it stops programs of the same priority at the same time: supervisor itself waits for each before it
tells the next. Nothing is changed on disk. A supervisor that is made differently runs as it is.
"""

import os
import runpy
import signal
import stat
import sys
import time

LONGEST_PAUSE = 5  # seconds between two tries; supervisor's own pauses grow by one with each, to minutes within an hour
SHARE = (
    10  # a try may take this part of the time: supervisord does nothing else while it asks a name server that is down
)


def separate_sockets(process):
    """Replace supervisor's classes for [fcgi-program] sections, in its module *process*, before any is made."""
    for name in ("spawn", "before_spawn", "get_execv_args", "backoff", "delay"):
        getattr(process.FastCGISubprocess, name)  # or it is made differently
    failure = process.ProcessException

    class Subprocess(process.FastCGISubprocess):
        no_socket = ""

        def spawn(self):
            tries, begun = self.backoff, time.time()
            pid = super().spawn()
            self.group.first_socket = None
            if self.no_socket:
                self.no_socket = ""
                self.backoff = max(min(tries + 1, LONGEST_PAUSE), int(SHARE * (time.time() - begun)))
                self.delay = time.time() + self.backoff
            return pid

        def before_spawn(self):
            config = self.group.config.socket_config
            try:
                for name in getattr(config, "owner", None) or ():
                    if isinstance(name, Unknown):
                        raise ValueError(f"there is no {name} (socket_owner) on this host")
                super().before_spawn()
            except Exception as error:  # supervisor and the system have many kinds
                self.no_socket = f"cannot open its socket {config.url}: {reason(error)}"

        def get_execv_args(self):
            if self.no_socket:
                raise failure(self.no_socket)
            return super().get_execv_args()

    class Group(process.FastCGIProcessGroup):
        first_socket = None  # while no process has it, supervisor would close it: for a second at each start

        def __init__(self, config, **kwargs):
            try:
                super().__init__(config, **kwargs)
                if any(program.autostart for program in config.process_configs):
                    self.first_socket = self.socket_manager.get_socket()
            except ValueError as error:
                if not hasattr(self, "socket_manager"):
                    raise
                config.options.logger.warn(f"{error}; it is tried again with each start of its processes")

    process.FastCGISubprocess, process.FastCGIProcessGroup = Subprocess, Group


class Unknown(str):
    """The name of a user or a group that does not exist on this host, where supervisor has a number."""


def admit_missing(options, process):
    """Have supervisor start although the user, the socket_owner or the log directory of a program does not exist."""
    names = ("name_to_uid", "gid_for_uid", "colon_separated_user_group", "logfile_name")
    strict = {name: getattr(options, name) for name in names}
    read, command = options.ServerOptions.process_groups_from_parser, process.Subprocess.get_execv_args

    def lenient(name, substitute):
        def function(value):
            try:
                return value if isinstance(value, Unknown) else strict[name](value)
            except ValueError:
                return substitute(value)

        return function

    substitutes = (Unknown, Unknown, lambda text: (Unknown(text), Unknown(text)), os.path.expanduser)
    functions = {name: lenient(name, substitute) for name, substitute in zip(names, substitutes)}

    def process_groups_from_parser(self, parser):
        starts, self.has_read = not hasattr(self, "has_read"), True
        names = functions if starts else ("colon_separated_user_group",)  # a reread is refused, and says why
        vars(options).update({name: functions[name] for name in names})
        try:
            return read(self, parser)
        finally:
            vars(options).update(strict)

    def get_execv_args(self):
        if isinstance(self.config.uid, Unknown):
            try:
                self.config.uid = strict["name_to_uid"](self.config.uid)
            except ValueError:
                raise process.ProcessException(f"there is no user {self.config.uid} on this host") from None
        return command(self)

    options.ServerOptions.process_groups_from_parser = process_groups_from_parser
    process.Subprocess.get_execv_args = get_execv_args


def secure_socket_files(options):
    """Have supervisor change the owner and the mode of a socket file, never of what the app has put in its place."""

    class SocketConfig(options.UnixStreamSocketConfig):
        def _chown(self):
            if self.owner is not None:
                self._change("ownership", os.chown, *self.owner)

        def _chmod(self):
            if self.mode is not None:
                self._change("permissions", os.chmod, self.mode)

        def _change(self, subject, change, *values):
            try:
                file = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if not stat.S_ISSOCK(os.fstat(file).st_mode):
                        raise ValueError(f"{self.path} is no socket any more")
                    change(f"/proc/self/fd/{file}", *values)
                finally:
                    os.close(file)
            except Exception as error:
                raise ValueError(f"Could not change {subject} of socket file: {error}") from error

    for name in ("_chown", "_chmod"):
        getattr(options.UnixStreamSocketConfig, name)  # or it is made differently
    options.UnixStreamSocketConfig = SocketConfig


def stop_together(supervisord):
    """Have supervisor stop all programs of one priority at once when it ends; those of the next follow, as before."""
    stop, wait = "ordered_stop_groups_phase_1", "ordered_stop_groups_phase_2"
    for name in (stop, wait):
        getattr(supervisord.Supervisor, name)  # or it is made differently

    def last(groups):
        return [group for group in groups if group.config.priority == groups[-1].config.priority]

    def stop_last(self):
        for group in last(self.stop_groups) if self.stop_groups else ():
            group.stop_all()

    def leave_out_stopped(self):
        if self.stop_groups:  # a new list: groups of one priority are equal to each other
            stopped = {id(group) for group in last(self.stop_groups) if not group.get_unstopped_processes()}
            self.stop_groups = [group for group in self.stop_groups if id(group) not in stopped]

    setattr(supervisord.Supervisor, stop, stop_last)
    setattr(supervisord.Supervisor, wait, leave_out_stopped)


def heed_early_signals(options):
    """Have a process that is stopped before its program runs end. supervisord's own handlers would note the signal and lose it."""
    fork = options.ServerOptions.fork
    own = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)

    def fork_with_defaults(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, own)
        try:
            pid = fork(self)
            if pid == 0:
                for number in own:
                    signal.signal(number, signal.SIG_DFL)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    options.ServerOptions.fork = fork_with_defaults


def reason(error):
    """What the system said."""
    if isinstance(error, OSError) and error.strerror:
        return f"[Errno {error.errno}] {error.strerror}"
    return str(error) or type(error).__name__


def main():
    script = sys.argv[1]
    if not os.path.isfile(script):
        sys.exit(f"supervisor is not installed: there is no {script}")
    try:
        from supervisor import options, process, supervisord

        separate_sockets(process)
        admit_missing(options, process)
        secure_socket_files(options)
        stop_together(supervisord)
        heed_early_signals(options)
    except (ImportError, AttributeError) as error:
        print(f"this supervisor ends when it cannot open one program's socket: {error}", file=sys.stderr, flush=True)
    try:
        with open("/proc/self/comm", "w") as stream:
            stream.write(os.path.basename(script))  # by which ps, pgrep and killall know it
    except OSError:
        pass
    del sys.argv[0]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
