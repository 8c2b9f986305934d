# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the last log lines of an instance mean, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat

LAST_LINES = 30
_READ_AT_MOST = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Symptom:
    """A text that upstream prints, and what is behind it. ``{0}``, ``{1}`` are the groups of the pattern."""

    pattern: str
    cause: str
    remedy: str


#: The first match wins, so what names the culprit stands before what follows from it.
SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        r"Perhaps out of memory\?|\bMemoryError\b|[Oo]ut of memory: Killed process|oom-kill",
        "A worker was killed or found no memory left: the machine, or the unit's memory limit, is too small for it.",
        "Lower the number of workers (flask_app_gunicorn: {{workers: N}}), load less at import, or give the host more"
        " memory. `dmesg | grep -i oom` names what the kernel killed.",
    ),
    Symptom(
        r"was sent (SIG(?:SEGV|ABRT|BUS|ILL|FPE))|terminated by (SIG(?:SEGV|ABRT|BUS|ILL|FPE))"
        r"|Fatal Python error: (Segmentation fault|Aborted|Bus error|Illegal instruction|Floating-point exception)",
        "A worker crashed in native code ({0}): usually an extension module that was built for another processor or"
        " Python, or that does not survive a fork or gevent's patching.",
        "The frame at the top of the crash dump in the log names the module. Pin another version of it, or try"
        " `flask_app_gunicorn: {{worker_class: sync}}`.",
    ),
    Symptom(
        r"error: (unrecognized arguments: .*|the following arguments are required: .*|argument .+: .*)",
        "The app parses a command line while it is imported ({0}), and stops the worker when it does not like it.",
        'Move parse_args() under `if __name__ == "__main__":`, or give it an explicit empty list.',
    ),
    Symptom(
        r"ModuleNotFoundError: No module named '([^']+)'",
        "The app imports {0}, and neither its source nor its venv has it.",
        "Add the package to the app's requirements (or lock file), or correct the import. If {0} is the app's own"
        " module, check flask_app_wsgi and that the file is not left out by .gitignore.",
    ),
    Symptom(
        r"\bImportError: (.+)",
        "An import fails: {0}.",
        "Usually two packages whose versions do not fit each other, or a shared library that the host lacks. Pin the"
        " versions, or install the library with the system's package manager.",
    ),
    Symptom(
        r"Failed to find attribute '([^']+)' in '([^']+)'",
        "The module {1} has been imported but has no attribute {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app().",
    ),
    Symptom(
        r"(Application object must be callable|Failed to find application object|Failed to parse '[^']*' as an"
        r" attribute name|Function reference must be a simple name)",
        "flask_app_wsgi does not name a WSGI application: {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app().",
    ),
    Symptom(
        r"\b(SyntaxError|IndentationError|TabError): (.+)",
        "The source does not compile: {0}: {1}.",
        "Correct the line that the log shows. Code for a newer Python than the host's fails like this too.",
    ),
    Symptom(
        r"Invalid value for (\w+): (.*)",
        "gunicorn rejects the setting {0} = {1}.",
        "Correct it in flask_app_gunicorn; `gunicorn --help` lists what each setting takes.",
    ),
    Symptom(
        r"Could not create FastCGI socket (\S+?):? .*(Address already in use|Cannot assign requested address"
        r"|Permission denied)",
        "supervisord cannot open the public address {0}: {1}.",
        "`ss -lptn` shows who has the address. Stop that program, or choose another flask_app_bind.",
    ),
    Symptom(
        r"\[Errno (?:98|48)\]|Address already in use|Connection in use",
        "An address that the app wants to listen on is taken.",
        "`ss -lptn` shows by whom. If the app itself starts a server when it is imported, guard that with"
        ' `if __name__ == "__main__":`.',
    ),
    Symptom(
        r"\[Errno 28\]|No space left on device|\[Errno 122\]|Disk quota exceeded",
        "The disk (or its inodes, or a quota) is full.",
        "`df -h` and `df -i` show which one. Lower flask_app_keep_releases, or make room.",
    ),
    Symptom(
        r"(?:PermissionError: |\[Errno 13\] )(.*)",
        "The app's user may not do something: {0}.",
        "The app runs as its own user and can write only to its shared folder, its run directory and its log"
        " directory. Point the app there.",
    ),
    Symptom(
        r"\[Errno 24\]|Too many open files",
        "The limit of open files is reached.",
        "Raise LimitNOFILE of supervisord's unit, or lower worker_connections.",
    ),
    Symptom(
        r"(couldn't setuid to .*|can't find command .*|couldn't exec .*|couldn't chdir to .*)",
        "supervisord could not start the program: {0}.",
        "Check that the user exists and that the release's venv is complete; deploying again rebuilds what is missing.",
    ),
    Symptom(
        r"GET \S+ answered ([45]\d\d)\b",
        "The app boots, but its health endpoint answers {0}.",
        "Look for the reason in the app's own lines above: a missing environment variable, a database it cannot reach."
        " If the path is wrong, correct flask_app_health_path.",
    ),
    Symptom(
        r"GET \S+ (?:gave no answer|did not answer)",
        "The app boots, but its health endpoint does not answer in time.",
        "It waits for something (a database, another service), or computes. A health endpoint must answer at once.",
    ),
    Symptom(
        r"GET \S+ raised (\w+): (.*)",
        "The app boots, but its health endpoint raises {0}: {1}.",
        "The traceback in the log names the line.",
    ),
    Symptom(
        r"not ready within|is not up within|Timeout \(0:|did not become ready within",
        "The app was still booting when flask_app_boot_timeout had passed.",
        "The stack in the log shows where it was. If it must take that long (a big model), raise"
        " flask_app_boot_timeout.",
    ),
    Symptom(
        r"Failed to read config file: (\S+)",
        "gunicorn cannot execute {0}.",
        "The traceback in the log names the line; it comes from flask_app_gunicorn or from the runtime.",
    ),
    Symptom(
        r"\bSystemExit\b|ended before they were ready|ended the process with exit code|Worker \(pid:\d+\) exited with code (?!3\b|4\b)\d+",
        "A worker ended while it was booting, without an error: the app calls sys.exit() (or os._exit) when it is"
        " imported.",
        "Find the call: often a check of the configuration, or a main() that is not under"
        ' `if __name__ == "__main__":`.',
    ),
    Symptom(
        r"^(?:\w+\.)*(\w*(?:Error|Exception)): (.+)$",
        "The app raises {0} while it boots: {1}.",
        "The traceback in the log names the line.",
    ),
)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A known cause and its remedy."""

    cause: str
    remedy: str


def diagnose(text: str) -> Diagnosis | None:
    """The known cause behind these log lines, or None."""
    for symptom in SYMPTOMS:
        found = re.search(symptom.pattern, text, re.MULTILINE)
        if found:
            words = [word.strip().rstrip(".") for word in found.groups() if word]
            words += [""] * 2
            return Diagnosis(symptom.cause.format(*words), symptom.remedy.format(*words))
    return None


class LogMark:
    """The end of a log file now, so that what comes later can be read alone."""

    def __init__(self, path: str, position: list[int] | None = None) -> None:
        self.path = path
        self._inode, self._size = position or _identity(path)

    @property
    def position(self) -> list[int]:
        """What another process needs to make the same mark."""
        return [self._inode, self._size]

    def since(self) -> str:
        """What was logged since the mark was set, also if the file was rotated once in between."""
        inode, size = _identity(self.path)
        if inode == self._inode and size >= self._size:
            return _read(self.path, self._size)
        rotated, _size = _identity(self.path + ".1")
        before = _read(self.path + ".1", self._size) if rotated == self._inode and rotated else ""
        return before + _read(self.path, 0)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size


def _read(path: str, offset: int) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            return ""
        stream.seek(max(offset, found.st_size - _READ_AT_MOST))
        return stream.read(_READ_AT_MOST).decode("utf-8", "replace")


def plain_lines(text: str) -> list[str]:
    """Log lines as a person reads them: a JSON line becomes its message and its traceback."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                message = record.get("message", record.get("msg", record.get("event")))
                if message is not None:
                    lines.extend(f"{record.get('level', '')} {message}".strip().splitlines())
                    for key in ("exception", "traceback", "exc_info", "stack"):
                        if isinstance(record.get(key), str):
                            lines.extend(record[key].splitlines())
                    continue
        if line.strip():
            lines.append(line.rstrip())
    return lines


_LOADER_FRAME = re.compile(r'(\s*)File "(?:.*/site-packages/gunicorn/|<frozen |.*/importlib/__init__\.py").*')


def shorten_tracebacks(lines: list[str]) -> list[str]:
    """Leave out the frames of gunicorn and of the import machinery: they are the same in every failure."""
    shown = []
    indent = None
    for line in lines:
        frame = _LOADER_FRAME.match(line)
        if frame:
            indent = len(frame.group(1))
            continue
        if indent is not None and len(line) - len(line.lstrip()) > indent:
            continue  # the source line of a frame left out, or the carets under it
        indent = None
        shown.append(line)
    return shown
