"""A trial finds what of an app may fit badly to its workers."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release.fit import misfits
from tests.component.trial.test_trial import HELLO, attempt  # noqa: F401

THREAD = "import threading, time\ndef tick():\n    time.sleep(60)\n"
PLACE = "wsgi.py:2"


@pytest.fixture
def codes(attempt):  # noqa: F811
    """The codes and subjects of what fits badly, with two instances."""

    def run(source, more=""):
        outcome = attempt(source + HELLO, more=more)
        assert outcome.problem == "", outcome.output
        return {one["code"]: one["subject"] for one in misfits(outcome.facts, 2)}

    return run


@pytest.mark.parametrize("more", ["", "worker_class = 'gthread'"])
def test_an_app_that_fits_has_no_misfits(codes, more):
    source = "import logging, threading, concurrent.futures, multiprocessing\nmultiprocessing.cpu_count()\n"
    source += "threading.Thread(target=print).start()\nfrom multiprocessing.pool import ThreadPool\n"
    source += (
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor()\npool.submit(print).result()\n"
    )
    assert codes(source, more) == {}


@pytest.mark.parametrize("more", ["", "worker_class = 'gthread'"])
@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("threading.Thread(target=tick, name='ticks', daemon=True).start()", "ticks"),
        ("threading.Timer(60, tick).start()", "Thread"),
        ("import functools; threading.Thread(target=functools.partial(tick), name='ticks').start()", "ticks"),
    ],
)
def test_threads_that_the_import_starts_are_found(codes, start, name, more):
    found = codes(f"{THREAD}{start}\n", more)
    assert list(found) == ["thread_at_import"]
    assert found["thread_at_import"].startswith(name) and PLACE in found["thread_at_import"]


def test_greenlets_that_the_import_starts_are_found(codes):
    assert codes(f"{THREAD}import gevent; gevent.spawn(tick)\n") == {"thread_at_import": f"greenlet ({PLACE})"}


POOLS = {
    "multiprocessing.Pool": "import multiprocessing as mp\ndef view(): return mp.Pool(2)\n",
    "multiprocessing.pool.Pool": "\ndef view():\n    from multiprocessing.pool import Pool\n",
    "concurrent.futures.ProcessPoolExecutor": "from concurrent import futures\nx = futures.ProcessPoolExecutor\n",
    "joblib.Parallel": "def view():\n    import joblib; return joblib.Parallel(2)\n",
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_of_processes_are_found_where_the_source_speaks_of_them(codes, name):
    assert codes(POOLS[name])["process_pool"].startswith(f"{name} (wsgi.py:")


def test_what_is_installed_is_found_though_it_is_not_imported(codes, tmp_path):
    source = "import pathlib\nhere = pathlib.Path(__file__).parent / 'psycopg2_binary-2.9.dist-info'\nhere.mkdir()\n"
    source += "(here / 'METADATA').write_text('Metadata-Version: 2.1\\nName: psycopg2-binary\\nVersion: 2.9\\n')\n"
    assert codes(source) == {"blocking_driver": "psycopg2-binary"}


@pytest.mark.parametrize(
    "made", ["os.urandom(24)", "secrets.token_hex()", "secrets.token_urlsafe(16)", "uuid.uuid4().hex"]
)
def test_a_secret_key_that_is_made_at_random_is_found(codes, made):
    source = f"import os, secrets, uuid, flask\nsite = flask.Flask('wsgi')\nsite.secret_key = {made}\n"
    assert codes(source) == {"random_key": "secret_key"}


def test_the_app_knows_that_it_is_only_tried(codes):
    assert codes("import os\nassert os.environ['PYGUN_PREFLIGHT'] == '1' and 'PYGUN_WORKER' not in os.environ\n") == {}
