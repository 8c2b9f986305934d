"""`./dev demo`: the sample service in a container with systemd, deployed as on a server; and its end."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from tools import containers
from tools.shell import CACHE, ROOT, Failed, run, say

APP, PAGE = 5000, 9001  # inside; the same outside unless taken


def container() -> str:
    return f"{containers.prefix()}-demo"


def state() -> Path:
    """Where the ports and the password of this demo are kept; inventory/demo knows it too."""
    return CACHE / container()


def demo(started: float) -> None:
    """Start, deploy, ask, and tell where everything is."""
    ports = choose_ports()
    publish = tuple(f"127.0.0.1:{ports[str(inside)]}:{inside}" for inside in (APP, PAGE))
    containers.up([containers.Host(name=container(), network=containers.prefix(), publish=publish)], keep=True)
    say("Deploying with playbooks/deploy.yml and inventory/demo.")
    run("ansible-playbook", "-i", "inventory/demo", "playbooks/deploy.yml", cwd=ROOT)
    service = f"http://127.0.0.1:{ports[str(APP)]}/"
    page = f"http://127.0.0.1:{ports[str(PAGE)]}/"
    status, body = ask(service)
    if status != 200:
        raise Failed(f"The service at {service} answered {status}:\n{body}")
    password = state() / "supervisor-password"
    if ask(page, f"demo:{password.read_text().split()[0]}")[0] != 200 or ask(page)[0] != 401:
        raise Failed(f"The supervisor page at {page} does not answer as it should.")
    engine = ("sudo " if "SUDO_UID" in os.environ else "") + containers.engine()
    print(f"""
GET {service}
{body.rstrip()}

The service answers after {time.monotonic() - started:.0f} s.
  Service          {service}
  Supervisor page  {page}  (user demo, password in {password.relative_to(ROOT)})
  Its logs         {engine} exec {container()} sh -c 'tail -F /var/log/sample/*.log'
  supervisord's    {engine} exec {container()} tail -F /var/log/supervisor/supervisord.log
  A shell there    {engine} exec -it {container()} bash
  Change app/ and run the same command again; `make demo-down` removes it all.""")


def demo_down() -> None:
    """Remove the container, its network, the password and the ports chosen. The images stay for the next time."""
    containers.down([container()])
    shutil.rmtree(state(), ignore_errors=True)
    say("The demo is gone. Its image stays for the next time; `make clean` removes that too.")


def choose_ports() -> dict[str, int]:
    """The usual ports, or free ones where these are taken; the same again while the container stands."""
    file = state() / "ports.json"
    if file.exists() and containers.inspect(container()):
        return json.loads(file.read_text())
    ports = {}
    for port in (APP, PAGE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.bind(("127.0.0.1", 0))
                say(f"Port {port} is taken on this machine: using {probe.getsockname()[1]}.")
            ports[str(port)] = probe.getsockname()[1]
    state().mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports))
    return ports


def ask(url: str, credentials: str = "") -> tuple[int, str]:
    """A real request from this machine; no proxy is asked for 127.0.0.1."""
    request = urllib.request.Request(url)  # noqa: S310  (http:// is ours)
    if credentials:
        request.add_header("Authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        raise Failed(f"No answer from {url}: {error}") from error
