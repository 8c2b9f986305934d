# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes down which servers of HAProxy are drained or down: keep_server_state.py SOCKET FILE

HAProxy reads it when it starts or reloads. Addresses and ports are what the configuration says by then, so the ports
that the file names are those of the configuration, and not the ones of before.
"""

import os
import re
import socket
import sys
from pathlib import Path

CONFIGURATION = Path("/etc/haproxy/haproxy.cfg")
COLUMNS = {"backend": 1, "server": 3, "port": 18}


def ask(path, command):
    """The answer of HAProxy to one command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def configured_ports(text):
    """Port of each (backend, server) of a configuration."""
    found, section = {}, ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] and words[0] in ("backend", "listen") and len(words) > 1:
            section = words[1]
        elif words[:1] == ["server"] and len(words) > 2:
            found[section, words[1]] = words[2].rpartition(":")[2]
    return found


def with_ports(state, ports):
    """The state with the ports of the configuration."""
    lines = []
    for line in state.splitlines():
        words = line.split(" ")
        if len(words) > COLUMNS["port"] and re.fullmatch(r"\d+", words[0]):
            known = ports.get((words[COLUMNS["backend"]], words[COLUMNS["server"]]))
            words[COLUMNS["port"]] = known or words[COLUMNS["port"]]
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def main():
    path, target = sys.argv[1:]
    state = ask(path, "show servers state")
    if not state.startswith("1\n"):
        sys.exit(f"HAProxy answered something else than the state of its servers: {state[:200]!r}")
    part = f"{target}.part"
    Path(part).write_text(with_ports(state, configured_ports(CONFIGURATION.read_text())))
    os.replace(part, target)


if __name__ == "__main__":
    main()
