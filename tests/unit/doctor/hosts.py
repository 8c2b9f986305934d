"""Hosts as data: a healthy one, to be made ill by changing a field."""

from __future__ import annotations

from ansible_collections.pygun.stack.plugins.module_utils.doctor.examination import findings_of
from ansible_collections.pygun.stack.plugins.module_utils.doctor.findings import ERROR
from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import (
    AppState,
    Configuration,
    Disk,
    HostState,
    InstanceState,
    Log,
    Options,
    Release,
    Supervisord,
    Unit,
)
from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import HostProcess
from ansible_collections.pygun.stack.plugins.module_utils.instance.discovery import App
from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import Answer
from ansible_collections.pygun.stack.plugins.module_utils.release.record import Question
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Process

RELEASE = "0123456789abcdef"
CONF = "/etc/supervisor/supervisord.conf"
SECTIONS = {"supervisord": {"user": "root"}, "unix_http_server": {}, "rpcinterface:supervisor": {}, "supervisorctl": {}}
SUPERVISORD = 100
#: Words with which supervisor's parser refuses a file -> the code that they get.
REFUSED = {
    "Error: not a valid boolean value: 'x' in section 'program:x' (file: '/etc/x.conf')": "supervisor-value",
    "Error: File contains no section headers.\nfile: '/etc/x.conf', line: 1": "supervisor-syntax",
    "Error: .ini file does not include supervisord section": "supervisor-section",
    "strange words": "conf-invalid",
}


def process(pid: int, *command: str, user: str = "root", parent: int = 1, unit: str = "") -> HostProcess:
    return HostProcess(pid, parent, user, command, unit)


def instance(number: int = 0, state: str = "RUNNING", spawn_error: str = "", log: str = "", **fields) -> InstanceState:
    """An instance of the app. It is ready, unless supervisord's word for it says otherwise."""
    name, pid = f"shop-{number}", 200 + number if state == "RUNNING" else 0
    record = {"pid": pid, "release": RELEASE, "workers": 1, "worker_class": "gevent", "lossless": True, "started": 1.0}
    defaults = {
        "ready": state == "RUNNING",
        "record": record,
        "ready_workers": 1,
        "uptime": 3600.0,
        "answer": Answer(200, "ok") if state == "RUNNING" else None,
    }
    told = Process("shop", name, state, pid, spawn_error, 0, f"/var/log/shop/{name}.log")
    return InstanceState(told, log=Log(told.log_file, log), **{**defaults, **fields})


def app(name: str = "shop", bind: str = "127.0.0.1:5000", by_systemd: bool = False, conf: str = "x.conf") -> AppState:
    known = App(name, f"/srv/{name}", conf, f"/run/{name}", name, bind, 2, f"/var/log/{name}", by_systemd)
    return AppState(
        known,
        release=Release(
            RELEASE, is_complete=True, python_runs=True, question=Question("/healthz"), graceful_timeout=30
        ),
        program={"stopwaitsecs": "40", "startsecs": "1", "autostart": "true"},
        is_loaded=True,
        instances=[instance(0), instance(1)],
        answer=Answer(200, "ok"),
    )


def host(*apps: AppState, name: str = "") -> HostState:
    """A host on which all is well."""
    return HostState(
        Options(name=name),
        Configuration(CONF, settings={section: dict(options) for section, options in SECTIONS.items()}),
        now=1_000_000.0,
        disks=[Disk("/", size=10**11, free=5 * 10**10, inodes=10**6, inodes_free=10**6)],
        unit=Unit({"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}),
        supervisord=Supervisord(SUPERVISORD, uptime=3600.0, version="4.3.0", running=[]),
        processes={SUPERVISORD: process(SUPERVISORD, "python", "supervisord", unit="supervisord.service")},
        apps=list(apps) or [app()],
    )


def codes(state: HostState) -> list[str]:
    return [finding.code for finding in findings_of(state)]


def only(state: HostState, code: str, *words: str, subject: str | None = None, severity: str = ERROR):
    """The one finding of this host: its code, and words that it says."""
    findings = findings_of(state)
    assert [finding.code for finding in findings] == [code]
    (finding,) = findings
    assert finding.severity == severity
    assert subject in (None, finding.subject)
    text = " | ".join(finding.shown().values())
    for phrase in words:
        assert phrase in text
    assert finding.cause and finding.remedy
    return finding


def stopped(state: HostState, active: str = "inactive", **properties: str) -> HostState:
    """The same host without supervisord."""
    state.unit.properties.update(ActiveState=active, **properties)
    state.supervisord = Supervisord()
    del state.processes[SUPERVISORD]
    for seen in state.apps:
        seen.is_loaded, seen.instances, seen.answer = None, [], None
    return state
