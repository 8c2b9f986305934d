"""With gevent's workers nothing of the app is imported before the standard library is patched; with others nothing is."""

import pytest

from tests.component.runtime.conftest import RUNTIME

# What urllib3 does: a class that was taken from ssl before it was patched fails at each use.
TLS = """
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, TLSVersion

def make():
    SSLContext(PROTOCOL_TLS_CLIENT).minimum_version = TLSVersion.TLSv1_2
"""
APP = """
import socket
from {made_in} import make

def app(environ, start_response):
    make()
    said = socket.socket.__module__.encode()
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]
"""
IN_THE_APP = APP.format(made_in="tls")
GEVENT = "gevent._socket3"


def tls_module(host):
    """The folder of a module that is imported by name, as from a virtual environment."""
    folder = host.folder / "modules"
    folder.mkdir(exist_ok=True)
    (folder / "tls.py").write_text(TLS)
    return str(folder)


OWN_WORKER = """
from tls import make
from gunicorn.workers.ggevent import GeventWorker
class Own(GeventWorker):
    pass
"""

EARLY = {
    "preload": {"preload_app": True},
    "pygun_extra": {"own": "import tls"},
    "a hook by name": {"own": "post_fork = 'hooks.post_fork'"},
    "a class in pygun.py": {
        "own": "import tls\nfrom gunicorn.workers.ggevent import GeventWorker\nclass Own(GeventWorker): pass\nworker_class = Own"
    },
    "a class of the app": {"worker_class": "'own.Own'", "preload_app": True},
    "a setting": {"worker_class": "'sync'", "own": "import tls\nworker_class = 'gevent'"},
    "pywsgi": {"worker_class": "'gevent_pywsgi'", "preload_app": True},
    "the command line": {"worker_class": "'sync'", "preload_app": True, "environ": {"GUNICORN_CMD_ARGS": "-k gevent"}},
}


@pytest.mark.parametrize("how", EARLY)
def test_what_is_imported_early_is_imported_patched(host, how):
    options = {"own": "", **EARLY[how]}
    modules = tls_module(host)
    (host.folder / "modules" / "hooks.py").write_text("import tls\ndef post_fork(server, worker): pass\n")
    (host.folder / "modules" / "own.py").write_text(OWN_WORKER)
    options["own"] = f"import sys; sys.path.append({modules!r})\n{options['own']}"
    environ = {"PYTHONPATH": f"{RUNTIME}:{modules}", **options.pop("environ", {})}
    instance = host.start(app=IN_THE_APP, environ=environ, **options).wait_ready()
    assert host.get()[::2] == (200, GEVENT), instance.log()
    assert "MonkeyPatchWarning" not in instance.log()


@pytest.mark.parametrize("worker_class", ["'sync'", "'gthread'"])
def test_other_workers_are_not_patched(host, worker_class):
    app = APP.format(made_in="tls")
    host.start(
        app=app, environ={"PYTHONPATH": f"{RUNTIME}:{tls_module(host)}"}, worker_class=worker_class, preload_app=True
    ).wait_ready()
    assert host.get()[::2] == (200, "socket")
