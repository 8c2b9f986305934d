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
    "multiprocessing.Manager": "import multiprocessing\ndef view(): return multiprocessing.Manager()\n",
    "joblib.Parallel": "def view():\n    import joblib; return joblib.Parallel(2)\n",
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_of_processes_are_found_where_the_source_speaks_of_them(codes, name):
    assert codes(POOLS[name])["process_pool"].startswith(f"{name} (wsgi.py:")


def test_what_is_installed_is_found_though_it_is_not_imported(codes, tmp_path):
    source = "import pathlib\nhere = pathlib.Path(__file__).parent / 'psycopg2_binary-2.9.dist-info'\nhere.mkdir()\n"
    source += "(here / 'METADATA').write_text('Metadata-Version: 2.1\\nName: psycopg2-binary\\nVersion: 2.9\\n')\n"
    assert codes(source) == {"blocking_driver": "psycopg2-binary"}


def test_event_loops_of_requests_are_found_and_those_of_the_import_are_not(codes):
    source = "import asyncio as aio\nasync def main(): ...\naio.run(main())\naio.new_event_loop().run_until_complete(main())\n"
    source += "def view():\n    aio.run(main())\n"
    assert codes(source) == {"event_loop": "asyncio.run (wsgi.py:6)"}


KEYS = """
import base64, hashlib, os, random, secrets, string, uuid, flask
site = flask.Flask('wsgi')
signs = string.ascii_letters
JWT_SECRET, FERNET_KEY, FIXED_KEY = secrets.token_bytes(32), base64.urlsafe_b64encode(os.urandom(32)), 'fixed-fixed'
site.config.update(
    SECRET_KEY=os.environ.get('NO_SUCH_KEY', os.urandom(24)), A_KEY=secrets.token_hex(), B_KEY=secrets.token_urlsafe(16), C_KEY=uuid.uuid4().hex,
    D_KEY=''.join(random.choice(signs) for _ in range(20)), E_KEY=''.join(secrets.choice(signs) for _ in range(20)), F_KEY=str(uuid.uuid1()),
    G_KEY=''.join(random.choices(signs, k=20)), H_KEY=hashlib.sha256(os.urandom(64)).hexdigest(), I_KEY='prefix-' + os.urandom(8).hex(),
    J_KEY=str(os.urandom(16)), K_KEY=''.join(random.SystemRandom().sample(signs, 20)),
    FIXED_KEY='c0ffee-c0ffee-c0ffee', FIXED_SALT=hashlib.sha256(b'fixed').hexdigest(), SHORT_KEY='a', NO_KEY=None, NUMBER_OF_KEYS=12345678)
"""


def test_keys_that_are_made_at_random_are_found(attempt):  # noqa: F811
    found = attempt(KEYS + HELLO).facts["random_keys"]
    assert {*found} == {*(f"{letter}_KEY" for letter in "ABCDEFGHIJK"), "SECRET_KEY", "JWT_SECRET", "FERNET_KEY"}


COOKIES = "import flask\nsite = flask.Flask('wsgi')\ndef view(): flask.flash('hello')\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (COOKIES, {"no_key": "secret_key"}),
        (COOKIES + "site.secret_key = 'fixed-fixed-fixed'\n", {}),
        (COOKIES.replace("flask.flash('hello')", "..."), {}),
    ],
)
def test_an_app_that_signs_cookies_without_a_key_is_found(codes, source, found):
    assert codes(source) == found


def test_log_files_that_several_processes_rotate_are_found(codes, tmp_path):
    source = f"from logging import handlers\nkept = handlers.RotatingFileHandler({str(tmp_path / 'a.log')!r})\n"
    source += f"other = handlers.WatchedFileHandler({str(tmp_path / 'b.log')!r})\n"
    assert codes(source) == {"rotating_log": "a.log"}


LACKING = """
import os, pathlib, socket, flask
folder = pathlib.Path(__file__).parent
(folder / "templates").mkdir()
(folder / "templates" / "a.html").write_text("{{ url_for('static', filename='a.css') }} {{ url_for('static', filename='b.css') }}")
(folder / "static").mkdir()
(folder / "static" / "b.css").write_text("")
site = flask.Flask("wsgi", root_path=str(folder))
def view():
    return flask.render_template("a.html"), flask.render_template("b.html"), os.environ["PATH"], os.environ["A_KEY"]
def other():
    if "B_KEY" in os.environ and os.environ.get("C_KEY"):
        return os.environ["B_KEY"], os.environ["C_KEY"]
    os.environ["D_KEY"] = ""
    try:
        return os.environ["D_KEY"], os.environ["E_KEY"]
    except KeyError:
        return ""
def main():
    os.environ["F_KEY"]
def other_app(environ, start_response):
    return environ["PATH_INFO"]
if __name__ == "__main__":
    os.environ["G_KEY"]
for port in range(5900, 6000):
    try:
        kept = socket.create_server(("127.0.0.1", port))
        break
    except OSError:
        pass
chosen = socket.create_server(("127.0.0.1", 0))
assert port == kept.getsockname()[1]
"""


def test_what_the_health_check_does_not_need_is_looked_for(codes):
    found = codes(LACKING)
    port = found.pop("port_at_import")
    assert 5900 <= int(port) < 6000
    assert found == {
        "variable_missing": "A_KEY (wsgi.py:10)",
        "asset_missing": "b.html (wsgi.py:10), static/a.css (a.html)",
    }


def test_the_app_knows_that_it_is_only_tried(codes):
    assert codes("import os\nassert os.environ['PYGUN_PREFLIGHT'] == '1' and 'PYGUN_WORKER' not in os.environ\n") == {}
