# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""upgrade.yml finds the balancers that load_balancer_hosts means, and asks the host as a caller does.

The scenario `fleet` upgrades real hosts.
"""

import datetime
import http.server
import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[3]
PLAYBOOK = ROOT / "playbooks" / "upgrade.yml"


@pytest.fixture
def play(tmp_path):
    """A playbook on this machine; its exit status and what it said."""

    def run(playbook, *options):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts", playbook, *options],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


# -- the balancers ---------------------------------------------------------------------------------------------------


#: What the playbook decides, without what changes a host: these tests run it on this machine.
HARMLESS = {"ansible.builtin.fail", "pygun.stack.backend_server"}


def harmless(plays):
    """The same plays without roles, and without tasks that change a host."""

    def kept(tasks):
        for task in tasks:
            if "block" in task:
                yield {**task, "block": list(kept(task["block"]))}
            elif HARMLESS & set(task) or task.get("vars", {}).get("checks_role"):
                yield task

    for one in plays:
        rest = {key: value for key, value in one.items() if key != "roles"}
        yield {**rest, "tasks": list(kept(one.get("tasks", [])))}


@pytest.fixture
def upgrade(play, tmp_path):
    """The playbook on two hosts, with balancers on which no HAProxy answers: it ends at the drain, and names them."""
    (tmp_path / "hosts").write_text(
        "[api]\nweb1\nweb2\n[balancers]\nlb1\nlb2\n[edge]\nlb2\n[all:vars]\nansible_connection=local\n"
        f"ansible_become=false\nansible_python_interpreter={sys.executable}\nload_balancer_socket={tmp_path}/none.sock\n"
        "[api:vars]\nflask_app_base_dir=/srv\n__flask_app_results=[]\nflask_app_name=scoring\nflask_app_packages=['scoring']\nflask_app_wsgi=scoring:app\n"
    )
    (tmp_path / "upgrade.yml").write_text(yaml.safe_dump(list(harmless(yaml.safe_load(PLAYBOOK.read_text())))))

    def run(*options):
        status, said = play(tmp_path / "upgrade.yml", *options)
        assert status, f"no HAProxy answers, and nobody asked one: {said}"
        return said

    return run


@pytest.mark.parametrize(
    "given, meant",
    [
        ({}, "lb1, lb2"),
        pytest.param({"load_balancer_hosts": "lb1"}, "lb1", marks=pytest.mark.full),
        pytest.param({"load_balancer_hosts": "lb1,lb2"}, "lb1, lb2", marks=pytest.mark.full),
        ({"load_balancer_hosts": ["lb1", "edge"]}, "lb1, lb2"),
        pytest.param({"load_balancer_hosts": "lb*"}, "lb1, lb2", marks=pytest.mark.full),
        ({"load_balancer_hosts": "balancers:!lb1"}, "lb2"),
    ],
    ids=str,
)
def test_the_host_is_drained_on_every_balancer_that_the_pattern_means(upgrade, given, meant):
    said = upgrade("-e", json.dumps(given), "--limit", "web1")
    assert f"It gets no requests from {meant} unless they are named above as failed." in said


@pytest.mark.parametrize("pattern", ["lbs", "", pytest.param("lb1,!lb1", marks=pytest.mark.full)], ids=str)
def test_balancers_that_are_not_there_are_refused_before_anything_is_done(upgrade, pattern):
    said = upgrade("-e", json.dumps({"load_balancer_hosts": pattern}))
    assert f"load_balancer_hosts is {json.dumps(pattern)}, which matches no host of the inventory" in said
    assert "Nothing was changed." in said
    assert "TASK [Drain the host on each balancer]" not in said
    assert "PLAY [Update the balancers]" not in said


def test_a_balancer_that_cannot_be_reached_ends_the_upgrade_before_the_host_is_changed(upgrade):
    gone = json.dumps({"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1})
    said = upgrade("-e", "load_balancer_hosts=lb1", "-e", gone)
    assert "lb1 does not answer: " in said
    assert "web1 was not changed to its end; the error above says why." in said
    assert "Not begun: web2." in said
    assert "TASK [Return the host on each balancer]" not in said


# -- the question ----------------------------------------------------------------------------------------------------


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        served = self.path in ("/healthz", "/shop/healthz?deep=1") and self.headers["X-Forwarded-Proto"] == "https"
        self.send_response(200 if served and self.headers["Host"] == "scoring.example.com" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

    def address_string(self):
        return "a caller"


def certificate(path):
    """A certificate of a name that is not localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scoring.example.com")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + private)
    return path


@pytest.fixture
def serve(tmp_path):
    """A service that tells it is healthy, at a TCP or a unix address, with or without TLS."""
    servers = []

    def start(unix, tls):
        if unix:
            bind = f"unix:{tmp_path}/app.sock"
            server = socketserver.ThreadingUnixStreamServer(f"{tmp_path}/app.sock", Healthy)
        else:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
            bind = f"0.0.0.0:{server.server_address[1]}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate(tmp_path / "app.pem"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return bind

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask(play, tmp_path):
    """The task of the playbook that asks the host, alone."""
    (whole,) = [one for one in yaml.safe_load(PLAYBOOK.read_text()) if "tasks" in one and "serial" in one]
    (block,) = [task["block"] for task in whole["tasks"] if "block" in task]
    (task,) = [task for task in block if "ansible.builtin.uri" in task]
    (tmp_path / "hosts").write_text(f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n")

    def run(**variables):
        given = {
            "flask_app_gunicorn": {},
            "flask_app_pygun_extra": "",
            "flask_app_health_path": "/healthz",
            "flask_app_health_host": "scoring.example.com",
            "flask_app_env": {},
            **variables,
        }
        only = {"hosts": "localhost", "gather_facts": False, "vars": {**whole["vars"], **given}, "tasks": [task]}
        (tmp_path / "ask.yml").write_text(yaml.safe_dump([only]))
        return play(tmp_path / "ask.yml")

    return run


TLS = {"flask_app_gunicorn": {"certfile": "/etc/app.pem", "keyfile": "/etc/app.pem"}}
EXTRA = {"flask_app_pygun_extra": "import os\ncertfile = os.path.join('/etc', 'app.pem')\n"}


@pytest.mark.parametrize(
    ("variables", "unix"),
    [
        pytest.param({}, True, id="plain, unix"),  # plain TCP is below
        pytest.param(TLS, False, id="TLS, tcp"),
        pytest.param(EXTRA, False, id="TLS by flask_app_pygun_extra, tcp", marks=pytest.mark.first_core),
        pytest.param(TLS, True, id="TLS, unix", marks=pytest.mark.full),
        pytest.param(EXTRA, True, id="TLS by flask_app_pygun_extra, unix", marks=pytest.mark.full),
    ],
)
def test_a_host_is_asked_in_the_way_that_its_app_speaks(serve, ask, variables, unix):
    status, said = ask(flask_app_bind=serve(unix, tls=bool(variables)), **variables)
    assert status == 0, said


@pytest.mark.parametrize(
    "path", ["/healthz?deep=1", pytest.param("/shop/healthz?deep=1", marks=pytest.mark.first_core)]
)
def test_an_app_below_a_path_is_asked_there(serve, ask, path):
    status, said = ask(
        flask_app_bind=serve(unix=False, tls=False), flask_app_env={"SCRIPT_NAME": "/shop/"}, flask_app_health_path=path
    )
    assert status == 0, said
