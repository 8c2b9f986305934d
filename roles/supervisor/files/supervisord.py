# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs supervisord so that what one program lacks costs only that program: `supervisord.py SCRIPT ARGUMENT...`

supervisor itself ends, and with it every program of the host, when it cannot open the socket of one [fcgi-program],
or when the user or the log directory of one program does not exist. Here that program waits in BACKOFF, with the
reason as its spawn error, and is tried again. A public socket stays open from the start of supervisord to that of the
first process. SCRIPT is the `supervisord` of supervisor's own virtual environment, whose Python runs this file.
When supervisord ends, it stops programs of the same priority at the same time: supervisor itself waits for each before it
tells the next. Its web page refuses what other sites send, and callers who guess passwords. Nothing is changed on disk.
A supervisor that is made differently runs as it is.
"""

import base64
import binascii
import configparser
import ipaddress
import os
import runpy
import signal
import socket
import stat
import sys
import time
import urllib.parse

LONGEST_PAUSE = 5  # seconds between two tries; supervisor's own pauses grow by one with each, to minutes within an hour
SHARE = (
    10  # a try may take this part of the time: supervisord does nothing else while it asks a name server that is down
)

GUESSES = 10  # wrong passwords that an address of callers may send at once; then one again every
PAUSE = 6  # seconds
ADDRESSES = 1000  # as many are remembered
LONGEST_HEADER = 64 * 1024
CONNECTIONS = 100  # at once; each takes one of the descriptors with which supervisord starts programs
#: What every answer of the web page says to a browser: only the page itself may show it in a frame, or learn its address.
PAGE_HEADERS = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def separate_sockets(process):
    """Replace supervisor's classes for [fcgi-program] sections, in its module *process*, before any is made."""
    for name in ("spawn", "before_spawn", "get_execv_args", "backoff", "delay"):
        getattr(process.FastCGISubprocess, name)  # or it is made differently
    failure = process.ProcessException

    class Subprocess(process.FastCGISubprocess):
        no_socket = ""

        def spawn(self):
            tries, begun = self.backoff, time.monotonic()
            pid = super().spawn()
            self.group.first_socket = None
            if self.no_socket:
                self.no_socket = ""
                self.backoff = max(min(tries + 1, LONGEST_PAUSE), int(SHARE * (time.monotonic() - begun)))
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


def guard_page(http):
    """Have the web page refuse what other sites make a browser send, and addresses that guess passwords.

    The unix socket, of which the modules and supervisorctl are the callers, stays as it is.
    """
    make, channel = http.make_http_servers, http.deferring_http_channel
    collect = channel.collect_incoming_data

    def make_http_servers(options, supervisord):
        servers = make(options, supervisord)
        for config, server in servers:
            if config["family"] == socket.AF_INET:
                guard = PageGuard(*names_of_page(options.configfile), options.logger)
                server.handlers[:] = [GuardedHandler(handler, guard) for handler in server.handlers]
                server.channel_class = few_at_once(server.channel_class)
        return servers

    def collect_incoming_data(self, data):
        if not self.current_request and len(self.in_buffer) + len(data) > LONGEST_HEADER:
            self.close()
            return
        collect(self, data)

    http.make_http_servers, channel.collect_incoming_data = make_http_servers, collect_incoming_data


def few_at_once(channel):
    """A class of connections like *channel*, of which the oldest is closed when there are too many."""
    there = []

    class Channel(channel):
        def __init__(self, *arguments):
            if len(there) >= CONNECTIONS:
                there[0].close()
            super().__init__(*arguments)
            there.append(self)

        def close(self):
            there[:] = [one for one in there if one is not self]
            super().close()

    return Channel


def names_of_page(path):
    """The names under which the page answers, and those of them that a proxy publishes, as supervisor's file has them."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    parser.read(path, "utf-8")
    published = parser.get("inet_http_server", "hosts", fallback="").lower().split()
    own = {"localhost", socket.gethostname().lower()}
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as lines:
            for names in (line.partition("#")[0].lower().split()[1:] for line in lines):
                own.update(names if socket.gethostname().lower() in names else ())
    except OSError:
        pass
    return {*own, *(host_of(f"//{name}") for name in published)}, set(published)


class GuardedHandler:
    """A handler of supervisor's web server that asks the guard first."""

    def __init__(self, handler, guard):
        self.handler, self.guard = handler, guard

    def match(self, request):
        return self.handler.match(request)

    def handle_request(self, request):
        for name, value in PAGE_HEADERS.items():
            request[name] = value
        headers = {}
        for line in request.header:
            name, _colon, value = line.partition(":")
            headers.setdefault(name.strip().lower(), value.strip())
        why = self.guard.refusal(request, headers)
        if why:
            self.guard.say(request, f"was refused: {why}")
            refuse(request, 403, f"{why}\n")
            return
        authorizer = getattr(self.handler, "authorizer", None)
        if authorizer is None or "authorization" not in headers:
            self.handler.handle_request(request)  # which asks for a password, if there is one
            return
        address = request.channel.addr[0]
        if not self.guard.may_guess(address):
            refuse(request, 429, "Too many wrong passwords came from your address. Wait a minute.\n")
            return
        credentials = credentials_in(headers["authorization"])
        if credentials and authorizer.authorize(credentials):
            self.guard.guesses.pop(address, None)
            self.handler.handle_request(request)
        else:
            self.guard.note_guess(address)
            self.guard.say(request, "sent a wrong user or password")
            self.handler.handle_unauthorized(request)


def credentials_in(header):
    """User and password of an Authorization header; None if it has none."""
    scheme, _space, encoded = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return [user, password] if colon and scheme.lower() == "basic" else None


def refuse(request, code, text):
    """Answer with a sentence, and close the connection: a body that follows is not read."""
    request.responses = {**request.responses, 429: "Too Many Requests"}
    request.channel.set_terminator(None)
    request["Connection"] = "close"
    request["Content-Type"] = "text/plain; charset=utf-8"
    body = text.encode()
    request["Content-Length"] = len(body)
    request.reply_code = code
    request.push(body)
    request.done()


class PageGuard:
    """Who may ask the web page for what."""

    def __init__(self, hosts, published, logger):
        self.hosts, self.published, self.logger = hosts, published, logger
        self.guesses = {}  # address -> how many wrong passwords, and when it was that many
        self.said = []  # when the last lines of the log were written

    def refusal(self, request, headers):
        """Why a request is refused before its password is looked at; empty if it is not."""
        host = headers.get("host", "")
        name = host_of(f"//{host}")
        if not (name in self.hosts or is_address(name)):
            return "supervisor's page has another name. Use an address, or add this name to supervisor_http_hosts."
        path, _mark, query = request.uri.partition("?")
        if request.command == "GET" and "action" not in dict(urllib.parse.parse_qsl(query, keep_blank_values=True)):
            return ""
        site = headers.get("sec-fetch-site", "")
        sources = [origin_of(headers[name]) for name in ("origin", "referer") if name in headers]
        own = {origin_of(f"//{host}"), *self.published}
        if site in ("cross-site", "same-site") or any(source not in own for source in sources):
            return "another site sent it. Open supervisor's page itself."
        if not path.startswith("/RPC2") and not sources and site not in ("same-origin", "none"):
            return "nothing says which site sent it. Open supervisor's page itself; programs use XML-RPC (/RPC2)."
        return ""

    def may_guess(self, address):
        count, since = self.guesses.get(address, (0, 0.0))
        return count - (time.monotonic() - since) / PAUSE <= GUESSES - 1

    def note_guess(self, address):
        count, since = self.guesses.pop(address, (0, 0.0))
        now = time.monotonic()
        if len(self.guesses) >= ADDRESSES:
            del self.guesses[next(iter(self.guesses))]
        self.guesses[address] = max(0.0, count - (now - since) / PAUSE) + 1, now

    def say(self, request, what):
        """Tell supervisord's log, a few times a minute at most."""
        now = time.monotonic()
        self.said = [when for when in self.said if now - when < PAUSE * GUESSES]
        if len(self.said) < GUESSES * 2:
            self.said.append(now)
            self.logger.warn(f"web page: a caller from {request.channel.addr[0]} {what}")


def host_of(url):
    """The host that a URL names, without its port."""
    try:
        return (urllib.parse.urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def origin_of(url):
    """Host and port that a URL names; the port only if it is not the usual one of a web server."""
    try:
        parts = urllib.parse.urlsplit(url)
        name, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return ""
    return name if port in (None, 80, 443) else f"{name}:{port}"


def is_address(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


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
        from supervisor import http

        guard_page(http)
    except (ImportError, AttributeError) as error:
        print(f"this supervisor's web page obeys other sites: {error}", file=sys.stderr, flush=True)
    try:
        with open("/proc/self/comm", "w") as stream:
            stream.write(os.path.basename(script))  # by which ps, pgrep and killall know it
    except OSError:
        pass
    del sys.argv[0]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
