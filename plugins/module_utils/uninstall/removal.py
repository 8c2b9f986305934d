# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take an app, or everything of the collection, away from a host.

Nothing is looked for but what `belongings` names. What names an app goes last, so that a run that was killed is
finished by the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import re
import time
import typing as t

from ..host import build_account, inspection, places
from ..host.inspection import read_text
from ..instance import discovery
from ..instance.leftovers import Leftovers
from ..release.lock import Held, locked
from ..supervisor import conf, release_programs
from ..supervisor.rpc import (
    STOPPABLE_STATES,
    STOPPED_STATES,
    BadName,
    NotRunning,
    Process,
    Supervisor,
    SupervisorError,
    Unreachable,
)
from . import account, footprint
from .footprint import AppPlaces, BalancerPlaces, HostPlaces, Thing, standing
from .plan import Plan

NOTHING = "Nothing was changed."
SYSTEMCTL_TIMEOUT = 600.0
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
#: The first line of a file that the module `programs` wrote: whose it is.
_SCOPE = re.compile(r"; Written by pygun\.stack\.programs for (\S+): ")


class UninstallError(Exception):
    """The uninstallation is not possible; the text says what to do, and whether anything was changed."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The parameters; the documentation of the module `uninstall` describes them."""

    name: str = ""
    everything: bool = False
    apps: tuple[str, ...] = ()
    data: bool = False
    base_dir: str = places.BASE_DIR
    conf_dir: str = places.CONF_DIR
    tools_dir: str = places.TOOLS_DIR
    cache_dir: str = places.CACHE_DIR
    ctl_link: str = "/usr/local/bin/supervisorctl"
    by: str = ""


class Uninstall:
    """One run. Call `run`, or `predict` for check mode; not both."""

    def __init__(self, options: Options) -> None:
        self.options = options
        settings = conf.parse(os.path.join(options.conf_dir, "supervisord.conf"))
        self.supervisor = Supervisor(conf.socket_path(settings))
        self._log_dir = os.path.dirname(conf.get(settings, "supervisord", "logfile")) or places.SUPERVISOR_LOG_DIR
        self._confs = {path: read_text(path) for path in conf.program_files(options.conf_dir)}
        self._known = {app.name: app for app in discovery.find_apps(options.base_dir, options.conf_dir)}
        self.removed: list[str] = []

    # -- the two ways through ----------------------------------------------------------------------------------------

    def run(self) -> dict[str, t.Any]:
        """Remove the named parts. Refuse while another run changes one of the apps."""
        self._check()
        places, plan = self._apps(), self._plan()
        if not plan:  # taking a lock would make a file
            return self._result(plan, False)
        with contextlib.ExitStack() as held:
            for app in places:
                if os.path.isdir(app.root):
                    held.enter_context(_alone(app, self.options.by))
            try:
                if self.options.everything:
                    self._remove_balancer()
                for builder in self._build_accounts():
                    build_account.end_processes(builder)
                for app in places:
                    self._remove_app(app)
                if self.options.everything:
                    self._remove_host()
                plan.accounts, kept = account.parted(plan.accounts)
                plan.kept_accounts += kept
                for kind, name in plan.accounts:
                    _delete(kind, name)
                    self.removed.append(f"{kind} {name}")
            except (OSError, SupervisorError, UninstallError, build_account.InstallError) as error:
                raise UninstallError(
                    f"Not everything could be removed: {error}. Removed so far: {', '.join(self.removed) or 'nothing'}."
                    " Correct it, then run this again: it goes on from there."
                ) from error
        return self._result(plan, True)

    def predict(self) -> dict[str, t.Any]:
        """Return the result that `run` would have. Writes nothing and touches no process."""
        self._check()
        plan = self._plan()
        return self._result(plan, bool(plan))

    # -- what is asked for -------------------------------------------------------------------------------------------

    def _check(self) -> None:
        options, there = self.options, self._names()
        listed = f"Apps on this host: {', '.join(there) or 'none'}."
        if options.everything and options.name:
            raise UninstallError(
                "One app (-e flask_app_name=NAME) or everything (-e uninstall_everything=true): both are asked for. "
                + NOTHING
            )
        if options.everything:
            unnamed = [name for name in there if name not in options.apps]
            if unnamed:
                raise UninstallError(
                    f"Everything is to be removed, with {', '.join(unnamed)}, which the command does not name. {listed} If all of them may"
                    f" go, say so: -e uninstall_everything=true -e uninstall_apps={','.join(there)} {NOTHING}"
                )
            foreign = self._foreign()
            if foreign:
                raise UninstallError(
                    f"Without supervisord, these programs would stop, and the collection did not write them:"
                    f" {', '.join(foreign)}. Move them out of the way first. {NOTHING}"
                )
        elif not options.name:
            raise UninstallError(f"Name the app: -e flask_app_name=NAME. {listed} {NOTHING}")
        elif not _NAME.fullmatch(options.name):
            raise UninstallError(f"{options.name!r} is no name of an app. {listed} {NOTHING}")

    def _names(self) -> list[str]:
        """Apps that are on the host, completely or in part."""
        found = set(self._known)
        for folder, pattern in (
            (places.ETC, r"(.+)\.env"),
            (places.LOGROTATE_DIR, r"(.+)\.conf"),
            ("/etc/tmpfiles.d", r"pygun-(.+)\.conf"),
            (self.options.base_dir, r"(.+)"),
        ):
            with contextlib.suppress(OSError):
                for entry in os.listdir(folder):
                    match = re.fullmatch(pattern, entry)
                    if match and (folder != self.options.base_dir or _is_root(os.path.join(folder, entry))):
                        found.add(match.group(1))
        if self.options.data:  # of an app that was removed without its data
            home = re.compile(rf"{re.escape(self.options.base_dir)}/([^/]+)/shared")
            found.update(match.group(1) for user in pwd.getpwall() if (match := home.fullmatch(user.pw_dir)))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def _apps(self) -> list[AppPlaces]:
        names = self._names() if self.options.everything else [self.options.name]
        return [self._places(name) for name in names]

    def _places(self, name: str) -> AppPlaces:
        known = self._known.get(name)
        log_dir = known.log_dir if known and known.conf else self._log_dir_of(name)
        return AppPlaces(
            name=name,
            root=known.root if known else os.path.join(self.options.base_dir, name),
            conf_dir=self.options.conf_dir,
            log_dir=log_dir,
            run_dir=known.run_dir if known else places.run_dir(name),
            program_files=(*self._files_of(name), *self._files_of(release_programs.scope(name))),
            cache_dir=self.options.cache_dir,
        )

    def _log_dir_of(self, name: str) -> str:
        """As the rules of its rotation say, which go after the logs."""
        found = re.search(r'^"(/[^"]+)/[^/"]+\.log"', read_text(f"{places.LOGROTATE_DIR}/{name}.conf"), re.MULTILINE)
        return found.group(1) if found else places.log_dir(name)

    def _files_of(self, scope: str) -> list[str]:
        """Files that the module `programs` wrote for an app, or for the role `supervisor`."""
        return [path for path, text in self._confs.items() if _scope(text) == scope]

    def _foreign(self) -> list[str]:
        """Files in conf.d that are neither an app's nor declared in a variable of ours."""
        own = {app.conf for app in self._known.values()}
        return [path for path, text in self._confs.items() if path not in own and _scope(text) is None]

    def _host(self) -> HostPlaces:
        tools, scopes = self.options.tools_dir, [path for path, text in self._confs.items() if _scope(text)]
        unit = re.search(r"^ExecStart=(?:\S+ )*(/\S+)/supervisor/bin/supervisord\s", read_text(_UNIT), re.MULTILINE)
        logs = [pattern for path in scopes for pattern in _log_patterns(path)]
        return HostPlaces(
            conf_dir=self.options.conf_dir,
            log_dir=self._log_dir,
            tools_dir=unit.group(1) if unit else tools,
            cache_dir=self.options.cache_dir,
            ctl_link=self.options.ctl_link,
            program_files=tuple(scopes),
            program_logs=tuple(logs),
        )

    def _plan(self) -> Plan:
        """Everything to remove, and the files that stay in the same folders."""
        plan, accounts = Plan(), []
        for app in self._apps():
            plan.processes += [process.full_name for process in self._processes(app) if _runs(process)]
            things = standing(app.things(self.options.data))
            if any(
                thing.kind != "system" for thing in things
            ):  # a folder that all apps share is not a trace of this one
                plan.add(things)
            accounts += app.account(self._users_of_others(app)) if self.options.data else []
        if self.options.everything:
            plan.add(BalancerPlaces().things())
            plan.processes += [process.full_name for process in self._all_processes() if _runs(process)]
            plan.add(self._host().things())
        accounts += [(kind, builder.name) for builder in self._build_accounts() for kind in ("user", "group")]
        plan.accounts, plan.kept_accounts = account.parted(accounts, self.options.everything)
        return plan

    def _build_accounts(self) -> list[build_account.Account]:
        """The accounts that installed what is removed; they own only their caches."""
        name = build_account.name_for(self.options.name)
        return [found for found in build_account.standing() if self.options.everything or found.name == name]

    # -- one app -----------------------------------------------------------------------------------------------------

    def _all_processes(self) -> list[Process]:
        try:
            return self.supervisor.all_processes()
        except Unreachable:
            return []

    def _processes(self, app: AppPlaces) -> list[Process]:
        """The app's processes in supervisord. The memory guard comes first, or it would start stopped instances."""
        groups = [name for path in app.program_files for name in _groups_in(self._confs[path])]
        found = self._all_processes()
        return [process for group in (*groups, app.name) for process in found if process.group == group]

    def _remove_app(self, app: AppPlaces) -> None:
        units = [unit for unit in app.units() if os.path.exists(os.path.join(footprint.UNITS, unit))]
        if units:  # the instances hold the listening socket for as long as they finish their requests
            _systemctl("stop", *units)
        self._stop(app)
        for user in (name for kind, name in app.account(self._users_of_others(app)) if kind == "user"):
            account.end_processes(user)
        for thing in app.things(self.options.data):
            self._remove(thing)
        if units:
            _systemctl("daemon-reload")
            with contextlib.suppress(UninstallError):  # there is nothing to forget, most often
                _systemctl("reset-failed", *units)

    def _users_of_others(self, app: AppPlaces) -> set[str]:
        """Users of apps and programs that stay."""
        if self.options.everything:
            return set()
        own = {process.full_name for process in self._processes(app)}
        others = [process.pid for process in self._all_processes() if process.pid and process.full_name not in own]
        users = {account.user_of(pid) for pid in others}
        return users | {other.user for other in self._known.values() if other.name != app.name}

    def _stop(self, app: AppPlaces) -> None:
        processes = self._processes(app)
        known = self._known.get(app.name)
        programs = release_programs.programs_of(app.name, self.options.conf_dir)
        times = [known.stop_timeout if known else 60.0, *(program.stop_timeout for program in programs)]
        patience = max(times) + conf.STOP_MARGIN
        left = Leftovers(self.supervisor, [process.pid for process in processes], _uid(known))
        for group in dict.fromkeys(process.group for process in processes):
            members = [process for process in processes if process.group == group]
            self._stop_group(members, patience)
            with contextlib.suppress(BadName):
                self.supervisor.remove_group(group)
        with contextlib.suppress(Unreachable):
            left.end()

    def _stop_group(self, members: list[Process], patience: float) -> None:
        give_up = time.monotonic() + patience
        while True:
            now = [self.supervisor.process(process.full_name) for process in members]
            for process in now:
                if process.state in STOPPABLE_STATES:
                    with contextlib.suppress(NotRunning):
                        self.supervisor.stop(process.full_name)
            waiting = [process for process in now if process.state not in STOPPED_STATES]
            if not waiting:
                return
            if time.monotonic() > give_up:
                raise UninstallError(f"{waiting[0].full_name} did not stop within {patience:g} s")
            time.sleep(0.05)

    def _remove(self, thing: Thing) -> None:
        if thing.exists():
            thing.remove()
            if not thing.exists():
                self.removed.append(thing.text)

    # -- the host ----------------------------------------------------------------------------------------------------

    def _remove_host(self) -> None:
        places = self._host()
        units = places.units()
        if units:
            _systemctl("disable", "--quiet", *[unit for unit in units if unit != "pygun-logrotate.service"])
            _systemctl("stop", *units)
        for thing in places.things():
            self._remove(thing)
        if units:
            _systemctl("daemon-reload")
            with contextlib.suppress(UninstallError):  # there is nothing to forget, most often
                _systemctl("reset-failed", *units)

    def _remove_balancer(self) -> None:
        """Restore the former configuration of HAProxy, which finishes the requests in flight."""
        places = BalancerPlaces()
        if not standing(places.things()):
            return
        unit, replaced, others = places.unit(), places.replaced(), places.others()
        for thing in unit:
            self._remove(thing)
        _systemctl("daemon-reload")
        for thing in replaced:
            self._remove(thing)
        self._have_haproxy_agree(places.configuration)
        for thing in others:
            self._remove(thing)

    @staticmethod
    def _have_haproxy_agree(configuration: str) -> None:
        """It runs with this configuration if it ran and can; without one it would fail at each boot."""
        if not _succeeds("systemctl", "cat", "haproxy.service"):
            return
        if not os.path.exists(configuration):
            _systemctl("disable", "--quiet", "--now", "haproxy.service")
        elif _succeeds("systemctl", "--quiet", "is-active", "haproxy.service"):
            valid = _succeeds("haproxy", "-c", "-q", "-f", configuration)
            _systemctl("reload" if valid else "stop", "haproxy.service")

    # -- what is told ------------------------------------------------------------------------------------------------

    def _result(self, plan: Plan, changed: bool) -> dict[str, t.Any]:
        return {
            "changed": changed,
            "removed": plan.lines(),
            "left": plan.left,
            "stopped": list(dict.fromkeys(plan.processes)),
            "packages": inspection.installed_packages(footprint.PACKAGES) if self.options.everything else [],
            "diff": {
                "before_header": "on the host",
                "after_header": "on the host",
                "before": "".join(f"{line}\n" for line in [*plan.lines(), *plan.left]),
                "after": "".join(f"{line}\n" for line in plan.left),
            },
        }


@contextlib.contextmanager
def _alone(app: AppPlaces, by: str) -> t.Iterator[None]:
    """Hold the lock of an app."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(app.root, by, patience=0))
        except Held as error:
            raise UninstallError(f"{app.name}: {error}") from error
        except OSError as error:
            raise UninstallError(f"{app.name}: its lock cannot be had: {error}. {NOTHING}") from error
        yield


_UNIT = os.path.join(footprint.UNITS, "supervisord.service")


def _is_root(path: str) -> bool:
    """Whether a folder is an app's: this file comes with the first release, and goes last."""
    return os.path.lexists(os.path.join(path, "activation.lock")) and discovery.is_roots(path)


def _scope(text: str) -> str | None:
    found = _SCOPE.match(text)
    return found.group(1) if found else None


def _log_patterns(path: str) -> t.Iterator[str]:
    """The patterns of the log files that a file in conf.d names."""
    parser = conf.parse(path)
    for section in parser.sections():
        name = section.partition(":")[2].strip()
        for option in ("stdout_logfile", "stderr_logfile"):
            parts = re.split(r"%\((\w+)\)([^ds]*[ds])", conf.get(parser, section, option))
            known = {"program_name": re.escape(name), "process_num": r"\d+", "numprocs": r"\d+"}
            if parts[0].startswith("/"):
                pattern = "".join(
                    re.escape(parts[at].replace("%%", "%"))
                    + known.get(parts[at + 1], "[^/]*") * (parts[at + 2] != ".0s")
                    for at in range(0, len(parts) - 1, 3)
                )
                yield pattern + re.escape(parts[-1].replace("%%", "%"))


def _groups_in(text: str) -> list[str]:
    return re.findall(r"^\[(?:group|program|fcgi-program|eventlistener):([^\]]+)\]", text, re.MULTILINE)


def _uid(app: discovery.App | None) -> int | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(app.user).pw_uid if app else None
    return None


def _runs(process: Process) -> bool:
    return process.state not in STOPPED_STATES


def _systemctl(*arguments: str) -> None:
    _command("systemctl", *arguments)


def _delete(kind: str, name: str) -> None:
    if kind == "group" and not any(group.gr_name == name for group in footprint.grp.getgrall()):
        return  # it went with its user
    if kind == "user":
        account.end_processes(name)  # what a clock or logind has started meanwhile
    _command("userdel" if kind == "user" else "groupdel", name)


def _command(*command: str) -> None:
    code, error = _ended(*command)
    if code:
        raise UninstallError(f"{' '.join(command)}: {error}")


def _succeeds(*command: str) -> bool:
    return _ended(*command)[0] == 0


def _ended(*command: str) -> tuple[int, str]:
    code, text = inspection.run(list(command), SYSTEMCTL_TIMEOUT)
    if code == -1:
        raise UninstallError(f"{' '.join(command)} cannot be run: {text}")
    return code, text
