"""What fits badly is told by the facts of a trial, each with what to do."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release.fit import DRIVERS, misfits

GEVENT = {"gevent": True, "workers": 1}


def codes(facts, instances=1):
    return [one["code"] for one in misfits(facts, instances)]


@pytest.mark.parametrize("package", ["psycopg2-binary", *DRIVERS])
def test_a_driver_that_waits_in_c_is_named_with_a_gevent_worker(package):
    (found,) = misfits({**GEVENT, "packages": ["flask", package]}, 1)
    assert (found["code"], found["subject"]) == ("blocking_driver", package)
    assert f"The release has {package}," in found["text"]
    assert "et flask_app_worker_class: gthread." in found["text"]
    assert codes({**GEVENT, "gevent": False, "packages": [package]}) == []


@pytest.mark.parametrize(
    "facts",
    [
        {"packages": ["psycopg2", "psycogreen"]},
        {"packages": ["psycopg2-binary"], "patches": ["psycopg2"]},
        {"packages": ["grpcio"], "patches": ["grpc"]},
        {"packages": ["psycopg", "pymysql", "redis"]},
    ],
)
def test_a_driver_that_waits_for_gevent_fits(facts):
    assert codes({**GEVENT, **facts}) == []


def test_pools_of_processes_do_not_fit_to_gevent():
    facts = {**GEVENT, "pools": ["joblib.Parallel (wsgi.py:3)"]}
    (found,) = misfits(facts, 1)
    assert found["code"] == "process_pool" and "joblib.Parallel (wsgi.py:3)" in found["text"]
    assert codes({**facts, "gevent": False}) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"packages": ["asgiref", "flask"], "modules": ["flask"]}, "async_view"),
        ({"packages": ["eventlet"], "modules": ["eventlet"]}, "eventlet"),
        ({"modules": ["flask"], "loops": ["asyncio.run (wsgi.py:3)"]}, "event_loop"),
    ],
)
def test_event_loops_beside_gevents_do_not_fit(facts, code):
    (found,) = misfits({**GEVENT, **facts}, 1)
    assert found["code"] == code
    assert codes({**facts, "gevent": False, "workers": 1}) == []
    assert codes({**GEVENT, **facts, "modules": [], "loops": []}) == []


def test_asgiref_of_another_package_says_nothing_of_flask():
    assert codes({**GEVENT, "packages": ["asgiref", "django", "flask"], "modules": ["flask"]}) == []


def test_what_the_import_starts_runs_in_every_worker():
    facts = {"gevent": False, "workers": 1, "threads": ["tick (wsgi.py:9)"], "schedulers": ["a.Scheduler"]}
    assert codes(facts) == ["scheduler_at_import", "thread_at_import"]
    assert all('"PYGUN_WORKER") is "0-0"' in one["text"] for one in misfits(facts, 1))
    assert codes({**facts, "preload": True}) == ["scheduler_at_import"], (
        "the trial warns itself of threads that are lost"
    )


@pytest.mark.parametrize(("workers", "instances", "fits"), [(1, 1, True), (2, 1, False), (1, 2, False)])
def test_sessions_in_memory_fit_to_one_worker(workers, instances, fits):
    facts = {"workers": workers, "sessions": ["flask-session", "socketio", "else"], "random_key": True}
    assert codes(facts, instances) == ([] if fits else ["session_in_memory", "session_in_memory", "random_key"])
    facts = {"workers": workers, "in_memory": ["sqlalchemy", "else"], "random_keys": ["JWT_KEY"], "rotating": ["a.log"]}
    assert codes(facts, instances) == ([] if fits else ["data_in_memory", "random_key", "rotating_log"])


@pytest.mark.parametrize(
    ("name", "code"),
    [("variables", "variable_missing"), ("missing", "asset_missing"), ("listens", "port_at_import")],
)
def test_what_requests_and_workers_will_lack_is_named(name, code):
    (found,) = misfits({"workers": 1, name: ["A_KEY (wsgi.py:3)"]}, 1)
    assert (found["code"], found["subject"]) == (code, "A_KEY (wsgi.py:3)") and found["subject"] in found["text"]


def test_without_a_secret_key_no_worker_can_sign():
    (found,) = misfits({"workers": 1, "keyless": ["flask.session (wsgi.py:3)"]}, 1)
    assert found["code"] == "no_key" and "flask.session (wsgi.py:3)" in found["text"]


@pytest.mark.parametrize(
    ("computing", "processors", "workers", "fits"),
    [
        ("torch 4", 4, 2, False),
        ("onnxruntime 8", 8, 4, False),
        ("torch 4", 4, 1, True),
        ("torch 1", 4, 16, True),
        ("torch 2", 8, 2, True),
        ("other 8", 8, 8, True),
        ("torch x", 8, 8, True),
    ],
)
def test_threads_that_compute_for_every_processor_in_every_worker_do_not_fit(computing, processors, workers, fits):
    facts = {"computing": [computing], "processors": processors, "workers": workers}
    assert codes(facts) == ([] if fits else ["thread_oversubscription"])


def test_facts_are_bounded_since_the_app_could_have_written_them():
    assert codes({}) == []
    assert codes({"gevent": True, "packages": {"psycopg2": 1}, "threads": 7, "workers": "x", "sessions": [{}]}) == []
    (found,) = misfits({"threads": ["a\x1b[31m\nb", 7, *["x" * 5000] * 50]}, 1)
    assert "a [31m b" in found["text"]
    assert len(found["text"]) < 2000
