# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take a server of HAProxy out of service and put it back, over the admin socket. Standard library only."""

from __future__ import annotations

import csv
import dataclasses
import ipaddress
import socket
import time
import typing as t

from .host import places

#: Bits of srv_admin_state by which a server gets no new requests: maintenance (of any kind), then drain (of any kind).
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
_DRAIN = 0x08 | 0x10
#: The bits that an order over the socket sets: forced maintenance and forced drain.
_FORCED = 0x01 | 0x08
#: Seconds between two looks.
_PAUSE = 0.2


class BalancerError(Exception):
    """HAProxy could not do what was asked; the text says why."""

    #: Whether orders had been given before.
    ordered = False


@dataclasses.dataclass(frozen=True)
class Options:
    """See the documentation of the module `backend_server`."""

    server: str
    state: str
    backends: list[str] = dataclasses.field(default_factory=list)
    ports: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    required: bool = True
    leave: int = 1
    timeout: float = 60.0
    socket: str = places.HAPROXY_SOCKET


@dataclasses.dataclass(frozen=True)
class Server:
    """A server of a backend, as HAProxy sees it at a moment."""

    backend: str
    name: str
    address: str
    port: int
    admin_state: int
    status: str
    sessions: int

    @property
    def is_drained(self) -> bool:
        return bool(self.admin_state & (_DRAIN | _MAINTENANCE))

    @property
    def is_up(self) -> bool:
        """Whether its health checks pass (or there are none)."""
        return self.status.startswith(("UP", "no check"))

    @property
    def gets_requests(self) -> bool:
        return self.is_up and not self.is_drained

    @property
    def shown(self) -> str:
        if self.admin_state & _MAINTENANCE:
            return "maintenance"
        return "drained" if self.is_drained else self.status.lower()


class HAProxy:
    """One HAProxy."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ask(self, command: str) -> str:
        """The answer to one command."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(10)
                connection.connect(self.path)
                connection.sendall(f"{command}\n".encode())
                answer = b""
                while True:
                    piece = connection.recv(65536)
                    if not piece:
                        return answer.decode("utf-8", "replace").strip()
                    answer += piece
        except OSError as error:
            raise BalancerError(
                f"HAProxy does not answer on {self.path}: {error.strerror or error}. See `systemctl status haproxy`; the socket is"
                " load_balancer_socket."
            ) from error

    def order(self, command: str, expected: str = "") -> None:
        """Give an order. HAProxy says nothing, or what is expected, if it has obeyed."""
        answer = self.ask(command)
        if answer and not (expected and expected in answer):
            raise BalancerError(f"HAProxy did not obey `{command}`: {answer}")

    def servers(self) -> list[Server]:
        """All servers of all backends."""
        answer = self.ask("show servers state")
        if not answer.startswith("1\n"):
            raise BalancerError(f"HAProxy lists its servers in a format that is not known: {answer[:200]}")
        figures = self.ask("show stat").lstrip("# ")
        if not figures.startswith("pxname,svname,"):
            raise BalancerError(f"HAProxy gives its figures in a format that is not known: {figures[:200]}")
        counted = {}
        for row in csv.DictReader(figures.splitlines()):
            counted[row["pxname"], row["svname"]] = row
        found = []
        for line in answer.splitlines()[1:]:
            words = line.split()
            if line.startswith("#") or len(words) < 19:
                continue
            row = counted.get((words[1], words[3]), {})
            found.append(
                Server(
                    backend=words[1],
                    name=words[3],
                    address=words[4],
                    port=int(words[18]),
                    admin_state=int(words[6]),
                    status=row.get("status", ""),
                    sessions=int(row.get("scur") or 0) + int(row.get("qcur") or 0),
                )
            )
        return found


def run(options: Options, check_mode: bool = False) -> dict[str, t.Any]:
    """Bring the server into the state; what was and what is."""
    begun = time.monotonic()
    proxy = HAProxy(options.socket)
    everything = proxy.servers()
    chosen = _chosen(options, everything)
    if options.state == "drained":
        _refuse_to_leave_nobody(options, chosen, everything)
    before = {server.backend: server for server in chosen}
    changed = [server for server in chosen if _differs(options, server)]
    if check_mode:
        return _result(begun, bool(changed), before, [_predicted(options, server) for server in chosen])
    given = 0
    try:
        for order, expected in (order for server in changed for order in _orders(options, server)):
            proxy.order(order, expected)
            given += 1
        after = _wait(options, proxy, begun)
    except BalancerError as error:
        if not given or error.ordered:
            raise
        failure = BalancerError(f"{error} Some of the orders before this were obeyed.")
        failure.ordered = True
        raise failure from error
    return _result(begun, bool(changed), before, after)


def _orders(options: Options, server: Server) -> t.Iterator[tuple[str, str]]:
    """The orders that bring a server into the state, each with what HAProxy answers to it."""
    name, port = f"{server.backend}/{server.name}", options.ports.get(server.backend)
    if port and int(port) != server.port:
        yield f"set server {name} addr {server.address} port {int(port)}", "changed"
    yield f"set server {name} state {'drain' if options.state == 'drained' else 'ready'}", ""


def _chosen(options: Options, everything: list[Server]) -> list[Server]:
    known = {server.backend for server in everything}
    for backend in options.backends:
        if backend not in known:
            raise BalancerError(
                f"HAProxy has no backend {backend}. It has {', '.join(sorted(known)) or 'none'}. Nothing was changed."
            )
    found = [
        server
        for server in everything
        if server.name == options.server and (not options.backends or server.backend in options.backends)
    ]
    if not found and options.required:
        names = ", ".join(sorted({server.name for server in everything})) or "none"
        raise BalancerError(
            f"HAProxy has no server {options.server}. It has {names}. Nothing was changed. The role load_balancer names servers"
            " as the inventory names the hosts."
        )
    return found


def _refuse_to_leave_nobody(options: Options, chosen: list[Server], everything: list[Server]) -> None:
    """Others must be there to take the requests."""
    for server in chosen:
        others = [one for one in everything if one.backend == server.backend and one.name != server.name]
        up = [one.name for one in others if one.gets_requests]
        if len(up) < options.leave and server.gets_requests:
            states = ", ".join(f"{one.name} is {one.shown}" for one in others) or "there is no other server"
            raise BalancerError(
                f"Without {server.name}, {len(up)} server{'' if len(up) == 1 else 's'} of {server.backend} would get requests,"
                f" and {options.leave} must stay: {states}. Nothing was changed."
            )


def _differs(options: Options, server: Server) -> bool:
    if options.state == "drained":
        return not server.is_drained
    port = options.ports.get(server.backend)
    return bool(server.admin_state & _FORCED) or bool(port and int(port) != server.port)


def _predicted(options: Options, server: Server) -> Server:
    if not _differs(options, server):
        return server
    if options.state == "drained":
        return dataclasses.replace(server, admin_state=server.admin_state | 0x08, sessions=0)
    port = options.ports.get(server.backend) or server.port
    return dataclasses.replace(server, admin_state=server.admin_state & ~_FORCED, port=int(port), status="UP")


def _wait(options: Options, proxy: HAProxy, begun: float) -> list[Server]:
    """Until no request is left on what was drained, or until what was returned is up."""
    while True:
        now = _chosen(options, proxy.servers())
        if options.state == "drained":
            waiting = [f"{one.sessions} on {one.backend}/{one.name}" for one in now if one.sessions]
            problem = "Requests are still on their way after"
            remedy = "It stays drained. Wait for them and run this again, or raise the timeout."
        else:
            waiting = [f"{one.backend}/{one.name} is {one.status}" for one in now if not one.gets_requests]
            problem = "The health checks do not pass after"
            remedy = "It gets no requests until they do. The balancer's log (journalctl -u haproxy) says what each was answered."
        if not waiting:
            return now
        if time.monotonic() - begun > options.timeout:
            late = BalancerError(f"{problem} {options.timeout:g} s: {', '.join(waiting)}. {remedy}")
            late.ordered = True
            raise late
        time.sleep(_PAUSE)


def _result(begun: float, changed: bool, before: dict[str, Server], after: list[Server]) -> dict[str, t.Any]:
    return {
        "changed": changed,
        "servers": [
            {
                "backend": one.backend,
                "server": one.name,
                "address": f"{one.address}:{one.port}" if is_ipv4(one.address) else f"[{one.address}]:{one.port}",
                "before": before[one.backend].shown,
                "after": one.shown,
                "sessions_before": before[one.backend].sessions,
            }
            for one in after
        ],
        "seconds": round(time.monotonic() - begun, 2),
        "diff": {
            "before": "".join(f"{one.backend}/{one.name}: {before[one.backend].shown}\n" for one in after),
            "after": "".join(f"{one.backend}/{one.name}: {one.shown}\n" for one in after),
        },
    }


def is_ipv4(text: str) -> bool:
    """Whether an address needs no brackets."""
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return True
