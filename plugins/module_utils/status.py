# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Report the apps and programs of a host, and whether they are as they should be. Reads only; the doctor finds causes."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
import typing as t

from . import balancer_state
from .host import foreign, inspection, places
from .host.atomic import now, timestamp
from .instance import discovery, jobs, readiness
from .instance.frozen import frozen_processes
from .instance.obstacle import NOT_OPENED, obstacle
from .instance.public_socket import SystemdSocket
from .instance.run_directory import RunDirectory
from .instance.running_programs import running_programs
from .release.record import service_of
from .release.store import ReleaseStore
from .supervisor import conf, other_programs
from .supervisor.rpc import Process, Supervisor, SupervisorError

#: Seconds for which an instance that is not ready is looked at again: one of its workers may just be replaced.
SETTLE = 2.0
#: Seconds that supervisord may take for one answer.
ANSWER_TIMEOUT = 5.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Where things are; see the documentation of the module `status`."""

    name: str = ""
    base_dir: str = places.BASE_DIR
    conf_dir: str = places.CONF_DIR
    unit: str = "supervisord.service"


class Status:
    """One look at a host. Call `look` once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.settings = conf.parse(os.path.join(options.conf_dir, "supervisord.conf"))
        self.supervisor = Supervisor(conf.socket_path(self.settings), timeout=ANSWER_TIMEOUT)
        self.processes = inspection.processes()
        self.children: dict[int, list[int]] = {}
        for process in self.processes.values():
            self.children.setdefault(process.parent, []).append(process.pid)
        self.problems: list[dict[str, str]] = []
        self.started = time.time()

    def look(self) -> dict[str, t.Any]:
        """The whole state, with a list of problems."""
        known = discovery.find_apps(self.options.base_dir, self.options.conf_dir)
        wanted = [app for app in known if self.options.name in ("", app.name)]
        balancer = self._balancer()
        if self.options.name and not wanted and not (balancer and not known):
            self._problem(self.options.name, f"there is no such app on this host. Apps: {discovery.names(known)}")
        supervisord, running = self._supervisord(balancer is not None and not known)
        for one in frozen_processes(self.processes, running or [], [app.name for app in known]):
            if self.options.name in ("", one.app):
                self._problem(one.name, f"{one.text}: kill -CONT {one.process.pid}")
        return {
            "balancer": balancer,
            "at": now(),
            "supervisord": supervisord,
            "web_page": self._web_page(),
            "apps": [self._app(app, running) for app in wanted],
            "programs": self._programs(discovery.programs_beside(running or [], known, self.options.name)),
            "problems": self.problems,
            "ok": not self.problems,
        }

    def _problem(self, subject: str, what: str) -> None:
        self.problems.append({"subject": subject, "what": foreign.printable(what)})

    # -- supervisord -------------------------------------------------------------------------------------------------

    def _balancer(self) -> dict[str, t.Any] | None:
        """The services of HAProxy, on a balancer."""
        seen = balancer_state.observe()
        if seen is None:
            return None
        if seen.active != "active" or seen.at_boot != "enabled":
            self._problem(
                "haproxy",
                f"{balancer_state.UNIT} is {seen.active or 'not there'}, and at boot {seen.at_boot or 'not there'}",
            )
        if seen.check.status:
            self._problem("haproxy", f"does not take {balancer_state.CONFIGURATION}: it cannot start again")
        if seen.error:
            self._problem("haproxy", seen.error)
        for backend, servers in seen.backends().items():
            if not any(server.gets_requests for server in servers):
                self._problem("haproxy", f"no server of {backend} gets requests")
        return {
            "state": "RUNNING" if seen.active == "active" else "DOWN",
            "servers": [
                {"service": one.backend, "name": one.name, "state": one.shown, "requests": one.sessions}
                for one in seen.servers
            ],
        }

    def _supervisord(self, may_be_absent: bool) -> tuple[dict[str, t.Any], list[Process] | None]:
        facts: dict[str, t.Any] = {"state": "DOWN", "pid": 0, "version": "", "uptime_s": 0, "memory": None}
        running = None
        if may_be_absent and not self.settings.sections():
            return {}, None
        try:
            facts["version"] = self.supervisor.call("supervisor.getSupervisorVersion")
            facts["state"] = self.supervisor.call("supervisor.getState")["statename"]
            facts["pid"] = self.supervisor.call("supervisor.getPID")
            facts["uptime_s"] = round(inspection.uptime_of(facts["pid"]))
            facts["memory"] = self._memory([facts["pid"]], alone=True)
            running = self.supervisor.all_processes()
        except SupervisorError as error:
            self._problem("supervisord", str(error))
        if self.options.unit:
            facts["unit"] = self._unit()
        return facts, running

    def _unit(self) -> str:
        unit = self.options.unit
        found = inspection.unit_properties(unit, "LoadState,UnitFileState")
        state = found.get("UnitFileState") or found.get("LoadState") or "unknown"
        if state != "enabled":
            self._problem("supervisord", f"{unit} is {state}: after a reboot nothing runs")
        return state

    def _web_page(self) -> str:
        address = conf.get(self.settings, "inet_http_server", "port")
        return f"http://{address}" if address else ""

    # -- apps --------------------------------------------------------------------------------------------------------

    def _app(self, app: discovery.App, running: list[Process] | None) -> dict[str, t.Any]:
        store = ReleaseStore(app.root)
        current, history = store.current(), store.history()
        deploys = [entry for entry in history if not entry.get("rollback")]
        last = deploys[-1] if deploys else {}
        facts: dict[str, t.Any] = {
            "name": app.name,
            "release": current,
            "since": history[-1].get("at") if history else None,
            "address": app.bind,
            "logs": app.log_dir,
            "last_deploy": {"at": last.get("at"), "by": last.get("by") or "", "release": last.get("release")},
            "failed_releases": [
                {"release": release, "at": failure.get("at"), "step": failure.get("step")}
                for release, failure in sorted(store.failed().items())
            ],
            "transaction": self._transaction(app),
            "environment_changed": False,
            "stock_gunicorn": "",
            "processes": [],
            "jobs": [],
        }
        facts["age_s"] = self._age(facts["since"])
        damage = store.damage_of_state()
        if damage:
            self._problem(app.name, f"{store.state_file} {damage}; the next deploy writes it again")
        if not current:
            self._problem(app.name, f"no release of it is in service in {app.root}")
        elif not app.conf:
            self._problem(app.name, f"nothing in {self.options.conf_dir}/conf.d starts it")
        elif running is not None:
            try:
                self._socket(app)
                self._instances(app, facts, [process for process in running if process.group == app.name])
            except Exception as error:  # pylint: disable=broad-except  # the others have to be looked at all the same
                self._problem(app.name, f"cannot be looked at: {type(error).__name__}: {error}")
        facts["jobs"] = [self._job(app, job) for job in jobs.observe(app.name)]
        processes = [one for one in facts["processes"] if not one["holds_socket"]]
        counts = [one["requests"] for one in processes]
        facts["instances"] = {"ready": sum(one["ready"] for one in processes), "total": len(processes) or app.instances}
        facts["workers"] = sum(one["workers"] for one in processes)
        facts["memory"] = self._memory([one["pid"] for one in processes if one["pid"]])
        facts["requests"] = None if None in counts or not counts else sum(counts)
        return facts

    def _job(self, app: discovery.App, job: jobs.JobState) -> dict[str, t.Any]:
        if job.failure:
            self._problem(app.name, f"its job {job.name} {job.failure}")
        if job.timer != "active":
            self._problem(app.name, f"its job {job.name} is not started by the clock: {job.unit}.timer is {job.timer}")
        return {
            "name": job.name,
            "last": _moment(job.last),
            "next": _moment(job.next),
            "result": job.result,
            "failed": bool(job.failure),
        }

    def _transaction(self, app: discovery.App) -> str:
        """Return the run that changes the app now, or that was interrupted; empty if there is none."""
        lock = os.path.join(app.root, "activation.lock")
        if inspection.lock_holders(lock):
            try:
                holder = foreign.mapping(lock)
            except (OSError, foreign.Unreadable):
                holder = {}
            text = f"is being changed since {holder.get('since', '?')} by {holder.get('by') or '?'}"
        elif os.path.exists(os.path.join(app.root, "activation.json")):
            text = "a deploy, restart or rollback of it was interrupted"
        else:
            return ""
        self._problem(app.name, text)
        return text

    def _age(self, moment: t.Any) -> int | None:
        try:
            then = datetime.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
        except (TypeError, ValueError):
            return None
        return max(0, round(self.started - then.timestamp()))

    # -- instances ---------------------------------------------------------------------------------------------------

    def _socket(self, app: discovery.App) -> None:
        socket = SystemdSocket(app.name)
        if app.by_systemd and not socket.listening():
            seen = obstacle(socket.wanted() or "")
            self._problem(
                app.name, f"systemd does not listen on {socket.wanted()} for it" + (f": {seen}" if seen else "")
            )

    def _instances(self, app: discovery.App, facts: dict[str, t.Any], running: list[Process]) -> None:
        if not running:
            self._problem(app.name, f"supervisord does not know the program of {app.conf}")
        instances, holders = readiness.serving(app, running)
        seen = obstacle(app.bind, running) if any(NOT_OPENED in one.spawn_error for one in running) else ""
        if seen:
            self._problem(app.name, f"its socket cannot be opened: {seen}")
        environment = service_of(os.path.join(app.root, "current")).environment_digest()
        for process in instances:
            told = self._instance(app, facts, process)
            facts["processes"].append(told)
            facts["environment_changed"] |= told.pop("environment") not in (None, environment)
            if told.pop("worker_class") == "gevent" and told["lossless"] is False:
                facts["stock_gunicorn"] = foreign.printable(str(told["gunicorn"]))
        for process in holders:
            if process.state not in ("RUNNING", "STARTING"):
                self._problem(process.full_name, f"holds the socket, but is {process.state}")
            facts["processes"].append(
                {**_process(process), "holds_socket": True, "ready": False, "workers": 0, "requests": None}
            )

    def _instance(self, app: discovery.App, facts: dict[str, t.Any], process: Process) -> dict[str, t.Any]:
        process, ready = readiness.settle(app, self.supervisor, process, SETTLE)
        directory = RunDirectory(app.run_dir)
        record = directory.record(process.name)
        if not process.pid or record.get("pid") != process.pid:
            record = {}
        workers = directory.ready_records(process.name, process.pid) if record else []
        wanted = record.get("workers")
        release = record.get("release")
        if process.state not in ("RUNNING", "STARTING"):
            reason = f": {process.spawn_error}" if process.spawn_error else ""
            self._problem(process.full_name, f"is {process.state}{reason}")
        elif not ready:
            wrong = directory.wrong(process.name)
            of = f" ({len(workers)} of {wanted} workers are)" if record else f": {wrong}" if wrong else ""
            self._problem(process.full_name, f"is not ready{of}")
        if record and release != facts["release"] and not facts["transaction"]:
            self._problem(process.full_name, f"runs release {release}, and {facts['release']} is current")
        for worker in workers:
            if worker.get("health", "").startswith("failed"):
                self._problem(process.full_name, f"worker {worker.get('pid')} {worker['health']} when it started")
        dirty = directory.dirty_arbiter(process.name, process.pid) if record.get("dirty_workers") else {}
        if record.get("dirty_workers") and not dirty:
            self._problem(process.full_name, "has no dirty arbiter")
        elif dirty and dirty["up"] < dirty["wanted"]:
            self._problem(process.full_name, f"{dirty['up']} of {dirty['wanted']} dirty workers are up")
        return {
            **_process(process),
            "holds_socket": False,
            "ready": ready,
            "workers": len(workers),
            "accelerators": directory.accelerators(process.name, process.pid) if record else [],
            "dirty_workers": dirty.get("up", 0),
            "release": release,
            "lossless": record.get("lossless"),
            "worker_class": record.get("worker_class"),
            "gunicorn": record.get("gunicorn"),
            "environment": record.get("env_digest"),
            "memory": self._memory([process.pid] if process.pid else []),
            "requests": directory.requests(process.name, process.pid) if record else None,
        }

    # -- other programs ----------------------------------------------------------------------------------------------

    def _programs(self, running: list[Process]) -> list[dict[str, t.Any]]:
        found = []
        settings = other_programs.program_settings(self.supervisor) if running else {}
        of_releases = running_programs(running, self.options.conf_dir)
        for process in running:
            name = process.name if process.name == process.group else process.full_name
            setting = settings.get((process.group, process.name), {})
            of_release = of_releases.get(process.full_name)
            wrong = other_programs.wrong_with(process, setting) or (of_release.other_release if of_release else "")
            if wrong:
                self._problem(name, wrong)
            found.append(
                {
                    **_process(process),
                    "name": name,
                    "release": of_release.release if of_release else None,
                    "autostart": bool(setting.get("autostart", True)),
                    "memory": self._memory([process.pid] if process.pid else []),
                }
            )
        return found

    # -- memory ------------------------------------------------------------------------------------------------------

    def _memory(self, pids: list[int], alone: bool = False) -> dict[str, t.Any] | None:
        """The memory of these processes, and of all their descendants unless only these are meant.

        PSS counts a page that several processes share once; RSS counts it for each of them. The kernel shows PSS only
        to users who may trace a process. In some containers root may not.
        """
        tree, todo = [], [pid for pid in pids if pid in self.processes]
        while todo:
            pid = todo.pop()
            tree.append(pid)
            todo.extend([] if alone else self.children.get(pid, []))
        if not tree:
            return None
        shares = {pid: _kib(inspection.read_text(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in tree}
        hidden = [pid for pid, share in shares.items() if share is None and os.path.exists(f"/proc/{pid}")]
        if not hidden and any(shares.values()):
            return {"kind": "PSS", "bytes": 1024 * sum(filter(None, shares.values()))}
        sizes = [_kib(inspection.read_text(f"/proc/{pid}/status"), "VmRSS:") for pid in tree]
        return {"kind": "RSS", "bytes": 1024 * sum(filter(None, sizes))} if any(sizes) else None


def _kib(text: str, key: str) -> int | None:
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return None


def _moment(seconds: int) -> str | None:
    if not seconds:
        return None
    return timestamp(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))


def _process(process: Process) -> dict[str, t.Any]:
    return {
        "name": process.name,
        "group": process.group,
        "state": process.state,
        "pid": process.pid,
        "uptime_s": round(inspection.uptime_of(process.pid)) if process.pid else None,
    }
