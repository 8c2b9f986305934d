# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one list of everything that the collection writes on a host. A new file of a role has to be added here.

Five kinds: a file; a folder with all that is in it; a folder that is ours only if nothing else is in it; one of the
system, which goes like that, but what others have in it is nothing to speak of; and a file of a package that a role has
replaced, which is put back.
"""

from __future__ import annotations

import dataclasses
import glob
import grp
import os
import pwd
import re
import typing as t

from ..host import build_account, places
from ..host.atomic import remove_tree
from ..host.files import ASIDE
from ..host.inspection import read_text
from ..instance import jobs
from ..instance.candidates import candidates_folder
from ..supervisor import others

#: Packages of the distribution that the roles install. They stay: others may need them.
PACKAGES = ("python3", "python3-venv", "logrotate", "haproxy")
UNITS = "/etc/systemd/system"
LOGROTATE_STATE = "/var/lib/pygun-logrotate"
_WANTS = f"{UNITS}/sockets.target.wants"
#: Kinds of folders that go only if nothing else is in them.
IF_EMPTY = ("empty", "system")
#: System accounts have lower ids than this; the roles make no others.
FIRST_PERSON = 1000
#: Keeps drained servers drained. It names the host as a balancer's, and so goes last.
KEEPER = "keep_server_state.py"
#: Folders of the tools. What ends with .before, .old or .build, an interrupted upgrade has left.
_TOOLS = (
    "wheelhouse",
    "supervisor",
    "supervisor.before",
    "supervisor.old",
    "supervisor.build",
    "uv",
    "uv.before",
    "uv.old",
    "uv.build",
    "pygun_reader",
)
#: Our own programs next to them.
_SCRIPTS = (
    "keeper.py",
    "launch.py",
    "supervisord.py",
    "end_orphans.py",
    "memory_guard.py",
    "pygun",
    "pygun.zip",
    "venv.lock",
    "foreign.py",
    "survivor.py",
)  # the last two until 1.0.0


#: Of systemd, for the whole host.
SUPERVISORD = "supervisord.service"
_UNITS_OF_THE_HOST = ("pygun-logrotate.timer", "pygun-logrotate.service", SUPERVISORD)


@dataclasses.dataclass(frozen=True)
class Thing:
    """One file, folder, unit or account of ours on the host."""

    path: str
    kind: str = "file"

    def exists(self) -> bool:
        return os.path.lexists(self.path + (ASIDE if self.kind == "replaced" else ""))

    def remove(self) -> None:
        """Remove it; a folder of the last two kinds stays when something else is in it."""
        if self.kind == "tree" and not os.path.islink(self.path):
            remove_tree(self.path)
        elif self.kind in IF_EMPTY:
            try:
                os.rmdir(self.path)
            except OSError:
                if not os.path.isdir(self.path):
                    raise
        elif self.kind == "replaced":
            os.replace(self.path + ASIDE, self.path)
        else:
            os.unlink(self.path)

    @property
    def text(self) -> str:
        if self.kind == "replaced":
            return f"{self.path} (as it was before comes back)"
        return self.path if self.kind == "file" else f"{self.path}/"


def standing(things: t.Iterable[Thing]) -> list[Thing]:
    """Those that are there."""
    return list(dict.fromkeys(thing for thing in things if thing.exists()))


def _with_leftovers(*paths: str) -> list[Thing]:
    """Files, and the temporary files of an interrupted write next to them."""
    found = []
    for path in paths:
        plain = glob.escape(path)
        found += [path, f"{path}.before", f"{path}.removed", *sorted(glob.glob(f"{plain}.*.tmp"))]
    return [Thing(path) for path in found]


def _log_folders(path: str) -> list[Thing]:
    """A folder of logs, and those that were made on the way to it; not the system's, nor what may be a mount point."""
    found, parent = [Thing(path, "empty")], os.path.dirname(path)
    while parent.startswith(f"{places.LOGS}/"):
        found.append(Thing(parent, "system"))
        parent = os.path.dirname(parent)
    return found


@dataclasses.dataclass(frozen=True)
class AppPlaces:
    """Where one app's things are."""

    name: str
    root: str
    conf_dir: str
    log_dir: str
    run_dir: str
    program_files: tuple[str, ...] = ()
    cache_dir: str = places.CACHE_DIR

    @property
    def shared(self) -> str:
        return os.path.join(self.root, "shared")

    def units(self) -> list[str]:
        """Its units, the sockets first."""
        own = [f"pygun-{self.name}.socket", f"pygun-{self.name}-keeper.socket", f"pygun-{self.name}.service"]
        return [*own, *jobs.units(self.name)]

    def things(self, data: bool) -> list[Thing]:
        """Everything of the app, in the order of removal: first the files that would start it, last those that name it."""
        root = self.root
        return [
            *_with_leftovers(os.path.join(self.conf_dir, "conf.d", f"{self.name}.conf"), *self.program_files),
            *self._enabled(),
            *[Thing(path) for path in jobs.leftovers(self.name)],
            *_with_leftovers(*[os.path.join(UNITS, unit) for unit in self.units()]),
            *_with_leftovers(places.env_file(self.name), places.tmpfiles(self.name)),
            Thing(self.run_dir, "tree"),
            Thing(candidates_folder(self.run_dir), "tree"),
            Thing(os.path.dirname(candidates_folder(self.run_dir)), "system"),
            *[Thing(path) for path in self.logs()],
            *_log_folders(self.log_dir),
            *_with_leftovers(f"{places.LOGROTATE_DIR}/{self.name}.conf"),
            *[Thing(f"{LOGROTATE_STATE}/{self.name}.conf.status{ending}") for ending in ("", ".tmp")],
            Thing(os.path.join(self.cache_dir, build_account.name_for(self.name)), "tree"),
            *([Thing(self.shared, "tree")] if data else []),
            Thing(os.path.join(root, "releases"), "tree"),
            Thing(os.path.join(root, "environments"), "tree"),
            *_with_leftovers(*[os.path.join(root, name) for name in ("current", "activation.json", "state.json")]),
            Thing(os.path.join(root, "activation.lock")),
            Thing(root, "empty"),
        ]

    def _enabled(self) -> list[Thing]:
        """The links that start its sockets at boot; systemd makes the folder for the first socket of a host."""
        links = standing(Thing(os.path.join(_WANTS, unit)) for unit in self.units()[:2])
        return [*links, Thing(_WANTS, "system")] if links else []

    def logs(self) -> list[str]:
        """Logs of its instances and of what watches them, with all that was rotated."""
        pattern = re.compile(rf"{re.escape(self.name)}(-(\d+|memory)(\.raw)?|\.[a-z][a-z0-9_-]*)\.log([.-].*)?")
        return [os.path.join(self.log_dir, name) for name in _names(self.log_dir) if pattern.fullmatch(name)]

    def account(self, in_use: t.Collection[str] = ()) -> list[tuple[str, str]]:
        """The user and the group that were made for this app, as pairs of ``user`` or ``group`` and a name.

        A role gives its user the app's shared folder for a home, and nobody else has that.

        :param in_use: users that other apps run as
        """
        found = [user for user in pwd.getpwall() if user.pw_dir == self.shared and 0 < user.pw_uid < FIRST_PERSON]
        found = [user for user in found if user.pw_name not in in_use]
        pairs = [("user", user.pw_name) for user in found]
        for gid in sorted({user.pw_gid for user in found}):
            group = _group(gid)
            others = [user for user in pwd.getpwall() if user.pw_gid == gid and user not in found]
            members = set(group.gr_mem) - {user.pw_name for user in found} if group else set()
            if group and 0 < gid < FIRST_PERSON and not others and not members:
                pairs.append(("group", group.gr_name))
        return pairs


@dataclasses.dataclass(frozen=True)
class HostPlaces:
    """Where the things are that all apps of a host share."""

    conf_dir: str
    log_dir: str
    tools_dir: str
    cache_dir: str
    ctl_link: str
    program_files: tuple[str, ...] = ()
    program_logs: tuple[str, ...] = ()  # regular expressions

    @staticmethod
    def units() -> list[str]:
        """The units of ours that are there, in the order in which they are stopped. What was there before has come back."""
        found = [unit for unit in _UNITS_OF_THE_HOST if os.path.exists(f"{UNITS}/{unit}")]
        return [unit for unit in found if unit != SUPERVISORD or others.is_our_unit(f"{UNITS}/{unit}")]

    def things(self) -> list[Thing]:
        """Everything outside of apps, in the order of removal. The files that say where the others are come last."""
        return [
            *_with_leftovers(*self.program_files),
            *[Thing(path) for path in self.logs()],
            *_log_folders(self.log_dir),
            *[Thing(path.removesuffix(ASIDE), "replaced") for path in self._programs_of_others()],
            Thing(os.path.join(self.conf_dir, "conf.d"), "empty"),
            Thing(os.path.join(self.conf_dir, "conf.d.lock")),
            *(_with_leftovers(self._configuration) if others.is_our_configuration(self._configuration) else []),
            Thing(self._configuration, "replaced"),
            Thing(self.conf_dir, "empty"),
            Thing(f"{places.LOGROTATE_DIR}", "empty"),
            Thing(places.ETC, "empty"),
            Thing(LOGROTATE_STATE, "tree"),
            *self._links(),
            *[Thing(path, "tree") for path in self._caches()],
            Thing(self.cache_dir, "empty"),
            *[Thing(os.path.join(self.tools_dir, name), "tree") for name in _TOOLS],
            *[Thing(os.path.join(self.tools_dir, name)) for name in _SCRIPTS],
            Thing(self.tools_dir, "empty"),
            Thing(f"{UNITS}/timers.target.wants/pygun-logrotate.timer"),
            *([Thing(f"{UNITS}/multi-user.target.wants/{SUPERVISORD}")] if SUPERVISORD in self.units() else []),
            *[Thing(f"{UNITS}/{unit}") for unit in self.units()],
            Thing(f"{UNITS}/{SUPERVISORD}", "replaced"),
        ]

    @property
    def _configuration(self) -> str:
        return os.path.join(self.conf_dir, "supervisord.conf")

    def _programs_of_others(self) -> list[str]:
        """Programs that were configured before supervisord was installed."""
        return sorted(glob.glob(os.path.join(glob.escape(self.conf_dir), "conf.d", f"*{ASIDE}")))

    def logs(self) -> list[str]:
        """supervisord's own logs and those of the programs that the collection declared."""
        patterns = [re.escape(os.path.join(self.log_dir, "supervisord.log")), *self.program_logs]
        found = [os.path.join(self.log_dir, name) for name in _names(self.log_dir)]
        return [path for path in found if any(re.fullmatch(rf"(?:{one})(?:\.\d+)?", path) for one in patterns)]

    def _caches(self) -> list[str]:
        """A cache for each account that installs; before there were such accounts, one for each installer."""
        return [
            os.path.join(self.cache_dir, name)
            for name in _names(self.cache_dir)
            if build_account.is_name(name) or name in build_account.FORMER_CACHES
        ]

    def _links(self) -> list[Thing]:
        """The links that bring our commands into the search path. Links of others are left out."""
        wanted = others.links(self.tools_dir, self.ctl_link)
        ours = [Thing(path) for path, target in wanted.items() if others.links_to(path, target)]
        return [*ours, *[Thing(path, "replaced") for path in wanted]]


@dataclasses.dataclass(frozen=True)
class BalancerPlaces:
    """The files of the role `load_balancer`, including those that replace files of HAProxy's package."""

    haproxy: str = "/etc/haproxy"
    lib: str = "/usr/local/lib/pygun"
    state: str = "/var/lib/haproxy/server-state"
    pending: str = "/run/pygun-haproxy.pending"

    @property
    def configuration(self) -> str:
        return os.path.join(self.haproxy, "haproxy.cfg")

    @property
    def _is_ours(self) -> bool:
        """Whether folders that a package or a person may have made as well were made by the role."""
        return os.path.exists(os.path.join(self.lib, KEEPER))

    def unit(self) -> list[Thing]:
        """Its additions to the unit of HAProxy."""
        folder = f"{UNITS}/haproxy.service.d"
        return [Thing(f"{folder}/pygun.conf"), *([Thing(folder, "system")] if self._is_ours else [])]

    def replaced(self) -> list[Thing]:
        """Return the configuration. A file that was written since then is not ours."""
        text = read_text(self.configuration)
        if f"server-state-file {self.state}\n" not in text:
            return [Thing(self.configuration + ASIDE)]
        socket = re.search(r"^\s*stats socket (/\S+)", text, re.MULTILINE)
        # systemd keeps the package's own folder of sockets.
        sockets = [Thing(socket.group(1))] if socket and not socket.group(1).startswith("/run/haproxy/") else []
        aside = Thing(self.configuration, "replaced")
        return [*sockets, aside if aside.exists() else Thing(self.configuration)]

    def others(self) -> list[Thing]:
        """Files that HAProxy no longer needs with another configuration."""
        certs, record = os.path.join(self.haproxy, "certs"), os.path.join(self.lib, "certificates")
        names = [name for name in read_text(record).splitlines() if name == os.path.basename(name) != ""]
        return [
            *[Thing(path) for path in (self.state, f"{self.state}.part", self.pending)],
            *[Thing(os.path.join(certs, name)) for name in names],
            *([Thing(certs, "empty")] if self._is_ours else []),
            *[Thing(os.path.join(self.lib, name)) for name in ("certificates", KEEPER)],
            Thing(self.lib, "system"),
        ]

    def things(self) -> list[Thing]:
        """All of it, in the order in which it goes."""
        return [*self.unit(), *self.replaced(), *self.others()]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _group(gid: int) -> grp.struct_group | None:
    try:
        return grp.getgrgid(gid)
    except KeyError:
        return None
