# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The same app with a public socket that systemd holds, and with one that is a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from patient import ROOT, Patient

APP = {
    "flask_app_name": "patient",
    "flask_app_src": f"{ROOT}/tests/acceptance/doctor/app/",
    "flask_app_health_path": "/healthz",
    "flask_app_workers": 1,
}


def deploy(patient: Patient, **settings: str) -> None:
    done = patient.playbook("deploy", "-e", json.dumps({**APP, **settings}))
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(patient: Patient) -> Iterator[None]:
    yield
    deploy(patient)
    patient.wait_until_well()
    assert patient.examine_quickly() == []


@pytest.fixture(scope="module")
def by_systemd(patient: Patient) -> Patient:
    deploy(patient, flask_app_socket="systemd")
    patient.wait_until_well()
    assert patient.examine().codes == []
    return patient


def test_a_socket_unit_that_was_stopped_is_named(by_systemd: Patient) -> None:
    """The instances still hold the socket and serve; the next restart would close it."""
    sockets = "pygun-patient.socket pygun-patient-keeper.socket"
    remedy = f"supervisorctl stop patient:* && systemctl restart {sockets} && supervisorctl start patient:*"
    with by_systemd.ill("systemctl stop pygun-patient.socket", remedy):
        by_systemd.diagnosed("socket-unit", "pygun-patient.socket is inactive", re.escape(remedy))


#: Runs on the host: a few callers with pauses between them. One keeps its connection to a worker, another comes and goes
#: and wakes all workers, and then the first asks again.
LIGHT_TRAFFIC = """
import http.client, time
for _ in range(8):
    kept = http.client.HTTPConnection("127.0.0.1", 5000, timeout=5)
    for pause in (0, 0.4):
        time.sleep(pause)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read() == b"well\\n"
        passing = http.client.HTTPConnection("127.0.0.1", 5000, timeout=5)
        passing.request("GET", "/healthz", headers={"Connection": "close"})
        assert passing.getresponse().read() == b"well\\n"
    kept.close()
"""


@pytest.mark.parametrize(
    "ended", ["systemctl restart", pytest.param("systemctl kill --signal=KILL", marks=pytest.mark.full)]
)
def test_light_traffic_is_served_when_the_keeper_has_started_anew(by_systemd: Patient, ended: str) -> None:
    """systemd makes the sockets that it hands over blocking, unless it is told not to: they are the instances' sockets too.

    A gevent worker that loses the race for a connection then sleeps in accept(), with everything that it serves.
    """
    pid = by_systemd.sh("systemctl show pygun-patient.service --property=MainPID --value").strip()
    by_systemd.sh(f"{ended} pygun-patient.service")
    by_systemd.wait(
        "now=$(systemctl show pygun-patient.service --property=MainPID --value);"
        f" [ $now != 0 ] && [ $now != {pid} ] && systemctl is-active pygun-patient.service"
    )
    by_systemd.sh(f"python3 -c '{LIGHT_TRAFFIC}'")


@pytest.fixture(scope="module")
def on_a_file(patient: Patient) -> Patient:
    deploy(patient, flask_app_bind="unix:/run/patient/public.sock")
    assert patient.examine().codes == []
    return patient


@pytest.mark.full
def test_a_socket_file_that_was_deleted_is_named(on_a_file: Patient) -> None:
    on_a_file.sh("mv /run/patient/public.sock /run/patient/away.sock")
    try:
        on_a_file.diagnosed(
            "not-answering", "GET /healthz on unix:/run/patient/public.sock gives no answer", "No such file"
        )
    finally:
        on_a_file.sh("mv /run/patient/away.sock /run/patient/public.sock")
    assert on_a_file.examine_quickly() == []


@pytest.mark.full
def test_an_instance_that_does_not_boot_is_named_there_too(on_a_file: Patient) -> None:
    stop = "supervisorctl stop patient:patient-1"
    on_a_file.sh(stop)
    try:
        on_a_file.diagnosed("instance-stopped", "patient-1 is STOPPED")
    finally:
        on_a_file.sh("supervisorctl start patient:patient-1")
    assert on_a_file.examine_quickly() == []


@pytest.mark.full
def test_a_link_to_nowhere_in_the_place_of_the_socket_is_named(on_a_file: Patient) -> None:
    path = "/run/patient/public.sock"
    on_a_file.sh(f"systemctl stop supervisord; rm -f {path}; ln -s /nowhere {path}; systemctl start supervisord")
    try:
        on_a_file.wait("supervisorctl status | grep -q BACKOFF")
        on_a_file.diagnosed("socket-not-opened", f"{path} is a link to /nowhere, which is not there", "tries again")
    finally:
        on_a_file.sh(f"rm {path}")
    on_a_file.wait("[ $(supervisorctl status | grep -c RUNNING) = 3 ]")
    assert on_a_file.examine_quickly() == []
