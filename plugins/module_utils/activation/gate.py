# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of the activation: wait until an instance serves a release, or until it no longer can."""

from __future__ import annotations

import time
import typing as t

from ..diagnosis.log_tail import LogMark
from ..instance.obstacle import NOT_OPENED, why_not_opened
from ..instance.probe import ask_bind
from ..instance.run_directory import RunDirectory
from ..release.record import BOOT_MARGIN
from ..release.store import ReleaseStore
from ..supervisor.rpc import DEAD_STATES, Process, Supervisor
from .errors import StepFailure
from .program import Program

#: Seconds between two looks at a process; each look also makes supervisord reap its children at once.
POLL = 0.05
#: Seconds that one HTTP answer of an instance may take.
ANSWER_TIMEOUT = 10.0
#: Seconds within which everything must answer once all instances are ready.
VERIFY_TIMEOUT = 5.0


class Gate:
    """Waits until instances serve a release. Owns the marks: the end of each instance's log before its start."""

    def __init__(self, store: ReleaseStore, supervisor: Supervisor, run_dir: RunDirectory, program: Program) -> None:
        self.store = store
        self.supervisor = supervisor
        self.run_dir = run_dir
        self.program = program
        self.marks: dict[str, LogMark] = {}

    def mark(self, name: str, log_file: str = "", position: list[int] | None = None) -> None:
        """Remember the end of an instance's log, so that a failure shows only what comes later."""
        self.marks[name] = LogMark(log_file or self.program.log_file(name), position)

    def wait(self, full_name: str, release: str, pid: int, patience: float | None = None, strict: bool = True) -> None:
        """Wait until the instance serves the release. Raises StepFailure as soon as it cannot any more.

        :param patience: seconds; by default those that the release gives a boot
        :param strict: if not, for the way back, any HTTP answer is enough: the old release is put back even if something that
            it depends on is down at the moment
        """
        begun = time.monotonic()
        service = self.store.service(release)
        question = service.question()
        patience = service.boot_timeout + BOOT_MARGIN if patience is None else patience
        name = full_name.partition(":")[2]
        answer = None
        while True:
            self._refuse_ended(name, self.supervisor.process(full_name), pid, begun)
            record = self.run_dir.record(name)
            ready = self.run_dir.ready_workers(name, pid)
            left = begun + patience - time.monotonic()
            if record.get("pid") == pid:
                if record.get("release") != release:
                    raise self._refusal(name, f"it runs release {record.get('release')} instead", begun, False)
                if ready and ready >= _positive_or_one(record.get("workers")):
                    timeout = max(0.1, min(ANSWER_TIMEOUT, left))
                    answer = self.run_dir.ask(name, pid, question.path, timeout, question.host)
                    if answer.is_healthy(question.health_path) or (answer.status and not strict):
                        return
            if left <= 0:
                if answer is not None:
                    said = f"answered {answer.status}" if answer.status else "did not answer"
                    raise self._refusal(name, f"GET {question.path} {said}: {answer.text[:300]}", begun)
                wrong = self.run_dir.wrong(name)
                raise self._refusal(
                    name,
                    f"it did not become ready within {patience:g} s ({ready} workers are ready)"
                    + (f"; {wrong}" if wrong else ""),
                    begun,
                )
            if answer is not None and patience > VERIFY_TIMEOUT:
                # Ready but not healthy: wait a few seconds longer, not for the whole boot timeout.
                patience = min(patience, time.monotonic() - begun + VERIFY_TIMEOUT)
            time.sleep(POLL)

    def _refuse_ended(self, name: str, process: Process, pid: int, begun: float) -> None:
        """Raise StepFailure if the process with this pid has ended or is about to."""
        if process.state in ("STOPPED", "STOPPING"):
            raise self._refusal(name, "another operator stopped it meanwhile", begun, blames_release=False)
        if process.state in DEAD_STATES or process.pid != pid or not pid:
            why = f"{process.state}: {process.spawn_error}" if process.spawn_error else process.state
            if process.state not in DEAD_STATES:
                why = f"pid {pid} is gone, supervisord started another"
            if NOT_OPENED in process.spawn_error:
                raise self._refusal(name, self.no_socket(process), begun, blames_release=False)
            raise self._refusal(name, f"it ended while it was booting ({why})", begun)

    def _refusal(self, name: str, why: str, begun: float, blames_release: bool = True) -> StepFailure:
        return StepFailure.of(name, why, begun, self.marks.get(name), blames_release=blames_release)

    def no_socket(self, process: Process) -> str:
        """The reason why supervisord cannot open the public socket, with the process that has it."""
        return why_not_opened(process, self.program.bind(), self.supervisor.all_processes())

    def wait_for_public_address(self, release: str) -> None:
        """Wait until the public address answers, with any status."""
        bind, question = self.program.bind(), self.store.service(release).question()
        give_up = time.monotonic() + VERIFY_TIMEOUT
        while bind:
            answer = ask_bind(bind, question.path, ANSWER_TIMEOUT, question.host)
            if answer.status:
                return
            if time.monotonic() > give_up:
                raise StepFailure(f"the public address {bind} does not answer: {answer.text}")
            time.sleep(POLL)


def _positive_or_one(value: t.Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1
