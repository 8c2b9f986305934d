# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs supervisord so that a socket which cannot be opened costs its own program alone: `supervisord.py SCRIPT ARGUMENT...`

supervisor itself ends, and with it every program of the host, when it cannot open the socket of one [fcgi-program].
Here that program waits in BACKOFF, with the reason as its spawn error, and is tried again. SCRIPT is the `supervisord`
of supervisor's own virtual environment, whose Python runs this file. Nothing is changed on disk. A supervisor that is
made differently runs as it is.
"""

import os
import runpy
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
            if self.no_socket:
                self.no_socket = ""
                self.backoff = max(min(tries + 1, LONGEST_PAUSE), int(SHARE * (time.time() - begun)))
                self.delay = time.time() + self.backoff
            return pid

        def before_spawn(self):
            config = self.group.config.socket_config
            try:
                if isinstance(getattr(config, "owner", None), UnknownOwner):
                    raise ValueError(f"there is no {config.owner[0]} (socket_owner) on this host")
                super().before_spawn()
            except Exception as error:  # supervisor and the system have many kinds
                self.no_socket = f"cannot open its socket {config.url}: {reason(error)}"

        def get_execv_args(self):
            if self.no_socket:
                raise failure(self.no_socket)
            return super().get_execv_args()

    class Group(process.FastCGIProcessGroup):
        def __init__(self, config, **kwargs):
            try:
                super().__init__(config, **kwargs)
            except ValueError as error:
                if not hasattr(self, "socket_manager"):
                    raise
                config.options.logger.warn(f"{error}; it is tried again with each start of its processes")

    process.FastCGISubprocess, process.FastCGIProcessGroup = Subprocess, Group


class UnknownOwner(tuple):
    """A socket_owner that is nobody on this host, in the place of a uid and a gid."""


def admit_unknown_owners(options):
    """Have supervisor's module *options* read a program's socket_owner whom nobody knows."""
    known, read = options.colon_separated_user_group, options.ServerOptions.process_groups_from_parser

    def owner(text):
        try:
            return known(text)
        except ValueError:
            return UnknownOwner((text, text))

    def process_groups_from_parser(self, parser):
        options.colon_separated_user_group = owner
        try:
            return read(self, parser)
        finally:
            options.colon_separated_user_group = known

    options.ServerOptions.process_groups_from_parser = process_groups_from_parser


def reason(error):
    """What the system said."""
    if isinstance(error, OSError) and error.strerror:
        return f"[Errno {error.errno}] {error.strerror}"
    return str(error) or type(error).__name__


def main():
    script = sys.argv[1]
    try:
        from supervisor import options, process

        separate_sockets(process)
        admit_unknown_owners(options)
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
