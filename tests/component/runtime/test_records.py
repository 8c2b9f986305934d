"""What an activation reads about an instance, and that it is never stale."""

import hashlib
import json
import os
import signal
import time

import pytest

from tests.component.runtime.conftest import read_records


def test_the_record_describes_the_running_master(host):
    instance = host.start(workers=2, gate=True).wait_ready(2)
    record = instance.record()
    assert record["started"] > 0
    assert record | {"started": 0, "gevent": ""} == {
        "instance": "app-0",
        "pid": instance.pid,
        "app": "app",
        "release": instance.release.name,
        "release_path": str(instance.release),
        "workers": 2,
        "worker_class": "gevent",
        "lossless": True,
        "gunicorn": "27.0.1",
        "gevent": "",
        "env_digest": hashlib.sha256(b"").hexdigest(),
        "started": 0,
        "gated": True,
        "dirty_workers": 0,
    }


def test_each_ready_worker_has_a_record(host):
    instance = host.start(workers=2).wait_ready(2)
    for record in instance.ready():
        assert (record["master"], record["release"], record["health"]) == (instance.pid, instance.release.name, "ok")
        os.kill(record["pid"], 0)


def test_what_a_killed_master_left_is_removed_by_the_next(host):
    first = host.start().wait_ready()
    os.kill(first.pid, signal.SIGKILL)
    first.wait_exit()
    assert first.ready()
    other = host.start(name="app-00").wait_ready()  # a name that begins alike
    second = host.start().wait_ready()
    assert first.ready() == []
    assert second.record()["pid"] == second.pid
    assert other.ready()


def test_a_master_that_drains_leaves_the_records_and_the_socket_of_its_successor_alone(host):
    first = host.start().wait_ready()
    host.connect().send("/wait/2.0")
    time.sleep(0.3)
    first.signal(signal.SIGTERM)
    second = host.start().wait_ready()
    first.wait_exit()
    assert second.record()["pid"] == second.pid
    assert len(second.ready()) == 1
    assert host.get(address=second.private)[0] == 200


def test_a_worker_that_is_gone_is_not_ready(host, eventually):
    instance = host.start().wait_ready()
    (worker,) = instance.workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(instance.ready()) == 1 and instance.workers() != [worker], what=instance.log)


def test_the_expected_number_of_workers_follows_ttin(host, eventually):
    instance = host.start().wait_ready()
    instance.signal(signal.SIGTTIN)
    eventually(lambda: instance.record()["workers"] == 2 and len(instance.ready()) == 2, what=instance.log)


def test_the_digest_follows_the_environment_file_at_hup(host, eventually):
    path = host.folder / "app.env"
    path.write_text("GREETING=hello\nGONE=1\n")
    app = """
    import json, os
    def app(environ, start_response):
        body = json.dumps({key: os.environ.get(key) for key in ("GREETING", "GONE")}).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    """
    instance = host.start(app=app, runtime=f"env_file={str(path)!r}").wait_ready()
    assert instance.record()["env_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(host.get()[2]) == {"GREETING": "hello", "GONE": "1"}
    old = instance.workers()
    path.write_text("GREETING='good day'\n")
    instance.signal(signal.SIGHUP)
    eventually(lambda: instance.workers() and set(old).isdisjoint(instance.workers()), what=instance.log)
    assert instance.record()["env_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(host.get()[2]) == {"GREETING": "good day", "GONE": None}


def test_a_broken_environment_file_is_reported_without_its_values(host):
    path = host.folder / "app.env"
    path.write_text('A=1\nPASSWORD="s3cret\n')
    instance = host.start(runtime=f"env_file={str(path)!r}")
    assert instance.wait_exit() == 1
    assert f"{path}, line 2: the value of PASSWORD has no closing" in instance.log()
    assert "s3cret" not in instance.log()


@pytest.mark.parametrize(
    "environ",
    [{"SUPERVISOR_PROCESS_NAME": None}, {"PYGUN_RUN_DIR": "/nonexistent"}],
    ids=["no supervisor", "no run_dir"],
)
def test_without_supervisor_or_run_dir_it_serves_and_writes_nothing(host, eventually, environ):
    instance = host.start(environ=environ)
    eventually(lambda: "Booting worker" in instance.log(), what=instance.log)
    assert host.get()[0] == 200
    assert list(instance.run.iterdir()) == []


def test_a_run_dir_that_cannot_be_written_later_does_not_stop_the_service(host, eventually):
    instance = host.start().wait_ready()
    instance.run.rename(host.folder / "moved")
    (worker,) = [int(path.name.split(".")[2]) for path in (host.folder / "moved").glob("*.ready")]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: "Cannot update the records" in instance.log(), what=instance.log)
    assert host.get()[0] == 200
    assert instance.process.poll() is None


def served(instance):
    """What the files of the running master add up to."""
    files = instance.run.glob(f"{instance.name}.{instance.pid}.*requests")
    return sum(record["requests"] for record in read_records(files))


@pytest.mark.parametrize("worker_class", ["runtime.worker_class", "'sync'", "'gthread'"])
def test_the_requests_that_an_instance_has_served_are_counted_over_the_lives_of_its_workers(
    host, eventually, worker_class
):
    instance = host.start(worker_class=worker_class, workers=2, timeout=4).wait_ready(2)
    assert served(instance) == 0
    for _ in range(7):
        assert host.get()[0] == 200
    for worker in instance.workers():
        os.kill(worker, signal.SIGTERM)
    eventually(lambda: served(instance) == 7, what=instance.log)
    instance.wait_ready(2)
    assert host.get()[0] == 200
    eventually(lambda: served(instance) == 8, seconds=20, what=instance.log)
    instance.stop()
    assert list(instance.run.glob("*requests")) == []


def test_each_worker_knows_its_number_which_a_successor_and_a_reload_keep(host, eventually):
    app = """
    import os
    me = os.environ["PYGUN_WORKER"]
    assert "PYGUN_PREFLIGHT" not in os.environ
    def app(environ, start_response):
        start_response("200 OK", [("X-Worker", f"{me} {os.getpid()}"), ("Content-Length", "0")])
        return []
    """
    instance = host.start(app=app, name="app-1", workers=2).wait_ready(2)

    def numbers():
        found = {}
        for _ in range(10):
            client = host.connect()
            client.send("/", headers=["Connection: close"])
            number, pid = client.receive()[1]["x-worker"].split()
            found[int(pid)] = number
        return found if sorted(found) == sorted(instance.workers()) else None

    before = eventually(numbers)
    assert sorted(before.values()) == ["1-0", "1-1"]
    first = next(pid for pid, number in before.items() if number == "1-0")
    os.kill(first, signal.SIGKILL)
    after = eventually(lambda: (found := numbers()) and first not in found and len(found) == 2 and found)
    assert sorted(after.values()) == ["1-0", "1-1"]
    instance.signal(signal.SIGHUP)
    reloaded = eventually(lambda: (found := numbers()) and not set(found) & set(after) and len(found) == 2 and found)
    assert sorted(reloaded.values()) == ["1-0", "1-1"]
