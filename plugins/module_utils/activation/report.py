# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The result of an activation, and the text of its errors."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
import typing as t

from ..diagnosis.log_tail import plain_lines, shown
from ..diagnosis.symptoms import Diagnosis, advice, diagnose
from ..host import foreign
from ..release.store import ReleaseStore
from ..supervisor.rpc import Process, SupervisorError
from .errors import ActivationError, StepFailure
from .instances import Instances
from .masking import masked
from .options import Options

_VARIABLE = re.compile(r"^(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)$", re.MULTILINE)


class Report:
    """Owns the name of the current step, and an account of each instance: the action and how long it took."""

    def __init__(
        self, options: Options, store: ReleaseStore, instances: Instances, warn: t.Callable[[str], None]
    ) -> None:
        self.options = options
        self.store = store
        self.instances = instances
        self.warn = warn
        self.step = "prepare"
        self.accounts: dict[str, dict[str, t.Any]] = {}
        self.programs: dict[str, dict[str, t.Any]] = {}
        self.misfits: list[dict[str, str]] = []
        #: The release command that has run, or in check mode would; and a sentence about what it leaves behind.
        self.command: dict[str, t.Any] | None = None
        self.data_changed = ""
        self._started = time.monotonic()

    def account(
        self,
        process: Process,
        action: str,
        release: str,
        pid: int | None = None,
        stop_s: float = 0.0,
        ready_s: float = 0.0,
    ) -> None:
        """Note the action on an instance, its release, and the seconds that stop and boot took."""
        self.accounts[process.name] = {
            "name": process.name,
            "pid": process.pid if pid is None else pid,
            "release": release,
            "action": action,
            "stop_s": round(stop_s, 2),
            "ready_s": round(ready_s, 2),
        }

    def result(self, changed: bool, release: str, differences: list[dict[str, str]]) -> dict[str, t.Any]:
        """The fields that the module returns after a success."""
        ended = self.instances.ended
        if ended:
            self.warn(
                f"{self.options.name} left processes behind when its instances stopped. They have been ended:"
                f" {', '.join(ended[:5])}{', ...' if len(ended) > 5 else ''}."
            )
        return {
            "changed": changed,
            "release": release,
            "previous": self.store.previous(),
            "bind": self.instances.program.bind(),
            "instances": [self.accounts[name] for name in sorted(self.accounts)],
            "programs": [self.programs[name] for name in sorted(self.programs)],
            "seconds": round(time.monotonic() - self._started, 2),
            "diff": differences,
            "misfits": self.misfits,
            "release_command": self.command,
        }

    def error(self, failure: StepFailure, release: str, what: str, after: str, **facts: t.Any) -> ActivationError:
        """The error of a failed step: step, reason, last log lines, cause, remedy, and the release that serves now.

        :param after: the state that the host is left in
        """
        self.mask(failure)
        lines = plain_lines(failure.log)
        diagnosis = diagnose("\n".join([*lines, failure.why]), root=self.options.root)
        lines = shown(lines)
        reproduce = self._reproduce(failure, release, diagnosis)
        serving, instances = self._serving_now()
        why = foreign.printable(failure.why).rstrip(".") + "."
        parts = [what, why if failure.instance and why.startswith(failure.instance) else why[:1].upper() + why[1:]]
        if lines:
            parts.append(f"Last lines of {failure.log_file}:\n" + "\n".join(f"    {line}" for line in lines))
        elif failure.log_file:
            parts.append(f"It logged nothing in {failure.log_file}.")
        if diagnosis:
            parts.append(advice(diagnosis))
        if reproduce:
            parts.append(f"To reproduce: {reproduce}")
        parts.append(f"{serving} {after}")
        facts.update(
            step=self.step,
            release=release,
            instance=failure.instance or None,
            code=diagnosis.code if diagnosis else None,
            serving=instances,
        )
        return ActivationError("\n".join(parts), **facts)

    def mask(self, failure: StepFailure) -> None:
        """Take the app's secrets out of a failure."""
        failure.why, failure.log = self.masked(failure.why), self.masked(failure.log)

    def masked(self, text: str) -> str:
        """What the app says, without its secrets: those of the wanted environment, and of the one on disk."""
        file, contents = self.options.env_file, []
        if file is not None:
            with contextlib.suppress(OSError):
                contents.append(file.on_disk())
            contents.append(file.content)
        environment = b"\n".join(content or b"" for content in contents).decode("utf-8", "replace")
        return masked(text, environment)

    def _serving_now(self) -> tuple[str, list[dict[str, t.Any]]]:
        """The instances that serve now, as a sentence and as data."""
        try:
            processes = self.instances.now()
        except SupervisorError as error:
            return f"What serves now is not known: {error}.", []
        names: dict[str, list[str]] = {}
        facts = []
        for process in processes:
            record = self.instances.run_dir.record(process.name)
            if record.get("pid") == process.pid and self.instances.serves(process):
                release = str(record.get("release"))
                names.setdefault(release, []).append(f"{process.name} (pid {process.pid})")
                facts.append({"name": process.name, "pid": process.pid, "release": release})
        if not names:
            return "No instance serves now.", facts
        return "; ".join(f"Release {key} serves now: {', '.join(value)}" for key, value in names.items()) + ".", facts

    def _reproduce(self, failure: StepFailure, release: str, diagnosis: Diagnosis | None) -> str:
        """A command that shows the same failure without touching what serves; none if it cannot have the environment."""
        if failure.reproduce:
            return failure.reproduce
        lacking = self._lacking_environment()
        if not failure.blames_release or lacking is None:
            return ""
        folder = self.store.path(release)
        source = os.path.join(folder, "src")
        user = self.instances.program.user() or self.options.name
        place, up = (source, "../") if os.path.isdir(source) else (folder, "")
        become = "sudo -u" if shutil.which("sudo") else "runuser -u"
        given = "".join(f" {name}=..." for name in lacking)
        if failure.command:
            return f"{become} {shlex.quote(user)} -- {failure.command.replace('{release}', folder)}"
        run = f"{become} {shlex.quote(user)} -- env -C {shlex.quote(place)}{given} {up}venv/bin/python {up}venv/bin/gunicorn"
        if diagnosis is not None and diagnosis.needs_request:
            question = self.store.service(release).question()
            host = "" if question.host == "localhost" else f" -H 'Host: {question.host}'"
            return (
                f"{run} -c {up}pygun.py --bind 127.0.0.1:8999"
                f"    and, in another terminal: curl -i{host} http://127.0.0.1:8999{question.path}"
            )
        return f"{run} --check-config -c {up}pygun.py"

    def _lacking_environment(self) -> list[str] | None:
        """Names that the environment file had while the release was tried and that the way back has taken out.

        None if the file now has another value for one: the runtime would take that.
        """
        file = self.options.env_file
        if file is None or not file.differs():
            return []
        tried, now = (
            _VARIABLE.findall((content or b"").decode("utf-8", "replace")) for content in (file.content, file.on_disk())
        )
        if set(now) - set(tried):
            return None
        names = dict(tried).keys() - dict(now).keys()
        return sorted(names)
