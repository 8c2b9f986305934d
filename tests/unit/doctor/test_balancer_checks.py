"""Checks of a balancer, over a host as data, and what the status shows of it."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import balancer_state
from ansible_collections.pygun.stack.plugins.module_utils.balancer_state import Balancer
from ansible_collections.pygun.stack.plugins.module_utils.doctor.findings import WARNING
from ansible_collections.pygun.stack.plugins.module_utils.haproxy import Server
from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import Outcome
from ansible_collections.pygun.stack.plugins.module_utils.status import Options, Status
from ansible_collections.pygun.stack.plugins.module_utils.status_table import table

from .hosts import codes, host, only, stopped


def server(name: str, status: str = "UP", admin: int = 0) -> Server:
    return Server("shop", name, "192.0.2.1", 5000, admin, status, 3)


def balancer(**fields) -> Balancer:
    return Balancer(servers=[server("web-1"), server("web-2")], **fields)


def on_balancer(**fields):
    """A host that is a balancer and nothing else."""
    state = stopped(host())
    state.apps, state.unit.properties, state.configuration.exists = [], {"LoadState": "not-found"}, False
    state.balancer = balancer(**fields)
    return state


def test_a_balancer_without_supervisord_is_well():
    assert codes(on_balancer()) == []


def test_a_host_that_is_both_is_looked_at_as_both():
    state = host()
    state.balancer = balancer(check=Outcome(1, "unable to load certificate"))
    assert codes(state) == ["balancer-configuration"]
    state.configuration.exists = False
    assert "conf-missing" in codes(state)


@pytest.mark.parametrize(
    "fields, code, word",
    [
        ({"check": Outcome(1, "no key in /etc/haproxy/certs/x.pem")}, "balancer-configuration", "x.pem"),
        ({"active": "failed"}, "balancer-stopped", "haproxy.service is failed"),
        ({"error": "HAProxy does not answer on /x"}, "balancer-silent", "/x"),
    ],
)
def test_what_is_wrong_with_haproxy_is_told(fields, code, word):
    only(on_balancer(**fields), code, word)


def test_a_haproxy_that_a_reboot_would_not_start_is_a_warning():
    only(on_balancer(at_boot="disabled"), "balancer-disabled", severity=WARNING)


def test_servers_that_get_no_requests_are_told():
    state = on_balancer()
    state.balancer.servers = [server("web-1"), server("web-2", admin=8)]
    only(state, "balancer-server-away", "web-2 (drained)", subject="shop", severity=WARNING)
    state.balancer.servers = [server("web-1", "DOWN"), server("web-2", admin=8)]
    only(state, "balancer-no-server", "web-1 (down), web-2 (drained)", subject="shop")


def test_a_host_without_the_keeper_of_servers_is_no_balancer(tmp_path, monkeypatch):
    monkeypatch.setattr(balancer_state, "KEEPER", str(tmp_path / "none"))
    assert balancer_state.observe() is None


def test_the_status_has_a_table_of_servers(tmp_path, monkeypatch):
    seen = balancer()
    monkeypatch.setattr(balancer_state, "observe", lambda: seen)
    options = Options(name="shop", base_dir=str(tmp_path), conf_dir=str(tmp_path), unit="")
    found = Status(options).look()
    assert found["ok"], found["problems"]
    text = table({"lb-1": found})
    assert text.splitlines()[:2] == ["HOST  SERVICE  SERVER  STATE  REQUESTS", "lb-1  shop     web-1   up            3"]
    assert text.endswith("Everything is as it should be.")
    seen.check, seen.active, seen.servers = Outcome(1, "x"), "failed", [server("web-1", "DOWN")]
    problems = [one["what"] for one in Status(options).look()["problems"]]
    assert problems == [
        "haproxy.service is failed, and at boot enabled",
        "does not take /etc/haproxy/haproxy.cfg: it cannot start again",
        "no server of shop gets requests",
    ]
