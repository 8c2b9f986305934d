# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The balancer itself: it drains, it reloads, it speaks TLS, and it tells the app who called."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import time
from pathlib import Path

import https_callers
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fleet import Fleet
from https_callers import NAME
from rig.report import Report

PLACE = "/var/lib/pygun-acceptance"
FULL = bool(os.environ.get("PYGUN_FULL"))


def test_a_host_is_drained_and_returned_without_losing_a_request(fleet: Fleet, report: Report, rounds: int) -> None:
    with fleet.load("drain") as load:
        for _ in range(rounds):
            for name in fleet.names[: 2 if rounds > 1 else 1]:
                with load.roll(f"drain {name}"):
                    drained = fleet.order(name, "drained")
                assert drained.ok, drained.text
                assert fleet.servers()[name] == "DRAIN"
                connections = fleet.hosts[name].run("ss", "-Htn", "state", "established", "sport", "=", ":5000")
                with load.roll(f"restart {name}"):  # nothing is on its way there: this may be as rude as it likes
                    fleet.hosts[name].run("systemctl", "kill", "--signal=KILL", "supervisord")
                    fleet.hosts[name].tell("recovered", "sample")
                with load.roll(f"return {name}"):
                    returned = fleet.order(name, "ready")
                assert returned.ok, returned.text
                assert fleet.servers()[name] == "UP"
                assert "CHANGED" not in fleet.order(name, "ready").text
    report.figure("a host is drained, killed and returned", load, f"{len(connections.splitlines())} connections left")
    assert load.totals["failed"] == 0, load.failed()[:5]


def test_a_reload_drops_nothing_and_keeps_a_drained_host_drained(fleet: Fleet, report: Report, rounds: int) -> None:
    drained, other = fleet.names[:2]
    assert fleet.order(drained, "drained").ok
    try:
        with fleet.load("reload") as load:
            for _ in range(2 * rounds):
                time.sleep(2)
                with load.roll("reload"):
                    fleet.balancer.run("systemctl", "reload", "haproxy")
                    time.sleep(1)
                assert fleet.servers()[drained] == "DRAIN"
    finally:
        assert fleet.order(drained, "ready").ok
    report.figure("HAProxy is reloaded", load)
    assert load.totals["failed"] == 0, load.failed()[:5]
    assert fleet.servers()[other] == "UP"


def test_tls_with_a_certificate_of_ones_own(fleet: Fleet, report: Report, tmp_path: Path) -> None:
    """Also over reloads, and when the next certificate is refused. The app behind it is one that tells what it is told."""
    certificate = self_made_certificate(tmp_path / f"{NAME}.pem")
    fleet.balancer.put({PLACE: [Path(https_callers.__file__), certificate]})
    app = fleet.balancer.spawn("python3", f"{PLACE}/https_callers.py", "serve", "7000")
    plain = {"name": "sample", "bind": "0.0.0.0:80", "health_path": "/healthz"}
    secure = {
        "name": "echo",
        "group": "balancers",
        "port": 7000,
        "bind": "0.0.0.0:443",
        "redirect_bind": "0.0.0.0:8080",
        "certificates": [f"/etc/haproxy/certs/{certificate.name}"],
    }
    try:
        done = fleet.run(
            "balancer", load_balancer_services=[plain, secure], load_balancer_certificates=[str(certificate)]
        )
        assert done.ok, done.text
        assert "PRIVATE KEY" not in done.text
        callers = fleet.balancer.spawn(
            "python3", f"{PLACE}/https_callers.py", "call", "10", f"{PLACE}/{certificate.name}", stdout=subprocess.PIPE
        )
        for _ in range(3):
            time.sleep(2)
            fleet.balancer.run("systemctl", "reload", "haproxy")
        seen = json.loads(callers.communicate(timeout=120)[0])
        a_certificate_without_its_key_replaces_nothing(fleet, certificate, [plain, secure])
    finally:
        app.kill()
        fleet.balancer.run("pkill", "-f", "https_callers.py serve", check=False)
        back = fleet.run("balancer")
    assert back.ok, back.text
    assert list(seen["answers"]) == ["ok"], seen["answers"]
    assert seen["answers"]["ok"] > 20
    report.document["figures"].append(
        {
            "what": "TLS, over three reloads",
            "sent": seen["answers"]["ok"],
            "failed": 0,
            "close_race": 0,
            "errors": {},
            "note": "",
        }
    )
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "https"
    assert seen["headers"]["x-request-id"]
    assert seen["redirect"] == [308, f"https://{NAME}/a?b=c"]


def test_a_configuration_that_haproxy_does_not_take_replaces_nothing(fleet: Fleet) -> None:
    before = fleet.balancer.run("cat", "/etc/haproxy/haproxy.cfg")
    done = fleet.run("balancer", load_balancer_defaults=["option no-such-thing"])
    assert not done.ok
    assert "no-such-thing" in done.message
    assert fleet.balancer.run("cat", "/etc/haproxy/haproxy.cfg") == before


def a_certificate_without_its_key_replaces_nothing(fleet: Fleet, certificate: Path, services: list[dict]) -> None:
    """Not even where the configuration that names it stays as it is."""
    place = f"/etc/haproxy/certs/{certificate.name}"
    before = fleet.balancer.run("cat", place)
    certificate.write_text(before.partition("-----BEGIN PRIVATE KEY")[0].strip() + "\n")
    for options in (("--check",), ()) if FULL else ((),):
        done = fleet.run(
            "balancer", *options, load_balancer_services=services, load_balancer_certificates=[str(certificate)]
        )
        assert not done.ok
        assert place in done.message and "Nothing was changed" in done.message
        assert fleet.balancer.run("cat", place) == before


def self_made_certificate(path: Path) -> Path:
    """Certificate and key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = serialization.Encoding.PEM
    path.write_bytes(
        certificate.public_bytes(encoded)
        + key.private_bytes(encoded, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
