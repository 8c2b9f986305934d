"""Who stands behind the balancer, what is remembered of it, and how a server is drained: against recorded answers of HAProxy.

The scenario `fleet` does the same with a real one.
"""

import importlib.util
import socketserver
import threading
from pathlib import Path

import pytest
import yaml

from ansible_collections.pygun.stack.plugins.module_utils import haproxy
from ansible_collections.pygun.stack.plugins.plugin_utils.balancer import APP, BalancerError, services

ROOT = Path(__file__).parents[3]
FILE = ROOT / "roles" / "load_balancer" / "files" / "keep_server_state.py"
SPEC = importlib.util.spec_from_file_location("keep_server_state", FILE)
keeper = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(keeper)

STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change (cut)
3 sample 1 api1 10.89.4.4 2 {0} 1 1 7 15 3 4 6 0 0 0 api1.example.com 5000 - 0 0 - - 0
3 sample 2 api2 10.89.4.3 2 {1} 1 1 85 15 3 4 6 0 0 0 - 5000 - 0 0 - - 0
"""
STAT = """# pxname,svname,qcur,qmax,scur,smax,status,
sample,FRONTEND,,,3,4,OPEN,
sample,api1,0,0,{0},4,{1},
sample,api2,0,0,0,4,{2},
sample,BACKEND,0,0,0,4,UP,
"""


class Recorded:
    """Answers as HAProxy 2.6 gave them; an order changes what the next ones say."""

    def __init__(self):
        self.orders, self.admin, self.sessions, self.up = [], {"api1": 0, "api2": 0}, 0, {"api1": "UP", "api2": "UP"}
        self.refuses = self.refused = self.stat = ""  # its answer, to which orders, and another answer of "show stat"

    def answer(self, command):
        if command == "show servers state":
            return STATE.format(self.admin["api1"], self.admin["api2"])
        if command == "show stat":
            shown = ["DRAIN" if self.admin[name] else self.up[name] for name in ("api1", "api2")]
            sessions, self.sessions = self.sessions, max(0, self.sessions - 1)
            return self.stat or STAT.format(sessions, *shown)
        self.orders.append(command)
        if self.refuses and self.refused in command:
            return self.refuses
        if " state " in command:
            name = command.split()[2].partition("/")[2]
            self.admin[name] = 8 if command.endswith("drain") else 0
        return "\n" if " state " in command else "IP changed from '1.2.3.4' to '1.2.3.5'\n"


@pytest.fixture
def recorded(tmp_path):
    made = Recorded()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(made.answer(self.rfile.readline().decode().strip()).encode())

    path = tmp_path / "admin.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        made.path = str(path)
        yield made
        server.shutdown()


def run(recorded, state, check_mode=False, **options):
    return haproxy.run(haproxy.Options(state=state, socket=recorded.path, **{"server": "api1", **options}), check_mode)


def test_a_server_is_drained_and_its_requests_are_waited_for(recorded):
    recorded.sessions = 3
    done = run(recorded, "drained")
    assert done["changed"] and recorded.orders == ["set server sample/api1 state drain"]
    assert (done["servers"][0]["before"], done["servers"][0]["after"]) == ("up", "drained")
    assert done["servers"][0]["sessions_before"] == 3
    assert recorded.sessions == 0
    assert run(recorded, "drained")["changed"] is False
    assert run(recorded, "ready")["changed"] is True
    assert run(recorded, "ready")["changed"] is False


def test_a_check_orders_nothing_and_predicts(recorded):
    done = run(recorded, "drained", check_mode=True)
    assert done["changed"] and recorded.orders == [] and done["servers"][0]["after"] == "drained"
    assert done["diff"] == {"before": "sample/api1: up\n", "after": "sample/api1: drained\n"}


def test_the_last_server_is_not_drained_unless_told_so(recorded):
    recorded.admin["api2"] = 8
    with pytest.raises(
        haproxy.BalancerError, match=r"0 servers of sample would get.*api2 is drained. Nothing was changed"
    ):
        run(recorded, "drained")
    assert recorded.orders == []
    assert run(recorded, "drained", leave=0)["changed"]


def test_a_server_that_does_not_come_up_or_does_not_empty_is_told(recorded):
    recorded.sessions = 10**6
    with pytest.raises(
        haproxy.BalancerError, match=r"still on their way after 0.1 s: \d+ on sample/api1. It stays drained"
    ) as late:
        run(recorded, "drained", timeout=0.1)
    assert late.value.ordered
    recorded.up["api1"] = "DOWN"
    with pytest.raises(haproxy.BalancerError, match="sample/api1 is DOWN. It gets no requests until"):
        run(recorded, "ready", timeout=0.1)


def test_a_changed_port_is_told_before_the_server_is_returned(recorded):
    recorded.admin["api1"] = 8
    run(recorded, "ready", ports={"sample": "5050"})
    assert recorded.orders == [
        "set server sample/api1 addr 10.89.4.4 port 5050",
        "set server sample/api1 state ready",
    ]


def test_a_refusal_after_an_order_is_known_as_one_and_says_so(recorded):
    """What was ordered has to be remembered for the next start of HAProxy."""
    recorded.admin["api1"] = 8
    recorded.refuses, recorded.refused = "Permission denied", "state ready"
    with pytest.raises(
        haproxy.BalancerError, match="did not obey .*Some of the orders before this were obeyed"
    ) as failure:
        run(recorded, "ready", ports={"sample": "5050"})
    assert failure.value.ordered
    recorded.refused = ""
    with pytest.raises(haproxy.BalancerError) as failure:
        run(recorded, "ready", ports={"sample": "5050"})
    assert not failure.value.ordered and "before this" not in str(failure.value)


def test_figures_that_cannot_be_read_are_told(recorded):
    recorded.stat = "Permission denied\n"
    with pytest.raises(haproxy.BalancerError, match="in a format that is not known: Permission denied"):
        run(recorded, "drained")
    assert recorded.orders == []


def test_names_that_haproxy_does_not_know_are_told(recorded):
    with pytest.raises(haproxy.BalancerError, match="no server api9. It has api1, api2. Nothing was changed"):
        run(recorded, "drained", server="api9")
    assert run(recorded, "drained", server="api9", required=False)["servers"] == []
    with pytest.raises(haproxy.BalancerError, match="no backend web. It has sample"):
        run(recorded, "drained", backends=["web"])
    recorded.refuses = "Permission denied"
    with pytest.raises(
        haproxy.BalancerError, match="did not obey `set server sample/api1 state drain`: Permission denied"
    ):
        run(recorded, "drained")
    recorded.path += ".gone"
    with pytest.raises(haproxy.BalancerError, match="does not answer on .*: No such file.*load_balancer_socket"):
        run(recorded, "drained")


def test_what_is_remembered_has_the_ports_of_the_configuration():
    configuration = "defaults\n  mode http\nbackend sample\n    server api1 api1.example.com:5050 check\n    server api2 [::1]:5051\n"
    ports = keeper.configured_ports(configuration)
    assert ports == {("sample", "api1"): "5050", ("sample", "api2"): "5051"}
    lines = keeper.with_ports(STATE.format(8, 0), ports).splitlines()
    assert lines[0] == "1" and lines[1].startswith("# be_id")
    assert lines[2] == STATE.format(8, 0).splitlines()[2].replace(" 5000 ", " 5050 ")
    assert keeper.with_ports(STATE.format(8, 0), {}) == STATE.format(8, 0)


GROUPS = {"api": ["api1", "api2"], "empty": []}
HOSTS = {
    "api1": {"flask_app_bind": "0.0.0.0:5000", "ansible_host": "10.0.0.1"},
    "api2": {"flask_app_bind": "[::]:5001", "load_balancer_address": "fd00::2", "ansible_host": "jump"},
}


def test_the_inventory_tells_who_serves():
    (service,) = services([{"name": "scoring", "bind": "0.0.0.0:80"}], GROUPS, HOSTS)
    assert service["balance"] == "leastconn"
    assert service["servers"] == [
        {"name": "api1", "address": "10.0.0.1", "max_connections": 16000, "port": 5000, "is_name": False},
        {"name": "api2", "address": "fd00::2", "max_connections": 16000, "port": 5001, "is_name": False},
    ]
    (service,) = services([{"name": "x", "bind": "0.0.0.0:80", "port": 7000}], {"api": ["api1"]}, {"api1": {}})
    assert service["servers"] == [
        {"name": "api1", "address": "api1", "max_connections": 16000, "port": 7000, "is_name": True}
    ]


@pytest.mark.parametrize(
    "variables, at_once",
    [
        ({"flask_app_workers": 3}, 6000),
        ({"flask_app_instances": 3, "flask_app_workers_max": 2, "flask_app_worker_connections": 50}, 300),
        ({"flask_app_worker_class": "gthread", "flask_app_workers": 2, "flask_app_threads": 4}, 16),
        ({"flask_app_worker_class": "sync", "flask_app_gunicorn": {"workers": 5}}, 10),
        ({"flask_app_worker_class": "own.Worker", "flask_app_workers": 1}, 2000),
    ],
)
def test_a_host_is_given_what_its_workers_take_at_once(variables, at_once):
    (service,) = services([{"name": "x", "bind": "0.0.0.0:80", "port": 7000}], {"api": ["api1"]}, {"api1": variables})
    assert service["servers"][0]["max_connections"] == at_once
    (service,) = services(
        [{"name": "x", "bind": "0.0.0.0:80", "port": 7000, "max_connections": 9}],
        {"api": ["api1"]},
        {"api1": variables},
    )
    assert service["servers"][0]["max_connections"] == 9


def test_what_is_not_said_of_an_app_is_its_roles_default():
    defaults = yaml.safe_load((ROOT / "roles" / "flask_app" / "defaults" / "main.yml").read_text())
    assert {f"flask_app_{name}": value for name, value in APP.items()}.items() <= defaults.items()


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ({}, ("/healthz", "/scoring/healthz", "api.example.com")),
        ({"health_path": "/scoring/up", "health_host": "x"}, ("/scoring/up", "/scoring/up", "x")),
        ({"health_path": ""}, ("", "/scoring/", "api.example.com")),
        ({"port": 7000}, ("", "/", "localhost")),
    ],
)
def test_a_host_is_asked_what_its_app_is_asked_by_a_deploy(entry, asked):
    app = {
        "flask_app_bind": "0.0.0.0:5000",
        "flask_app_health_path": "/healthz",
        "flask_app_health_host": "api.example.com",
        "flask_app_env": {"SCRIPT_NAME": "/scoring"},
    }
    entry = {"name": "scoring", "bind": "0.0.0.0:80", **entry}
    (service,) = services([entry], {"api": ["api1"]}, {"api1": app})
    assert (service["health_path"], service["health_uri"], service["health_host"]) == asked


@pytest.mark.parametrize(
    "entry, variables, said",
    [
        ({"group": "empty"}, {}, "the group 'empty', and the inventory has no host"),
        ({"group": "nowhere"}, {}, "the group 'nowhere'"),
        ({}, {}, "of api1 is '127.0.0.1:5000', which no other machine reaches"),
        (
            {},
            {"flask_app_bind": "0.0.0.0:80", "flask_app_workers": "many"},
            "api1 takes at once cannot be derived.*'many'",
        ),
        ({}, {"flask_app_bind": "unix:/run/a/a.sock"}, "no other machine reaches. Let the app listen on an address"),
    ],
)
def test_an_inventory_that_does_not_tell_is_refused(entry, variables, said):
    with pytest.raises(BalancerError, match=said):
        services([{"name": "scoring", "bind": "0.0.0.0:80", **entry}], GROUPS, dict.fromkeys(HOSTS, variables))
