# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of one app: its release, program, permissions, deploys and socket units."""

from __future__ import annotations

import typing as t

from ..host import places
from ..supervisor.conf import STOPWAITSECS
from .findings import ERROR, WARNING, Finding
from .state import AppState, HostState

#: Seconds that supervisor gives a program to stop if its file does not say.
_OFF = ("false", "off", "no", "0")


def check_release(state: HostState, seen: AppState) -> t.Iterator[Finding]:
    """Whether there is a release to run. Without one there is nothing else to check of the app."""
    app, release = seen.app, seen.release
    if release.can_run:
        return
    if release.unmounted:
        place, device = release.unmounted
        yield Finding(
            ERROR,
            "mount-missing",
            app.name,
            f"{place} is not mounted (/etc/fstab: {device}), and {app.root}/current is missing",
            f"The volume that holds {app.name} was not mounted at boot.",
            f"mount {place} && systemctl restart {state.options.unit}; if that fails, `journalctl -b -u"
            f" $(systemd-escape --path --suffix=mount {place})` tells why.",
            app=app.name,
        )
        return
    if release.id and release.is_complete:
        symptom = f"{app.root}/current/venv/bin/python cannot be run"
        cause = "The virtual environment is broken, often because the distribution's Python was upgraded or removed."
    elif release.id:
        symptom, cause = f"release {release.id} is not complete", "Files of the release were removed."
    else:
        symptom = f"there is no {app.root}/current"
        cause = f"The directory was removed, or is an empty mount point ({release.mount} is what is mounted)."
    yield Finding(
        ERROR,
        "release-missing",
        app.name,
        symptom,
        cause,
        "Mount what belongs there, or deploy, which builds the release again.",
        app=app.name,
    )


def missing_program(state: HostState, seen: AppState) -> t.Iterator[Finding]:
    """The error of an app that no program starts."""
    app = seen.app
    yield Finding(
        ERROR,
        "program-missing",
        app.name,
        f"{app.root} holds release {seen.release.id}, but nothing in {state.options.conf_dir}/conf.d starts it",
        "The program's file was removed, or is not readable as one.",
        "Deploy: this writes the file again.",
        app=app.name,
    )


def check_program(seen: AppState) -> t.Iterator[Finding]:
    """Yield settings of the program's file that were changed by hand and that lose requests."""
    wrong = list(_wrong_settings(seen.program, seen.release.graceful_timeout))
    if wrong:
        yield Finding(
            WARNING,
            "program-edited",
            seen.app.name,
            f"{seen.app.conf} has {'; '.join(wrong)}",
            "The file was edited by hand: the role writes none of this.",
            "Deploy: this writes the file again. What may be changed has a variable (flask_app_graceful_timeout, for one).",
            app=seen.app.name,
        )


def _wrong_settings(program: dict[str, str], graceful: float) -> t.Iterator[str]:
    seconds = {name: int(value) for name, value in program.items() if value.isdigit()}
    patience = seconds.get("stopwaitsecs", STOPWAITSECS)
    if seconds.get("startsecs") == 0:
        yield "startsecs=0: an instance that crashes at once counts as started, and is started again without a pause"
    if patience <= graceful:
        yield (
            f"stopwaitsecs={patience}: supervisord kills an instance before gunicorn's graceful_timeout"
            f" ({graceful:g} s) is over, with the requests in flight"
        )
    if program.get("stopsignal", "") not in ("", "TERM"):
        yield f"stopsignal={program['stopsignal']}: gunicorn then cuts off its requests, or does not stop"
    for name, moment in (("autostart", "boot"), ("autorestart", "crash")):
        if program.get(name, "").lower() in _OFF:
            yield f"{name}={program[name]}: nothing starts the app after a {moment}"


def check_files(seen: AppState) -> t.Iterator[Finding]:
    """Directories and permissions."""
    app, files = seen.app, seen.files
    if not files.run_dir_exists:
        yield Finding(
            ERROR,
            "run-dir-missing",
            app.name,
            f"there is no {app.run_dir}",
            f"/run is empty after a boot; {places.tmpfiles(app.name)} creates the directory again"
            + ("." if files.tmpfiles_exists else ", and that file is gone."),
            "systemd-tmpfiles --create, then restart the app; or deploy, which makes both.",
            app=app.name,
            missing=app.run_dir,
        )
    first = {refusal.place: refusal for refusal in reversed(files.refusals)}
    for refusal in files.refusals:
        if first[refusal.place] is refusal:
            yield Finding(
                ERROR,
                "permission-denied",
                app.name,
                f"the user {app.user} may not {refusal.purpose}: {refusal.place} is {refusal.mode}",
                "Owner or mode was changed by hand, or by another tool: `[Errno 13] Permission denied`.",
                "Deploy: the role sets owners and modes. For a release itself, remove it and deploy.",
                app=app.name,
            )
    if not files.log_dir_exists:
        yield Finding(
            ERROR,
            "log-dir-missing",
            app.name,
            f"there is no {app.log_dir}",
            "The directory of the logs was removed: supervisord cannot start the instances.",
            "Deploy: the role makes it.",
            app=app.name,
            missing=app.log_dir,
        )


def check_secrets(seen: AppState) -> t.Iterator[Finding]:
    """Modes that allow too much."""
    app, files = seen.app, seen.files
    if files.open_environment:
        path = places.env_file(app.name)
        yield Finding(
            WARNING,
            "secret-readable",
            app.name,
            f"{path} is {files.open_environment}",
            "Every user of the host can read the app's secrets.",
            f"chmod o-rwx {path}",
            app=app.name,
        )
    if files.writable_release:
        path = f"{app.root}/releases/{seen.release.id}"
        yield Finding(
            WARNING,
            "release-writable",
            app.name,
            f"the user {app.user} may write to {path} ({files.writable_release})",
            "Owner or mode was changed: an app that is broken into could change its own code.",
            f"chown -R root {path} && chmod -R go-w {path}",
            app=app.name,
        )


def check_deploy(seen: AppState) -> t.Iterator[Finding]:
    app = seen.app
    if seen.release.damage_of_state and not seen.deploying:
        yield Finding(
            WARNING,
            "state-damaged",
            app.name,
            f"{app.root}/state.json {seen.release.damage_of_state}",
            "The file was cut off, for example by a full disk, or edited. The previous release is not known. The release that serves is not affected.",
            "Deploy: the deploy writes all entries that can be read to a new file. Until then a rollback needs the id of a release.",
            app=app.name,
        )
    if not seen.has_journal or seen.deploying:
        return
    if seen.damage_of_journal:
        yield Finding(
            ERROR,
            "journal-damaged",
            app.name,
            f"{app.root}/activation.json {seen.damage_of_journal}",
            "A deploy, restart or rollback was interrupted, and its journal cannot be understood: the next one is refused.",
            f"Look at what runs (supervisorctl status) and at the files *.before next to those of the app, remove {app.root}/activation.json"
            " and deploy.",
            app=app.name,
        )
    elif seen.failed_because:
        yield Finding(
            ERROR,
            "failed-activation",
            app.name,
            f"The last deploy, restart or rollback failed ({seen.failed_because}), and so did its way back",
            "No release came up as it should. What serves still serves, perhaps two releases side by side.",
            "Repair what that names, then deploy, restart or roll back again: the next run finishes or undoes what was begun.",
            app=app.name,
        )
    else:
        yield Finding(
            ERROR,
            "interrupted-activation",
            app.name,
            f"{app.root}/activation.json is there, and no deploy runs",
            "A deploy, restart or rollback was killed. What serves still serves, perhaps two releases side by side.",
            "Deploy, restart or roll back again: the next run finishes or undoes what was begun.",
            app=app.name,
        )


def check_socket_units(seen: AppState) -> t.Iterator[Finding]:
    app, units = seen.app, seen.socket_units
    if units is None:
        return
    stopped = [f"{unit} is {state}" for unit, state in units.states.items() if state not in ("active", "")]
    if stopped or not units.listening:
        yield Finding(
            ERROR,
            "socket-unit",
            app.name,
            " and ".join(stopped) or f"{list(units.states)[0]} does not listen on {units.wanted}",
            "systemd does not hold the app's public socket: the unit is stopped, disabled or failed. Instances that run keep"
            " what they were handed, but no new one gets it.",
            f"supervisorctl stop {app.name}:* && systemctl restart {units.names} && supervisorctl start"
            f" {app.name}:* (callers are refused meanwhile; the instances have to let go of the address first).",
            app=app.name,
        )


def check_loaded(seen: AppState) -> t.Iterator[Finding]:
    if seen.is_loaded is False:
        yield Finding(
            ERROR,
            "program-not-loaded",
            seen.app.name,
            f"supervisord does not know the program of {seen.app.conf}",
            "The file is newer than the running supervisord, or the program was taken out by hand.",
            "Deploy, or `supervisorctl update`.",
            app=seen.app.name,
        )


def check_public_answer(seen: AppState) -> t.Iterator[Finding]:
    """Whether the public address leads to the instances."""
    if seen.answer and not seen.answer.status:
        yield Finding(
            ERROR,
            "not-answering",
            seen.app.name,
            f"GET {seen.release.question.path} on {seen.app.bind} gives no answer: {seen.answer.text}",
            "The instances answer on their private sockets, but the public address does not lead to them.",
            "Restart the app (playbook pygun.stack.restart). If that does not help, look at the firewall.",
            app=seen.app.name,
        )


def check_observed(seen: AppState) -> t.Iterator[Finding]:
    """Something of the app that could not be looked at."""
    if seen.error:
        yield Finding(
            ERROR,
            "not-examined",
            seen.app.name,
            f"{seen.app.name} cannot be looked at to the end: {seen.error}",
            "Something of the app is not what it has to be, in a way that the doctor does not know.",
            f"Look into {seen.app.run_dir} and {seen.app.root} for what that names. The other apps were examined.",
            app=seen.app.name,
        )
