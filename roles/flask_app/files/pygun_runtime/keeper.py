# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hand out copies of listening sockets that systemd owns: `python keeper.py PATH NAME=USER[:GROUP]...`

systemd gives the sockets to this service (sd_listen_fds(3), named with FileDescriptorName=). A gunicorn master
connects to the unix socket PATH, sends a NAME and a newline, and gets a copy of that socket (SCM_RIGHTS). Root
may ask for every name, USER and members of GROUP (as their primary group) for their own.

A listening socket lives as long as anybody holds it. So supervisord, the instances, and this process too, may
stop and start: meanwhile the kernel's backlog holds the callers. A socket named "keeper" is taken in place of
PATH, so that even a restart of this service keeps those who ask waiting instead of refusing them.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
import sys
from pathlib import Path

_FIRST = 3  # SD_LISTEN_FDS_START
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_ASK_TIMEOUT = 1.0  # seconds for a caller to say which name it wants


def passed_sockets(environ: dict[str, str]) -> dict[str, int]:
    """The sockets that systemd passed to this process, by name."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return {name: _FIRST + index for index, name in enumerate(names[:count])}


class Grant:
    """The callers that may have a socket: a user, a group, root."""

    def __init__(self, text: str):
        user, _colon, group = text.partition(":")
        self.uids = {0, int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid}
        self.gids = {int(group) if group.isdigit() else grp.getgrnam(group).gr_gid} if group else set()

    def allows(self, uid: int, gid: int) -> bool:
        return uid in self.uids or gid in self.gids


def answer(client: socket.socket, sockets: dict[str, int], grants: dict[str, Grant]) -> str:
    """Serve one caller; returns a line for the log."""
    client.settimeout(_ASK_TIMEOUT)
    pid, uid, gid = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    who = f"pid {pid} uid {uid} gid {gid}"
    if not any(grant.allows(uid, gid) for grant in grants.values()):
        # Before reading: a stranger must not be able to keep the others waiting.
        client.sendall(f"uid {uid} may not have any socket".encode())
        return f"{who} may not have any socket"
    request = b""
    while not request.endswith(b"\n") and len(request) < 200:
        data = client.recv(200)
        if not data:
            return f"{who} asked for nothing"
        request += data
    name = request.decode(errors="replace").strip()
    if name not in sockets or name not in grants:
        client.sendall(f"no socket is called {name!r}".encode())
        return f"{who} asked for {name!r}, which is unknown"
    if not grants[name].allows(uid, gid):
        client.sendall(f"uid {uid} may not have {name!r}".encode())
        return f"{who} may not have {name!r}"
    socket.send_fds(client, [b"ok"], [sockets[name]])
    return f"{who} got {name!r}"


def serve(path: str, sockets: dict[str, int], grants: dict[str, Grant]) -> None:
    """Answer callers for ever."""
    if "keeper" in sockets:
        listener = socket.socket(fileno=sockets.pop("keeper"))
    else:
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        Path(path).chmod(0o666)  # noqa: S103  the peer's credentials decide, not the path
        listener.listen(64)
    listener.setblocking(True)
    print(f"keeping {', '.join(sorted(sockets)) or 'nothing'} at {path}", flush=True)
    while True:
        client, _address = listener.accept()
        with client:
            try:
                line = answer(client, sockets, grants)
            except OSError as error:
                line = f"a caller was not served: {error}"
        print(line, flush=True)


def main(arguments: list[str]) -> None:
    if not arguments or not all("=" in item for item in arguments[1:]):
        sys.exit("usage: keeper.py PATH NAME=USER[:GROUP]...")
    try:
        grants = {name: Grant(who) for name, _equals, who in (item.partition("=") for item in arguments[1:])}
    except KeyError as error:
        sys.exit(f"keeper.py: {error.args[0]}")
    sockets = passed_sockets(dict(os.environ))
    missing = set(grants) - set(sockets)
    if missing:
        sys.exit(f"keeper.py: systemd passed no socket named {', '.join(sorted(missing))} (FileDescriptorName=)")
    serve(arguments[0], sockets, grants)


if __name__ == "__main__":
    main(sys.argv[1:])
