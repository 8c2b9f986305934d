# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A server that fails on purpose, and the load client as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LOAD = HERE.parents[1] / "load"
# The client is copied to hosts as a folder of scripts, so it is no package here either.
sys.path[:0] = [str(HERE), str(LOAD)]

from faulty_server import FaultyServer  # noqa: E402

QUIET = [f"--{kind}=0" for kind in ("new", "keepalive", "idle", "slow", "stream", "upload")]


@pytest.fixture
def serve(tmp_path):
    """Start servers; `serve(plan)` returns one that listens, at `.target`."""
    servers = []

    def start(plan=lambda _number, _path: "", unix=False):
        server = FaultyServer(plan, tmp_path / "server.sock" if unix else None)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


class Client:
    """One run of the client, with every kind off that is not asked for."""

    def __init__(self, folder, target, *options):
        self.out = folder / "result.json"
        self.process = subprocess.Popen(
            [
                sys.executable,
                LOAD / "client.py",
                "run",
                target,
                f"--out={self.out}",
                *QUIET,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """Wait for its end; return the result document, with the exit status in it."""
        stdout, stderr = self.process.communicate(timeout=60)
        assert self.out.exists(), stderr
        return {
            "status": self.process.returncode,
            **json.loads(self.out.read_text()),
            "told": stderr,
        }


@pytest.fixture
def client(tmp_path):
    """Start the client: `client(target, options...)`."""
    started = []

    def start(target, *options):
        started.append(Client(tmp_path, target, *options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
