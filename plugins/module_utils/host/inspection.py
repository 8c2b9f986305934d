# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the tables of a host: processes, listening sockets, mounts, locks, permissions. Reads only."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import ipaddress
import itertools
import os
import pwd
import re
import struct
import subprocess
import time
import typing as t

from . import foreign
from .text import read_text, real_user_of, stat_of

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
_ACCEPTS = 0x10000  # __SO_ACCEPTCON in /proc/net/unix
#: Flags, inode and path.
_UNIX_SOCKET = re.compile(r"[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) [0-9A-F]{4} [0-9A-F]{2} +(\d+) (.+)")
_TIMEOUT = 20.0
_LONGEST_NAME = 40  # characters of a program's name that are shown
#: Bytes, and words, of a command that are looked at.
_LONGEST_COMMAND = 4096
_MOST_WORDS = 64
#: Open files of one process that are looked at, and seconds for those of all processes.
_MOST_FILES = 65_536
_LOOKING = 10.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended: its exit status and its output; -1 and the reason if it could not be run to its end."""

    status: int
    text: str
    timed_out: bool = False


def outcome_of(command: list[str], timeout: float = _TIMEOUT) -> Outcome:
    """Run a program, for so many seconds at most."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env=environment,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Outcome(-1, str(error), isinstance(error, subprocess.TimeoutExpired))
    return Outcome(done.returncode, done.stdout.strip())


def run(command: list[str], timeout: float = _TIMEOUT) -> tuple[int, str]:
    """Exit status and output of a program; -1 and the reason if it cannot be run."""
    outcome = outcome_of(command, timeout)
    return outcome.status, outcome.text


def unit_properties(unit: str, names: str) -> dict[str, str]:
    """Properties of a unit, by comma-separated names; empty if systemd does not answer."""
    _code, text = run(["systemctl", "show", unit, f"--property={names}"])
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def installed_packages(names: t.Sequence[str]) -> list[str]:
    """Those of the distribution's packages that are installed, and whole; or that an installed one provides, as libasound2t64 does libasound2."""
    if not names:
        return []
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Provides}\\n"]
    there = _names_of_packages(run([*query, *names])[1])
    if not there.issuperset(names):
        there = _names_of_packages(run(query)[1])
    return [name for name in names if name in there]


def _names_of_packages(text: str) -> set[str]:
    """The installed packages that dpkg-query lists with their state, and what they provide."""
    found = set()
    for line in text.splitlines():
        name, _space, rest = line.partition(" ")
        state, _space, provided = rest.partition(" ")
        if state == "installed":
            found.update([name, *(entry.split()[0] for entry in provided.split(",") if entry.strip())])
    return found


@dataclasses.dataclass(frozen=True)
class HostProcess:
    """One process."""

    pid: int
    parent: int
    user: str
    command: tuple[str, ...]
    unit: str
    #: By SIGSTOP or a terminal.
    stopped: bool = False

    def __str__(self) -> str:
        return f"pid {self.pid} of user {self.user}{self._place}: {foreign.printable(' '.join(self.command), 120)}"

    @property
    def _place(self) -> str:
        return f" in {self.unit}" if self.unit else ""

    @property
    def brief(self) -> str:
        """The same without its arguments, which may hold anything."""
        name = foreign.printable(os.path.basename(self.command[0]), _LONGEST_NAME) if self.command else "?"
        return f"pid {self.pid} ({name}) of user {self.user}{self._place}"

    def environment(self) -> dict[str, str]:
        """Its environment when it was started."""
        pairs = (pair.partition("=") for pair in read_text(f"/proc/{self.pid}/environ").split("\0") if pair)
        return {name: value for name, _sep, value in pairs}


def processes() -> dict[int, HostProcess]:
    """Every process of this host, those inside of containers left out."""
    found = {}
    ours = namespace_of("self")
    for name in os.listdir("/proc"):
        if not name.isdigit() or namespace_of(name) not in (ours, ""):
            continue
        fields, owner = stat_of(name), real_user_of(name)
        if not fields or owner is None:
            continue  # it ended meanwhile
        command = _command_of(name)
        unit = re.search(r"/([^/\n]+\.(?:service|scope))(?:/|$)", read_text(f"/proc/{name}/cgroup"), re.MULTILINE)
        found[int(name)] = HostProcess(
            int(name),
            int(fields[1]),
            user_name(owner),
            command,
            unit.group(1) if unit else "",
            fields[0] == "T",
        )
    return found


def _command_of(pid: str) -> tuple[str, ...]:
    """The beginning of a command: each process of an app may have megabytes of arguments, which take its forks no memory."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read(_LONGEST_COMMAND).decode("utf-8", "replace").split("\0")
    except OSError:
        return ()
    return tuple(word for word in words[:_MOST_WORDS] if word)


def namespace_of(pid: int | str, kind: str = "pid") -> str:
    """The namespace of a process; empty for a root without CAP_SYS_PTRACE, or if the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def uptime_of(pid: int) -> float:
    """Seconds since a process was started; 0 if it is gone."""
    fields, up = stat_of(pid), read_text("/proc/uptime").split()
    if not fields or not up:
        return 0.0
    return max(0.0, float(up[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK"))


@dataclasses.dataclass(frozen=True)
class Listener:
    """A listening TCP socket and the processes that hold it."""

    address: str
    port: int
    user: str
    pids: tuple[int, ...]


def listeners(port: int) -> list[Listener]:
    """The listeners on a TCP port, on any address."""
    return _tcp_sockets(port, lambda state: state == _LISTEN)


def connections_from(port: int) -> list[Listener]:
    """Connections that use a TCP port of this host without listening there, such as an outgoing one."""
    return _tcp_sockets(port, lambda state: state != _LISTEN)


def _tcp_sockets(port: int, wanted: t.Callable[[str], bool]) -> list[Listener]:
    found = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read_text(path).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and wanted(fields[3]) and int(fields[1].rpartition(":")[2], 16) == port:
                found[fields[9]] = (_address(fields[1].rpartition(":")[0]), user_name(int(fields[7])))
    holders = holders_of(found)
    return [Listener(address, port, user, tuple(holders[inode])) for inode, (address, user) in found.items()]


def unix_listeners(path: str) -> list[int]:
    """Pids of those who listen on a unix socket of this path."""
    return sorted({pid for pids in holders_of(listening_unix_sockets(path)).values() for pid in pids})


def listening_unix_sockets(path: str) -> list[str]:
    """The inodes of the listening unix sockets of this path. The kernel's table has any name as it is, with its line breaks."""
    found = (_UNIX_SOCKET.fullmatch(line) for line in read_text("/proc/net/unix").split("\n"))
    return [match[2] for match in found if match and match[3] == path and int(match[1], 16) & _ACCEPTS]


def holders_of(inodes: t.Collection[str]) -> dict[str, list[int]]:
    """The processes that hold each of these sockets; root may not see them all, for want of CAP_SYS_PTRACE."""
    holders: dict[str, list[int]] = {f"socket:[{inode}]": [] for inode in inodes}
    give_up = time.monotonic() + _LOOKING
    for name in os.listdir("/proc") if holders else ():
        if not name.isdigit():
            continue
        if time.monotonic() > give_up:  # each process of an app may have a million files open
            break
        try:
            with os.scandir(f"/proc/{name}/fd") as entries:
                held = {os.readlink(entry.path) for entry in itertools.islice(entries, _MOST_FILES)}
        except OSError:
            continue
        for inode in held & holders.keys():
            holders[inode].append(int(name))
    return {inode: sorted(holders[f"socket:[{inode}]"]) for inode in inodes}


def _address(text: str) -> str:
    """An address as /proc/net/tcp writes it: words of 32 bits in the byte order of the machine."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def collide(one: str, other: str) -> bool:
    """Whether two sockets cannot both listen on these addresses with the same port."""
    everywhere = ("0.0.0.0", "::", "")
    return one == other or one in everywhere or other in everywhere


def mount_of(path: str) -> str:
    """The mount point that a path lies on."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def expected_mounts() -> dict[str, str]:
    """Mount points of /etc/fstab, which the host has after a boot: mount point -> device."""
    found = {}
    for line in read_text("/etc/fstab").splitlines():
        fields = line.split()
        if len(fields) > 2 and not fields[0].startswith("#") and fields[1].startswith("/"):
            found[os.path.normpath(fields[1].replace("\\040", " "))] = fields[0]
    return found


def lock_holders(path: str) -> list[int]:
    """Pids that hold an flock on a file. Read from the kernel's table: trying the lock could refuse it to a deploy."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    held = []
    for line in read_text("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            held.append(int(fields[4]))
    return held


def refusal(user: str, path: str, wanted: int) -> str:
    """The part of a path at which the file modes stop a user; empty if nothing does.

    :param wanted: wanted access to the last part: ``os.R_OK``, ``os.W_OK``, ``os.X_OK``
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return ""
    if account.pw_uid == 0:
        return ""
    groups = set(os.getgrouplist(user, account.pw_gid))
    path = os.path.normpath(path)
    parts = [path]
    while parts[0] != "/":
        parts.insert(0, os.path.dirname(parts[0]))
    for part in parts:
        try:
            found = os.stat(part)
        except OSError:
            return ""  # what is not there is somebody else's finding
        need = wanted if part == path else os.X_OK
        if found.st_uid == account.pw_uid:
            granted = found.st_mode >> 6
        elif found.st_gid in groups:
            granted = found.st_mode >> 3
        else:
            granted = found.st_mode
        if granted & need != need:
            return part
    return ""


def describe_mode(path: str) -> str:
    """Owner, group and mode of a file, as a person writes them."""
    found = os.stat(path)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{user_name(found.st_uid)}:{group} {found.st_mode & 0o7777:04o}"


def memory_of_host(kind: str) -> int:
    """Bytes of memory, as a line of /proc/meminfo says (MemTotal, MemAvailable); 0 if it does not."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith(f"{kind}:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def memory_used(pid: int) -> int:
    """Bytes of memory that a process and its children hold and that no file backs; what they only reserve does not count."""
    pids, threads = [pid], []
    for one in pids:  # it grows
        with contextlib.suppress(OSError):
            tasks = os.listdir(f"/proc/{one}/task")
            threads += tasks[-1:]  # the first one may have ended
            for task in tasks:
                pids += map(int, read_text(f"/proc/{one}/task/{task}/children").split())
    fields = r"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB"
    texts = [read_text(f"/proc/{thread}/smaps_rollup") for thread in threads]
    return sum(int(size) for text in texts for size in re.findall(fields, text, re.MULTILINE)) * 1024


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process of root's was started with; empty if there is no such process."""
    text = read_text(f"/proc/{pid}/environ")
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if "=" in entry)
