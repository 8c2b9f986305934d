# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of the instances of an app, by supervisord's word, their records, logs and answers."""

from __future__ import annotations

import typing as t

from ..diagnosis import log_tail, shared_path
from ..diagnosis.symptoms import diagnose
from ..instance.obstacle import NOT_OPENED
from ..release.server_packages import LOSSLESS
from ..supervisor.rpc import DEAD_STATES
from . import logs
from .addresses import then_open
from .findings import ERROR, WARNING, Finding
from .state import AppState, HostState, InstanceState

#: Lines of a log that are shown with a finding.
SHOWN_LINES = 15
#: Seconds that one HTTP answer may take.
ANSWER_TIMEOUT = 5.0
#: Seconds within which an instance that was started is taken for one more try of one that cannot boot.
_ONE_TRY = 30.0


def check_instance(state: HostState, seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    if instance.ready:
        yield from _check_release(seen, instance)
        yield from _check_worker_class(seen, instance)
        yield from _check_writes(seen, instance)
        yield from _check_dirty_workers(seen, instance)
    else:
        yield from _check_record(seen, instance)
        yield from _check_failure(seen, instance)
    if instance.process.pid:
        yield from _check_timeouts(seen, instance)
        yield from _check_kills(state, seen, instance)


def _check_release(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    process, release = instance.process, instance.record.get("release")
    if release != seen.release.id and not seen.deploying:
        yield Finding(
            ERROR,
            "other-release",
            process.full_name,
            f"{process.name} runs release {release}, and {seen.app.root}/current is {seen.release.id}",
            "`current` was moved by hand, or the instance was.",
            "Restart the app (playbook pygun.stack.restart) for what `current` says, or deploy or roll back to what you want.",
            app=seen.app.name,
        )


def _check_worker_class(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    process, record = instance.process, instance.record
    if record.get("worker_class") == "gevent" and record.get("lossless") is False:
        yield Finding(
            WARNING,
            "stock-worker",
            process.full_name,
            f"{process.name} runs gunicorn {record.get('gunicorn')} with its own gevent worker",
            "This gunicorn is not one that the lossless worker was tested with (or the worker class was set by hand):"
            " deploys and restarts can lose requests.",
            f"Have the app's requirements name gunicorn=={LOSSLESS[-1]}, or none, and deploy.",
            app=seen.app.name,
        )


def _check_record(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    if instance.record_error:
        yield Finding(
            ERROR,
            "record-unreadable",
            instance.process.full_name,
            f"{instance.process.name} cannot be reported as ready: {instance.record_error}",
            f"No instance writes that: the app, or another process of its user {seen.app.user}, has written it.",
            "Find the writer. Remove it, and restart the app (playbook pygun.stack.restart): an instance that starts writes its record again.",
            app=seen.app.name,
        )


def _check_failure(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """An instance that does not serve: its own messages, with cause and remedy."""
    process = instance.process
    if NOT_OPENED in process.spawn_error:
        return  # check_closed_socket: one finding for all of them
    if process.state in ("STOPPED", "STOPPING"):
        yield Finding(
            ERROR,
            "instance-stopped",
            process.full_name,
            f"{process.name} is {process.state}",
            "Somebody stopped it (supervisorctl stop, or the web page).",
            f"supervisorctl start {process.full_name}",
            app=seen.app.name,
        )
        return
    lines = logs.last_words(instance.log)
    known = diagnose("\n".join([*lines, process.spawn_error]), root=seen.app.root)
    if not known and instance.uptime < _ONE_TRY:
        # This try has not said anything yet; the one before has, if there was one.
        before = logs.last_words(instance.log, tries=2)
        known = diagnose("\n".join(before), root=seen.app.root)
        lines = before if known else lines
    shown = shown_lines(lines)
    yield Finding(
        ERROR,
        "instance-failed" if process.state in DEAD_STATES or known else "instance-not-ready",
        process.full_name,
        f"{process.name} is {_state_text(instance)}." + (f" It says:{shown}" if shown else " It says nothing."),
        known.cause if known else "Not a known one; the lines above are all there is.",
        known.remedy if known else f"Look into {instance.log.path}, or roll back.",
        app=seen.app.name,
    )


def _state_text(instance: InstanceState) -> str:
    process = instance.process
    if process.state in DEAD_STATES:
        return f"{process.state} ({process.spawn_error})" if process.spawn_error else process.state
    wanted = instance.record.get("workers", "?")
    return f"{process.state}, but not ready: {instance.ready_workers} of {wanted} workers"


def shown_lines(lines: list[str]) -> str:
    """The last of these lines, as a finding shows them."""
    return "".join(f"\n    {line}" for line in log_tail.shown(lines)[-SHOWN_LINES:])


def check_closed_socket(seen: AppState) -> t.Iterator[Finding]:
    """supervisord cannot open the app's socket: one finding for all of its instances."""
    app = seen.app
    closed = [one.process for one in seen.instances if not one.ready and NOT_OPENED in one.process.spawn_error]
    if closed:
        yield Finding(
            ERROR,
            "socket-not-opened",
            app.name,
            f"supervisord {closed[0].spawn_error}" + (f": {seen.obstacle}" if seen.obstacle else ""),
            f"The file or process at the address of {app.name} ({app.bind}) prevents the socket, or is missing. The other apps are not"
            " affected.",
            f"Remove it, or create what is missing. {then_open(app)} Or give the app another flask_app_bind.",
            app=app.name,
        )


def _check_timeouts(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """Workers that gunicorn killed because they gave no sign of life."""
    process, worker_class = instance.process, instance.record.get("worker_class")
    text = logs.since_start(instance.log, instance.record.get("started"))
    late = logs.late_workers(text)
    if not late:
        return
    symptom = f"WORKER TIMEOUT: {len(late)} worker(s) of {process.name} were killed (last: pid {late[-1]})"
    requests = logs.requests_cut_off(text)
    if requests:
        symptom += f", with {requests[-1]}"
    where = logs.blocking_frame(text, seen.app.root)
    if worker_class == "sync":
        yield Finding(
            ERROR,
            "slow-request",
            process.full_name,
            symptom + (f", at {where}" if where else ""),
            "A sync worker serves one request at a time, and this one took longer than flask_app_timeout.",
            "Make the request faster, raise flask_app_timeout, or use gevent or gthread workers: there a slow request"
            " does not stop the worker.",
            app=seen.app.name,
        )
        return
    if worker_class == "gthread":
        yield Finding(
            ERROR,
            "worker-blocked",
            process.full_name,
            symptom + (f". A thread was at {where}" if where else ". Its log does not say at which line"),
            "The cause is not a slow request: the other threads of a gthread worker continue during one. A call into C held the interpreter's lock, and with"
            " it all threads, for longer than flask_app_timeout; or the host had no time for the worker.",
            "Give the call to a process of its own (a program in flask_app_programs), or use a library that lets other threads run.",
            app=seen.app.name,
        )
        return
    yield Finding(
        ERROR,
        "worker-blocked",
        process.full_name,
        symptom + (f". The worker was blocked at {where}" if where else ". Its log does not say at which line"),
        "Not a slow request: gevent workers wait for those without stopping. This call blocked the event loop, and"
        " every other request of the worker with it, for longer than flask_app_timeout.",
        "Give the call to a thread (gevent.get_hub().threadpool.apply), use a driver that gevent can patch, or set"
        " flask_app_worker_class: gthread. Raising flask_app_timeout only makes everybody wait longer.",
        app=seen.app.name,
    )


def _check_dirty_workers(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """Dirty workers that gunicorn starts again and again, while the instance serves without them."""
    process, dirty = instance.process, instance.dirty
    if not instance.record.get("dirty_workers"):
        return
    lines = logs.last_words(instance.log)
    known = diagnose("\n".join(lines), root=seen.app.root)
    if not dirty or dirty["up"] < dirty["wanted"]:
        up = f"{dirty['up']} of {dirty['wanted']} dirty workers" if dirty else "no dirty arbiter"
        yield Finding(
            ERROR,
            "dirty-workers-down",
            process.full_name,
            f"{up} of {process.name} {'is' if not dirty else 'are'} up. Its log says:{shown_lines(lines)}",
            known.cause
            if known
            else "A dirty worker ended, and does not come back: its app fails as it is loaded, or another process kills it.",
            known.remedy
            if known
            else f"The traceback is in {instance.log.path}. Mend the app in dirty_apps and deploy, or roll back.",
            app=seen.app.name,
        )
    elif dirty["begun"] > 1:
        yield Finding(
            WARNING,
            "dirty-arbiter-restarted",
            process.full_name,
            f"the dirty arbiter of {process.name} was started {dirty['begun']} times",
            "It ended or was killed. Requests that waited for a dirty worker then failed, and each start loads the models again.",
            f"Look for 'Dirty arbiter' in {instance.log.path}. If it was killed, `dmesg -T | grep -i oom` shows whether memory ran out.",
            app=seen.app.name,
        )


def _check_writes(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """Writes of requests that were refused; the app answered them with an error, and its health endpoint is well."""
    refused = logs.refused_writes(logs.since_start(instance.log, instance.record.get("started")))
    if refused:
        shared = f"{seen.app.root}/shared"
        yield Finding(
            WARNING,
            "write-refused",
            instance.process.full_name,
            f"requests to {instance.process.name} met {len(refused)} error(s) such as: {refused[-1]}",
            f"The app's user may not do that, which most often is to write. A release belongs to root; what is to stay belongs below {shared}.",
            f"Name the file or folder in flask_app_shared_paths, such as [{shared_path.of(refused[-1])}]; or have the app write below {shared}, which"
            " PYGUN_SHARED_DIR in its environment names. Then deploy.",
            app=seen.app.name,
        )


def _check_kills(state: HostState, seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """Yield workers that another process killed."""
    process = instance.process
    killed = logs.killed_workers(logs.since_start(instance.log, instance.record.get("started")))
    if not killed:
        return
    symptom = f"{len(killed)} worker(s) of {process.name} were killed with SIGKILL (last: pid {killed[-1]})"
    if state.memory_kills:
        yield Finding(
            ERROR,
            "out-of-memory",
            process.full_name,
            f"{symptom}; {state.memory_kills}",
            "The kernel killed them because memory ran out (of the host, or of the unit's MemoryMax).",
            "Lower the number of workers (flask_app_workers), load less, or give the host or the unit more memory.",
            app=seen.app.name,
        )
    else:
        yield Finding(
            WARNING,
            "worker-killed",
            process.full_name,
            f"{symptom}; gunicorn asks: Perhaps out of memory?",
            "No out-of-memory kill is recorded for the unit or in the kernel's log (as far as it can be read), so"
            " another process sent the signal.",
            "`dmesg -T | grep -i -e oom -e 'killed process'` on the host (not in a container) is the last word.",
            app=seen.app.name,
        )


def check_answer(seen: AppState, instance: InstanceState) -> t.Iterator[Finding]:
    """The answer of an instance on its private socket."""
    process, answer, question = instance.process, instance.answer, seen.release.question
    if answer is None or answer.is_healthy(question.health_path):
        return
    if answer.status:
        known = diagnose(f"GET {question.path} answered {answer.status}")
        yield Finding(
            ERROR,
            "health-failing",
            process.full_name,
            f"GET {question.path} of {process.name} answers {answer.status}: {answer.text[:200]}",
            known.cause if known else "The app runs, but says that it is not well.",
            known.remedy if known else "Its log contains the reason.",
            app=seen.app.name,
        )
    else:
        yield Finding(
            ERROR,
            "instance-silent",
            process.full_name,
            f"GET {question.path} of {process.name} gives no answer within {ANSWER_TIMEOUT:g} s: {answer.text}",
            "The worker is up but busy: a call blocks its event loop, or all of its threads wait for something.",
            f"If it lasts longer than flask_app_timeout, gunicorn kills the worker and {instance.log.path}"
            " names the line; then ask the doctor again.",
            app=seen.app.name,
        )
