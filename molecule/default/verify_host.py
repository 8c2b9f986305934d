"""Verifies a host of the scenario `default`, on the host, as root: standard library only, nothing of the roles.

Prints a line for each thing that is so, and ends with 1 and the reasons if one is not.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import random
import string
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

SAMPLE = "http://127.0.0.1:5000"
HTTPBIN = "http://127.0.0.1:5001"
PAGE = "http://127.0.0.1:9001"
APPS = ("sample", "httpbin")
SECRETS = (b"a-secret-that-nobody-else-may-read", b"only-for-this-test")


def request(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a real request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers or {}), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def answer_of(url: str, body: bytes | None = None, headers: dict[str, str] | None = None):
    """The JSON that a request is answered with."""
    status, text = request(url, body, headers)
    assert status == 200, f"{url} answered {status}: {text[:200]!r}"
    return json.loads(text)


class Process:
    """One entry of /proc."""

    def __init__(self, pid: str) -> None:
        folder = Path("/proc", pid)
        self.pid = int(pid)
        self.command = folder.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
        facts = dict(line.split(":", 1) for line in folder.joinpath("status").read_text().splitlines())
        self.parent = int(facts["PPid"])
        self.uids = {int(uid) for uid in facts["Uid"].split()}
        self.gids = {int(gid) for gid in facts["Gid"].split()}
        variables = folder.joinpath("environ").read_bytes().decode(errors="replace").split("\0")
        self.environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)


def processes() -> list[Process]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Process(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def of_app(app: str) -> list[Process]:
    """The gunicorn processes of an app, masters and workers."""
    return [
        process
        for process in processes()
        if any(f"/srv/{app}/" in part and "gunicorn" in part for part in process.command)
    ]


def supervisord() -> int:
    shown = subprocess.run(
        ["systemctl", "show", "supervisord", "--property=MainPID", "--value"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(shown.stdout)


def as_user(name: str, look) -> list[str]:
    """What a function returns in a process that became that user."""
    user = pwd.getpwnam(name)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            with os.fdopen(writing, "w") as result:
                json.dump(look(), result)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as result:
        found = json.load(result)
    os.waitpid(child, 0)
    return found


def wait_until_ready(seconds: float = 180) -> None:
    """After a reboot the instances may still be booting. One that never does is told by the checks."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(any(Path("/run", app).glob(f"{app}-{number}.*.ready")) for app in APPS for number in (0, 1)):
            return
        time.sleep(0.2)


# --- what must be so ----------------------------------------------------------------------------------------------


def the_sample_service_answers():
    assert answer_of(f"{SAMPLE}/")["service"] == "scoring"
    assert answer_of(f"{SAMPLE}/healthz") == {"status": "ok"}
    delivery = json.dumps({"distance_km": 10, "items": 2, "rain_mm": 0}).encode()
    scored = answer_of(f"{SAMPLE}/predict", delivery, {"Content-Type": "application/json"})
    assert 0 < scored["late_probability"] < 1, scored
    assert request(f"{SAMPLE}/predict", b"{}", {"Content-Type": "application/json"})[0] == 400


def httpbin_answers_get():
    assert answer_of(f"{HTTPBIN}/get?colour=blue")["args"] == {"colour": "blue"}


def httpbin_answers_with_the_status_asked_for():
    assert request(f"{HTTPBIN}/status/418")[0] == 418


def httpbin_streams_five_lines():
    status, body = request(f"{HTTPBIN}/stream/5")
    assert status == 200, status
    assert [json.loads(line)["id"] for line in body.splitlines()] == [0, 1, 2, 3, 4], body[:300]


def httpbin_gives_back_a_post_of_one_mebibyte():
    sent = "".join(random.choices(string.ascii_letters, k=1024 * 1024))
    echoed = answer_of(f"{HTTPBIN}/anything", sent.encode(), {"Content-Type": "text/plain"})
    assert echoed["method"] == "POST"
    assert echoed["data"] == sent, "the body came back changed"


def each_app_runs_as_two_instances_under_supervisord_each_with_workers():
    for app in APPS:
        running = of_app(app)
        masters = [process for process in running if process.parent == supervisord()]
        assert len(masters) == 2, f"{app}: {[process.command for process in running]}"
        for master in masters:
            assert any(process.parent == master.pid for process in running), f"{app}: {master.pid} has no worker"


def gunicorn_runs_as_the_apps_user_with_that_users_environment():
    for app in APPS:
        user = pwd.getpwnam(app)
        assert user.pw_uid != 0
        for process in of_app(app):
            assert process.uids == {user.pw_uid}, f"{app}: {process.pid} runs as {process.uids}"
            assert process.gids == {user.pw_gid}, f"{app}: {process.pid} runs in group {process.gids}"
            seen = {name: process.environment.get(name) for name in ("HOME", "USER", "LOGNAME")}
            assert seen == {"HOME": user.pw_dir, "USER": app, "LOGNAME": app}, f"{app}: {seen}"
        assert os.stat(user.pw_dir).st_uid == user.pw_uid, f"{app}: its home is not its own"


def an_app_cannot_write_what_it_runs():
    """Tried by a process that became the app's user, on everything in the app's releases."""
    for app in APPS:
        root = Path("/srv", app)
        places = [root, root / "current", root / "releases", *(root / "releases").rglob("*")]
        places.append(Path("/etc/supervisor/conf.d"))
        assert any(place.name == "pygun.py" for place in places)

        def writable(root=root, places=places):
            found = [place for place in places if os.access(place, os.W_OK)]
            sources = [place for place in places if place.parent.name == "src" and place.suffix == ".py"]
            for place in [*sources, root / "current" / "src" / "new.py"]:
                try:
                    place.open("a").close()
                    found.append(place)
                except OSError:
                    pass
            return [str(place) for place in found]

        found = as_user(app, writable)
        assert not found, f"{app} can write its own code: {found[:10]}"


def nothing_secret_is_readable_by_everyone():
    """Looked for by a process that became nobody, in every file that it can read; and by root in the rest."""

    def holders():
        found = []
        for folder in ("/etc", "/srv", "/run", "/var/log", "/var/lib", "/opt", "/root", "/tmp"):  # noqa: S108
            for place, _folders, names in os.walk(folder):
                for path in (Path(place, name) for name in names if "/venv/" not in place):
                    try:
                        text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                    except OSError:
                        continue
                    if any(secret in text for secret in SECRETS):
                        found.append(str(path))
        return found

    assert as_user("nobody", holders) == []
    in_clear = [path for path in holders() if not path.startswith("/root/.ansible/")]
    assert in_clear == ["/etc/pygun/sample.env"], f"in clear in {in_clear}"
    for path in ("/etc/pygun/sample.env", "/etc/pygun/httpbin.env", "/etc/supervisor/supervisord.conf"):
        assert not Path(path).stat().st_mode & 0o007, f"{path} is open to everyone"
    for process in processes():
        shown = " ".join(process.command)
        assert not any(secret.decode() in shown for secret in SECRETS), f"{process.pid} shows a secret: {shown}"


def the_web_page_asks_for_the_password():
    assert request(f"{PAGE}/")[0] == 401
    for password, expected in (("only-for-this-test", 200), ("another", 401)):
        token = base64.b64encode(f"operator:{password}".encode()).decode()
        assert request(f"{PAGE}/", headers={"Authorization": f"Basic {token}"})[0] == expected
    listening = Path("/proc/net/tcp").read_text().splitlines()
    page = [line.split()[1] for line in listening if line.split()[1].endswith(":2329") and line.split()[3] == "0A"]
    assert page == ["0100007F:2329"], f"the page listens on {page}"


def supervisord_is_the_units_main_process_from_its_own_environment_and_starts_at_boot():
    command = Process(str(supervisord())).command
    assert command[0].startswith("/opt/pygun/supervisor/bin/"), command
    for question, expected in (("is-active", "active"), ("is-enabled", "enabled")):
        told = subprocess.run(["systemctl", question, "supervisord"], capture_output=True, text=True, check=False)
        assert told.stdout.strip() == expected, told.stdout


def each_instance_has_a_log():
    for app in APPS:
        for instance in (0, 1):
            log = Path(f"/var/log/{app}/{app}-{instance}.log")
            assert log.owner() == app, f"{log} belongs to {log.owner()}"
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            assert any(line["message"].startswith("Starting gunicorn") for line in lines), lines
            assert {line["service.node.name"] for line in lines} == {f"{app}-{instance}"}
            raw = log.with_suffix(".raw.log")
            assert raw.read_text() == "", raw.read_text()
            assert not log.parent.stat().st_mode & 0o007, f"{log.parent} is open to everyone"


def main() -> int:
    failures = 0
    wait_until_ready()
    checks = [
        check for name, check in globals().items() if callable(check) and getattr(check, "__module__", "") == "__main__"
    ]
    start = checks.index(the_sample_service_answers)
    for check in checks[start : checks.index(main)]:
        name = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok      {name}", flush=True)
        except Exception:
            failures += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
