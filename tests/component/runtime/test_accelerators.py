"""Each worker has an accelerator of its own before it imports the app, and whoever takes its place has the same."""

import os
import signal

APP = """
import os
mine = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(mine)))])
    return [mine.encode()]
"""


def taken(instance):
    return {record["pid"]: record["accelerator"] for record in instance.ready()}


def test_the_instances_share_the_accelerators_and_a_successor_has_the_one_of_its_predecessor(host, eventually):
    runtime = "accelerators=[0, 1, 2, 'GPU-3'],"
    environ = {"PYGUN_INSTANCES": "2", "CUDA_VISIBLE_DEVICES": "all"}
    first, second = (
        host.start(app=APP, name=f"app-{number}", runtime=runtime, environ=environ, workers=2) for number in (0, 1)
    )
    first.wait_ready(2)
    second.wait_ready(2)
    assert sorted(taken(first).values()) == ["0", "2"]
    assert sorted(taken(second).values()) == ["1", "GPU-3"]
    eventually(lambda: {host.get("/", first.private)[2] for _ in range(10)} == {"0", "2"})

    before = taken(second)
    killed = next(pid for pid, accelerator in before.items() if accelerator == "1")
    os.kill(killed, signal.SIGKILL)
    after = eventually(lambda: len(found := taken(second)) == 2 and killed not in found and found, what=second.log)
    assert sorted(after.values()) == ["1", "GPU-3"]
    assert set(before) & set(after) == {pid for pid, accelerator in before.items() if accelerator == "GPU-3"}


def test_without_a_number_there_is_a_worker_for_each_and_one_more_shares(host, eventually):
    runtime = "accelerators=[4, 7], accelerator_variable='CUDA_VISIBLE_DEVICES',"
    instance = host.start(
        app=APP, runtime=runtime, workers=None, own="workers = runtime.workers(maximum=1)"
    ).wait_ready(2)
    assert sorted(taken(instance).values()) == ["4", "7"]
    instance.signal(signal.SIGTTIN)
    instance.wait_ready(3)
    assert sorted(taken(instance).values()) == ["4", "4", "7"]
    assert "Worker 2 shares CUDA_VISIBLE_DEVICES=4: this instance has 2 of them" in instance.log()


def test_an_app_without_accelerators_finds_what_its_environment_says(host):
    instance = host.start(app=APP, environ={"CUDA_VISIBLE_DEVICES": "6"}).wait_ready()
    assert taken(instance) == {instance.workers()[0]: None}
    assert host.get()[2] == "6"
