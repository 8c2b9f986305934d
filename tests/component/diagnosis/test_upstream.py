# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every entry of the table is matched with what the pinned upstream prints: an upgrade that changes a text turns red here.

Each failure is provoked with the real program. Where that takes another user or a broken kernel, the text is looked up
in the installed source instead.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import supervisor.options
import supervisor.process

from ansible_collections.pygun.stack.plugins.module_utils.activation import gate
from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.log_tail import plain_lines
from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.symptoms import SYMPTOMS, TOOK_TOO_MUCH, diagnose
from ansible_collections.pygun.stack.plugins.module_utils.python_env import Installer, InstallError
from ansible_collections.pygun.stack.plugins.module_utils.release import trial
from pygun_runtime import health, lifecycle, phrases, preflight
from tests.component.diagnosis import imports, index
from tests.component.supervised import listens

PROGRAMS = Path(sys.executable).parent
CASES: list = []


def prints(code: str, *installers: Callable) -> Callable:
    """The function makes upstream print what this entry of the table is about, and returns it.

    With installers it is asked once for each of them, and is given that one first.
    """

    def note(function: Callable) -> Callable:
        if not installers:
            CASES.append(pytest.param(code, function, id=function.__name__))
        for installer in installers:
            name = f"{function.__name__}-{installer.__name__}"
            CASES.append(pytest.param(code, functools.partial(function, installer), id=name))
        return function

    return note


CASES += [
    pytest.param(code, functools.partial(imports.imported, name=name), id=name)
    for name, (code, _source, _target) in imports.APPS.items()
]


@pytest.mark.parametrize("code, provoke", CASES)
def test_what_upstream_prints_is_recognised(code: str, provoke: Callable, tmp_path: Path) -> None:
    source = next(symptom.source for symptom in SYMPTOMS if symptom.code == code)
    text = "\n".join(plain_lines(provoke(tmp_path)))
    found = diagnose(text, "app" if source == "anybody" else source)
    assert found is not None, text
    assert found.code == code, f"{found}\n{text}"
    assert not re.search(r"\{\d|  |: ?\.|\b(of|for|has) (for|[.,])", found.cause + found.remedy), "a word is missing"


def test_every_entry_of_the_table_is_provoked_here() -> None:
    assert {symptom.code for symptom in SYMPTOMS} == {case.values[0] for case in CASES}


# -- gunicorn --------------------------------------------------------------------------------------------------------


def gunicorn(
    folder: Path,
    source: str,
    *options: str,
    seconds: float = 8,
    until: str = "",
    ask: bool = False,
    names: tuple[str, ...] = ("wsgi:app",),
) -> str:
    """What gunicorn logs about an app, until it ends or has said something."""
    (folder / "wsgi.py").write_text(textwrap.dedent(source))
    log = folder / "log"
    address = folder / "s"
    if "-c" not in options:
        options = (*options, "-b", f"unix:{address}")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [PROGRAMS / "gunicorn", "--no-control-socket", *options, *names], cwd=folder, stdout=stream, stderr=stream
        )  # fmt: skip
    asked = None
    try:
        give_up = time.monotonic() + (60 if until else seconds)
        while process.poll() is None and time.monotonic() < give_up and not (until and until in log.read_text()):
            if ask and asked is None and "Booting worker" in log.read_text() and address.exists():
                asked = socket.socket(socket.AF_UNIX)
                asked.connect(str(address))
                asked.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.05)
    finally:
        if asked:
            asked.close()
        process.terminate()
        process.wait(10)
    return log.read_text()


@prints("worker-timeout")
def a_worker_that_gives_no_sign(folder: Path) -> str:
    slow = "import time\ndef app(environ, start_response):\n    time.sleep(30)\n"
    return gunicorn(folder, slow, "--timeout", "1", until="WORKER TIMEOUT", ask=True)


@prints("out-of-memory")
def a_worker_that_is_killed(folder: Path) -> str:
    killed = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    return gunicorn(folder, killed, until="Perhaps out of memory")


@prints("out-of-memory")
def an_app_that_finds_no_memory(folder: Path) -> str:
    return gunicorn(folder, "bytearray(1 << 60)\n")


@prints("memory-refused")
def an_app_that_reserves_more_than_it_may(folder: Path) -> str:
    limit = "import mmap, resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    return gunicorn(folder, limit + "mmap.mmap(-1, 1 << 33)\n")


@prints("trial-memory")
def an_app_that_takes_more_than_the_trial_allows(_folder: Path) -> str:
    return literal(trial, "the app {TOOK_TOO_MUCH} {limit >> 20} MB").replace("7 7 MB", f"{TOOK_TOO_MUCH} 7 MB")


@prints("native-crash")
def a_worker_that_crashes(folder: Path) -> str:
    return gunicorn(folder, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", until="was sent SIGSEGV")


@prints("native-crash")
def a_crash_that_python_tells(folder: Path) -> str:
    crash = "import faulthandler\nfaulthandler.enable()\nimport ctypes\nctypes.string_at(0)\n"
    return gunicorn(folder, crash, until="Fatal Python error")


@prints("command-line")
def an_app_with_a_command_line(folder: Path) -> str:
    parses = "import argparse\nargparse.ArgumentParser().parse_args()\n"
    return gunicorn(folder, parses, "-w", "1", until="unrecognized arguments")


@prints("settings-as-app")
def settings_without_the_option_for_them(folder: Path) -> str:
    (folder / "pygun.conf").write_text("workers = 1\n")
    return gunicorn(folder, "app = None\n", names=("pygun.conf", "wsgi:app"))


@prints("settings-as-app")
def settings_in_python_without_the_option_for_them(folder: Path) -> str:
    (folder / "pygun.py").write_text("workers = 1\n")
    return gunicorn(folder, "app = None\n", names=("pygun.py", "wsgi:app"))


@prints("module-not-found")
def a_module_that_is_missing(folder: Path) -> str:
    return gunicorn(folder, "import no_such_module\n")


@prints("import-error")
def a_name_that_is_missing(folder: Path) -> str:
    return gunicorn(folder, "from os import no_such_name\n")


@prints("pkg-resources")
def a_part_of_setuptools_that_is_gone(folder: Path) -> str:
    (folder / "site-packages").mkdir()
    (folder / "site-packages" / "old.py").write_text("import pkg_resources\n")
    hidden = "import sys\nsys.modules.pop('pkg_resources', None)\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
    return gunicorn(folder, hidden + "sys.path.append('site-packages')\nimport old\n")


@prints("metadata-missing")
def a_source_that_asks_for_its_own_version(folder: Path) -> str:
    return gunicorn(folder, "import importlib.metadata\nimportlib.metadata.version('scoring')\n")


@prints("package-imports")
def a_package_that_imports_what_is_missing(folder: Path) -> str:
    (folder / "site-packages" / "halved").mkdir(parents=True)
    (folder / "site-packages" / "halved" / "__init__.py").write_text("from no_such_module import other\n")
    return gunicorn(folder, "import sys\nsys.path.append('site-packages')\nimport halved\n")


@prints("library-missing")
def a_shared_library_that_is_missing(folder: Path) -> str:
    return gunicorn(folder, "import ctypes\nctypes.CDLL('libnosuch.so.3')\n")


@prints("pickle-main")
def a_pickle_of_a_script(folder: Path) -> str:
    return gunicorn(folder, "import pickle\npickle.loads(b'c__main__\\nScaler\\n.')\n")


@prints("pickle-version")
def a_pickle_of_another_version(folder: Path) -> str:
    return gunicorn(folder, "import pickle\npickle.loads(b'cstatistics\\nScaler\\n.')\n")


@prints("memory-refused")
def a_system_call_that_finds_no_memory(folder: Path) -> str:
    return gunicorn(folder, "import mmap\nmmap.mmap(-1, 1 << 60)\n")


@prints("interpreter-hidden")
def an_interpreter_behind_a_closed_door(folder: Path) -> str:
    program = folder / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("")  # what may not be executed is refused to root as well
    with pytest.raises(PermissionError) as raised:
        subprocess.run([str(program)], check=False)
    return f"preflight: {raised.value}"


@prints("shadowed-module")
def a_file_of_the_app_in_the_place_of_a_module(folder: Path) -> str:
    (folder / "statistics.py").write_text("")
    return gunicorn(folder, "import statistics\nstatistics.mean([1])\n")


@prints("no-attribute")
def an_attribute_that_is_missing(folder: Path) -> str:
    return gunicorn(folder, "application = None\n")


@prints("not-an-app")
def an_app_that_cannot_be_called(folder: Path) -> str:
    return gunicorn(folder, "app = 7\n")


@prints("not-an-app")
def an_app_that_is_none(folder: Path) -> str:
    return gunicorn(folder, "app = None\n")


@prints("syntax-error")
def a_line_that_does_not_compile(folder: Path) -> str:
    return gunicorn(folder, "def app(:\n")


@prints("bad-setting")
def a_setting_of_the_wrong_kind(folder: Path) -> str:
    (folder / "conf.py").write_text("keepalive = 'soon'\n")
    return gunicorn(folder, "app = 7\n", "-c", "conf.py")


@prints("settings-file")
def a_settings_file_with_an_exception(folder: Path) -> str:
    (folder / "conf.py").write_text("1 / 0\n")
    return gunicorn(folder, "app = 7\n", "-c", "conf.py")


@prints("address-in-use")
def an_address_that_is_taken(folder: Path) -> str:
    with listening() as port:
        return gunicorn(folder, "app = len\n", "-b", f"127.0.0.1:{port}", until="Connection in use")


@prints("address-in-use")
def an_app_that_starts_a_server(folder: Path) -> str:
    with listening() as port:
        return gunicorn(folder, f"import http.server\nhttp.server.HTTPServer(('127.0.0.1', {port}), None)\n")


@prints("early-exit")
def an_app_that_exits(folder: Path) -> str:
    return gunicorn(folder, "import sys\nsys.exit(1)\n", until="exited with code 1")


@prints("app-error")
def an_app_with_an_exception(folder: Path) -> str:
    return gunicorn(folder, "float('x')\n")


@prints("service-unreachable")
def an_app_without_its_database(folder: Path) -> str:
    return gunicorn(folder, "import socket\nsocket.create_connection(('127.0.0.1', 1), 5)\n")


@prints("variable-missing")
def an_app_without_a_variable(folder: Path) -> str:
    return gunicorn(folder, "import os\nos.environ['NO_SUCH_VARIABLE']\n")


@prints("variable-missing")
def an_app_that_names_the_variable(folder: Path) -> str:
    return gunicorn(folder, "raise RuntimeError('SCORING_CONFIG environment variable not set')\n")


@prints("disk-full")
def a_disk_without_room(folder: Path) -> str:
    return gunicorn(folder, "open('/dev/full', 'w', buffering=1).write('more\\n')\n")


@prints("permission-denied")
def a_file_that_may_not_be_read(folder: Path) -> str:
    return gunicorn(folder, "import os\nraise PermissionError(13, os.strerror(13), '/var/lib/model.bin')\n")


@prints("permission-denied")
def a_database_that_may_not_be_written(folder: Path) -> str:
    write = """
        import sqlite3
        sqlite3.connect("wsgi.db").execute("create table note (x)")
        sqlite3.connect("file:wsgi.db?mode=ro", uri=True).execute("insert into note values (1)")
    """
    return gunicorn(folder, write)


@prints("table-missing")
def a_database_without_its_tables(folder: Path) -> str:
    return gunicorn(folder, "import sqlite3\nsqlite3.connect(':memory:').execute('select * from item')\n")


@prints("table-missing")
def a_database_server_without_its_tables(_folder: Path) -> str:
    """PostgreSQL's text; the scenario `whole` has one."""
    return 'psycopg.errors.UndefinedTable: relation "item" does not exist\nLINE 1: select * from item'


@prints("file-missing")
def a_file_that_is_not_there(folder: Path) -> str:
    return gunicorn(folder, "open('models/scoring.onnx')\n")


@prints("accelerator-hidden")
def a_library_without_a_device(_folder: Path) -> str:
    """torch/cuda/__init__.py; it is not among what the tests need."""
    return "RuntimeError: No CUDA GPUs are available"


@prints("prometheus-directory")
def a_collector_without_a_directory(_folder: Path) -> str:
    """prometheus_client/multiprocess.py; it is not among what the tests need."""
    return "ValueError: env PROMETHEUS_MULTIPROC_DIR is not set or not a directory"


@prints("open-files")
def too_many_files(folder: Path) -> str:
    many = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        files = [open("/dev/null") for _ in range(100)]
    """
    return gunicorn(folder, many)


# -- the runtime -----------------------------------------------------------------------------------------------------


def unwell(app: Callable) -> str:
    with pytest.raises(health.Unhealthy) as raised:
        health.check(app, "/healthz", "localhost")
    return f"Health check failed, refusing to serve: {raised.value}"


@prints("health-status")
def a_health_check_that_says_no(_folder: Path) -> str:
    def app(_environ: dict, start_response: Callable) -> list[bytes]:
        start_response("503 SERVICE UNAVAILABLE", [])
        return [b""]

    return unwell(app)


def asked(function: Callable) -> Callable:
    """Note a test of something that a health check asks and that is no WSGI app."""
    return lambda _folder: unwell(function)


def create_app() -> Callable:
    return lambda _environ, _start_response: []


def create_app_with_keywords(*, _config: object = None) -> None: ...


def create_app_of(_config: object = None, _more: object = None) -> object:
    return object()


async def asgi(_scope: dict, _receive: Callable, _send: Callable) -> None: ...


class Asgi:
    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None: ...


CASES += [
    pytest.param("factory", asked(create_app), id="a_factory"),
    pytest.param("factory", asked(create_app_with_keywords), id="a_factory_with_keywords"),
    pytest.param("factory", asked(create_app_of), id="a_factory_that_takes_two"),
    pytest.param("asgi-app", asked(Asgi()), id="an_asgi_app"),
    pytest.param("not-wsgi", asked(lambda _environ, _start_response: [1]), id="an_answer_that_is_no_bytes"),
]


def literal(module: object, text: str) -> str:
    """The text, if the source of the module has it. Parts that it fills in are written as {…} there."""
    pieces = inspect.getsource(module)
    assert text in pieces, f"{module} does not print {text!r} any more"
    text = re.sub(r"\{phrases\.(\w+)\}", lambda phrase: getattr(phrases, phrase[1]), text)
    return re.sub(r"\{[^}]*\}|%s|%r", "7", text)


@prints("not-there")
def a_target_that_is_not_there(_folder: Path) -> str:
    literal(preflight, "{phrases.NOT_THERE} {missing}")
    return f"{phrases.NOT_THERE} 'wsgi' has no 'aplication'; {phrases.THERE_IS} wsgi:application"


@prints("module-of-python")
def a_module_that_python_has_itself(_folder: Path) -> str:
    return f"{phrases.NOT_THERE} 'platform' has no 'app'"


@prints("health-login")
def a_health_check_that_wants_a_login(_folder: Path) -> str:
    return f"GET / {phrases.ANSWERED} 401 UNAUTHORIZED"


@prints("health-silent")
def a_health_check_without_an_answer(_folder: Path) -> str:
    text = literal(lifecycle, "GET {asked} {phrases.NO_ANSWER} within {seconds:.1f} s")
    return text.replace("GET 7", "GET /")


@prints("health-raises")
def a_health_check_with_an_exception(_folder: Path) -> str:
    text = literal(lifecycle, "GET {asked} {phrases.RAISED} {type(error).__name__}: {error}")
    return text.replace("GET 7 raised 7", "GET / raised KeyError")


@prints("boot-too-slow")
def a_boot_that_takes_too_long(_folder: Path) -> str:
    return literal(lifecycle, "Worker {phrases.WORKER_LATE} %s s; it is at:")


@prints("boot-silent")
def a_boot_that_says_nothing_in_its_time(_folder: Path) -> str:
    return literal(gate, "it did not become ready within {patience:g} s ({ready} workers are ready)")


# -- supervisor ------------------------------------------------------------------------------------------------------

CONTROL = "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"


@contextlib.contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def configuration(folder: Path, *sections: str) -> Path:
    conf = folder / "supervisord.conf"
    daemon = f"[supervisord]\nnodaemon=true\nlogfile={folder}/d.log\npidfile={folder}/d.pid\nchildlogdir={folder}\n"
    conf.write_text("\n".join([daemon, *sections]))
    return conf


def served_at(folder: Path, more: str = "") -> str:
    return f"[unix_http_server]\nfile={folder}/d.sock\n{more}[supervisorctl]\nserverurl=unix://{folder}/d.sock\n"


def supervisord(conf: Path) -> str:
    """What it says when it cannot start."""
    done = subprocess.run(
        [PROGRAMS / "supervisord", "-c", conf],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode, done.stdout
    return done.stdout


@contextlib.contextmanager
def running(folder: Path, conf: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [PROGRAMS / "supervisord", "-c", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up = time.monotonic() + 10
        while not listens(folder / "d.sock") and time.monotonic() < give_up:
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def supervisorctl(conf: Path, *words: str) -> str:
    done = subprocess.run(
        [PROGRAMS / "supervisorctl", "-c", conf, *(words or ("status",))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=20, check=False,
    )  # fmt: skip
    return done.stdout


@prints("supervisor-second")
def a_port_that_supervisord_finds_taken(folder: Path) -> str:
    with listening() as port:
        return supervisord(
            configuration(folder, f"[inet_http_server]\nport=127.0.0.1:{port}\nusername=u\npassword=p\n", CONTROL)
        )


@prints("supervisor-section")
def a_missing_supervisorctl_section(folder: Path) -> str:
    return supervisorctl(configuration(folder))


@prints("supervisor-rpcinterface")
def a_missing_rpcinterface_section(folder: Path) -> str:
    conf = configuration(folder, served_at(folder))
    with running(folder, conf):
        return supervisorctl(conf)


@prints("supervisor-value")
def a_value_in_a_program(folder: Path) -> str:
    return supervisord(configuration(folder, CONTROL, "[program:x]\ncommand=/bin/true\nautostart=true.\n"))


@prints("supervisor-value")
def a_directory_that_is_missing(folder: Path) -> str:
    conf = configuration(folder, CONTROL)
    conf.write_text(conf.read_text().replace(f"logfile={folder}", f"logfile={folder}/missing"))
    return supervisord(conf)


@prints("supervisor-syntax")
def a_line_without_a_section(folder: Path) -> str:
    extra = folder / "x.conf"
    extra.write_text("nonsense\n")
    return supervisord(configuration(folder, CONTROL, f"[include]\nfiles={extra}\n"))


@prints("supervisor-root")
def root_without_a_user(_folder: Path) -> str:
    pieces = re.findall(r"'([^']*)'", inspect.getsource(supervisor.options.ServerOptions.set_uid_or_exit))
    return "".join(pieces)


@prints("supervisor-no-socket")
def a_socket_that_is_missing(folder: Path) -> str:
    return supervisorctl(configuration(folder, served_at(folder)))


@prints("supervisor-refused")
def a_socket_that_refuses(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{folder}/d.sock")
    return supervisorctl(configuration(folder, served_at(folder)))


@prints("supervisor-password")
def a_password_that_is_wrong(folder: Path) -> str:
    conf = configuration(folder, served_at(folder, "username=u\npassword=p\n"), CONTROL)
    with running(folder, conf):
        assert supervisorctl(conf, "-u", "u", "-p", "p", "pid").strip().isdigit()
        return supervisorctl(conf, "-u", "u", "-p", "wrong", "pid")


@prints("public-address")
def a_public_address_that_is_taken(folder: Path) -> str:
    with listening() as port:
        program = f"[fcgi-program:x]\ncommand=/bin/sleep 9\nsocket=tcp://127.0.0.1:{port}\n"
        return supervisord(configuration(folder, CONTROL, program))


@prints("cannot-spawn")
def a_command_that_is_missing(folder: Path) -> str:
    program = "[program:x]\ncommand=/no/such/command\nstartretries=0\n"
    conf = configuration(folder, served_at(folder), CONTROL, program)
    with running(folder, conf):
        return f"supervisor: {(folder / 'd.log').read_text()}\n{supervisorctl(conf)}"


@prints("cannot-spawn")
def a_user_that_cannot_be_taken(_folder: Path) -> str:
    source = inspect.getsource(supervisor.process.Subprocess)
    assert '"couldn\'t setuid to %s: %s\\n"' in source
    assert '"couldn\'t chdir to %s: %s\\n"' in source
    assert '"couldn\'t exec %s: %s\\n"' in source
    return "supervisor: couldn't setuid to 1001: no"


# -- uv and pip -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _venv(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("uv")
    uv.folder = folder
    uv.packages = index.house(folder / "packages")
    uv.venv = str(folder / "venv")
    Installer(uv=str(PROGRAMS / "uv")).create(uv.venv, sys.executable)
    pip.venv = str(folder / "venv-of-pip")
    Installer().create(pip.venv, sys.executable)


def uv(*arguments: str, **how: str) -> str:
    """What the release module tells when uv cannot install."""
    return failing(uv.venv, arguments, program=str(PROGRAMS / "uv"), UV_HTTP_RETRIES="0", **how)


def pip(*arguments: str, **how: str) -> str:
    """The same of the pip that comes with this Python; a pip.conf of this machine must not help it."""
    return failing(pip.venv, arguments, PIP_RETRIES="0", PIP_CONFIG_FILE="/dev/null", **how)


def failing(
    venv: str,
    arguments: tuple,
    program: str = "",
    url: str = "",
    wheelhouse: str = "",
    extra: tuple = (),
    **environment: str,
) -> str:
    installer = Installer(
        uv=program or None,
        index_url=url and f"{url}/simple",
        wheelhouse=wheelhouse,
        extra_args=extra,
        cache_dir=str(uv.folder / "cache"),
    )
    for name in [name for name in installer.environment if name.lower().endswith("_proxy") or name.startswith("SSL_")]:
        del installer.environment[name]
    installer.environment.update(environment)
    with pytest.raises(InstallError) as raised:
        installer.install(venv, arguments)
    return raised.value.whole


def denied(folder: Path, *command: str) -> str:
    """What *command* prints when it may not read the folder `closed`, as another user than root."""
    (folder / "closed").mkdir(mode=0)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, *command], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode
    return done.stdout + done.stderr


@prints("install-permission")
def a_wheelhouse_that_uv_may_not_read(folder: Path) -> str:
    return denied(
        folder, str(PROGRAMS / "uv"), "pip", "install", "--no-index", "--find-links", "closed", "flask", "-p", uv.venv
    )


@prints("install-permission")
def a_project_that_uv_may_not_read(folder: Path) -> str:
    return denied(folder, str(PROGRAMS / "uv"), "pip", "install", "--no-index", "-p", uv.venv, "./closed")


@prints("install-permission")
def requirements_that_pip_may_not_read(folder: Path) -> str:
    return denied(
        folder, f"{pip.venv}/bin/python", "-m", "pip", "install", "--no-index", "-r", "closed/requirements.txt"
    )


@prints("index-certificate", uv, pip)
def an_index_with_a_certificate_of_its_own(install: Callable, folder: Path) -> str:
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    with index.served(uv.packages, tls=folder) as url:
        return install("plain", url=url)


@prints("index-proxy", uv, pip)
def a_proxy_that_wants_a_password(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages, status=407) as proxy:
        return install("plain", url="https://index.invalid", HTTPS_PROXY=proxy)


@prints("index-proxy", uv, pip)
def a_proxy_that_does_not_run(install: Callable, _folder: Path) -> str:
    return install("plain", url="https://index.invalid", HTTPS_PROXY="http://127.0.0.1:1")


@prints("index-denied", uv, pip)
def an_index_that_wants_a_password(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages, status=401) as url:
        return install("plain", url=url)


@prints("index-denied", uv, pip)
def an_index_that_forbids(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages, status=403) as url:
        return install("plain", url=url)


@prints("index-unreachable", uv, pip)
def an_index_that_does_not_run(install: Callable, _folder: Path) -> str:
    return install("plain", url="http://127.0.0.1:1")


@prints("index-unreachable")
def an_index_without_an_address(_folder: Path) -> str:
    return uv("plain", url="http://index.invalid")


@prints("index-error", uv, pip)
def an_index_with_an_error(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages, status=500) as url:
        return install("plain", url=url)


@prints("wrong-hash", uv, pip)
def a_hash_that_is_wrong(install: Callable, folder: Path) -> str:
    (folder / "lock.txt").write_text(f"plain==1.0 --hash=sha256:{'0' * 64}\n")
    with index.served(uv.packages) as url:
        return install("-r", str(folder / "lock.txt"), url=url)


@prints("hash-missing")
def a_hash_that_is_missing(folder: Path) -> str:
    (folder / "lock.txt").write_text(f"plain==1.0 --hash=sha256:{'0' * 64}\nother==1.0\n")
    with index.served(uv.packages) as url:
        return uv("-r", str(folder / "lock.txt"), "--require-hashes", url=url)


@prints("not-in-wheelhouse", uv, pip)
def a_wheelhouse_that_lacks_a_package(install: Callable, _folder: Path) -> str:
    return install("missing", wheelhouse=str(uv.packages))


@prints("not-in-wheelhouse", uv, pip)
def a_wheelhouse_that_is_missing(install: Callable, folder: Path) -> str:
    return install("plain", wheelhouse=str(folder / "missing"))


@prints("no-wheel", uv, pip)
def a_package_without_a_wheel_for_this_python(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("oldpython", url=url)


@prints("wrong-python", uv, pip)
def a_package_for_a_newer_python(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("newpython", url=url)


@prints("build-failed", uv, pip)
def a_package_that_must_be_built(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("fromsource", url=url)


def building(install: Callable, failure: str) -> str:
    """What the installer says of a package whose build prints this, and much after it."""
    with index.served(uv.packages) as url:
        return install("fromsource", url=url, CPATH=failure)


@prints("version-from-git", uv, pip)
def a_version_of_a_repository(install: Callable, _folder: Path) -> str:
    return building(
        install, "LookupError: setuptools-scm was unable to detect version for /srv/scoring/releases/1/src."
    )


@prints("version-from-git", uv)
def a_version_of_a_repository_with_another_tool(install: Callable, _folder: Path) -> str:
    return building(
        install, "pdm.backend.exceptions.ConfigError: Cannot find the version from SCM or SCM isn't detected."
    )


@prints("project-layout", uv)
def folders_that_may_all_be_the_package(install: Callable, _folder: Path) -> str:
    return building(install, "error: Multiple top-level packages discovered in a flat-layout: ['app', 'static'].")


@prints("project-file", uv, pip)
def a_file_that_the_build_reads(install: Callable, _folder: Path) -> str:
    return building(install, "FileNotFoundError: [Errno 2] No such file or directory: 'requirements.txt'")


@prints("project-imports", uv)
def a_module_that_the_build_imports(install: Callable, _folder: Path) -> str:
    return building(install, "ModuleNotFoundError: No module named 'pkg_resources'")


@prints("project-table")
def a_project_without_a_version(folder: Path) -> str:
    (folder / "pyproject.toml").write_text("[build-system]\nrequires = []\n[project]\nname = 'x'\n")
    return uv(str(folder))


@prints("git-denied", uv)
def a_repository_that_wants_a_key(install: Callable, _folder: Path) -> str:
    return building(install, "git@github.com: Permission denied (publickey).")


@prints("git-unreachable")
def a_repository_that_is_not_there(folder: Path) -> str:
    return uv(f"x @ git+file://{folder}/missing.git")


@prints("git-reference")
def a_tag_that_a_repository_lacks(folder: Path) -> str:
    for words in (
        ["init", "-q"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return uv(f"x @ git+file://{folder}@v9")


@prints("compiler-missing", uv, pip)
def a_compiler_that_is_missing(install: Callable, _folder: Path) -> str:
    return building(install, "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory")


@prints("compiler-missing", uv)
def a_compiler_that_meson_does_not_find(install: Callable, _folder: Path) -> str:
    return building(install, "../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang']]")


@prints("rust-missing", uv)
def a_compiler_of_rust_that_is_missing(install: Callable, _folder: Path) -> str:
    return building(install, "error: can't find Rust compiler")


@prints("header-missing", uv)
def a_header_that_is_missing(install: Callable, _folder: Path) -> str:
    return building(install, "src/x.c:1:10: fatal error: Python.h: No such file or directory")


@prints("build-tool-missing", uv)
def a_tool_of_the_build_that_is_missing(install: Callable, _folder: Path) -> str:
    return building(install, "Error: pg_config executable not found.")


@prints("build-tool-missing", uv)
def a_library_of_the_build_that_is_missing(install: Callable, _folder: Path) -> str:
    return building(install, "Package 'libffi', required by 'virtual:world', not found")


@prints("index-first", uv)
def a_first_index_that_hides_the_version(install: Callable, folder: Path) -> str:
    index.wheel(folder, "plain")
    (folder / "plain-1.0-py3-none-any.whl").rename(folder / "plain-2.0-py3-none-any.whl")
    with index.served(uv.packages) as first, index.served(folder) as url:
        return install("plain==2.0", url=url, extra=(f"--index={first}/simple",))


@prints("no-such-package", uv, pip)
def a_package_that_does_not_exist(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("missing", url=url)


@prints("no-such-version", uv, pip)
def a_version_that_does_not_exist(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("plain==2.0", url=url)


@prints("no-such-version")
def a_version_that_is_too_new(_folder: Path) -> str:
    with index.served(uv.packages) as url:
        return uv("plain>=2", url=url)


@prints("requirements-conflict", uv, pip)
def requirements_that_contradict_each_other(install: Callable, _folder: Path) -> str:
    with index.served(uv.packages) as url:
        return install("plain==1.0", "plain==2.0", url=url)


@prints("index-unreachable")
def an_index_without_an_address_for_pip(_folder: Path) -> str:
    return pip("plain", url="https://index.invalid")


@prints("index-insecure")
def an_index_without_tls_for_pip(_folder: Path) -> str:
    return pip("plain", url="http://index.invalid")


@prints("index-error")
def an_index_that_is_gone_for_pip(_folder: Path) -> str:
    with index.served(uv.packages, status=410) as url:
        return pip("plain", url=url)


@prints("hash-missing")
def a_hash_that_is_missing_for_pip(folder: Path) -> str:
    (folder / "lock.txt").write_text("plain==1.0\n")
    with index.served(uv.packages) as url:
        return pip("-r", str(folder / "lock.txt"), "--require-hashes", url=url)


@prints("not-in-wheelhouse")
def no_index_and_no_wheelhouse_for_pip(_folder: Path) -> str:
    return pip("missing", extra=("--no-index", "--find-links", str(uv.packages)))


@prints("no-such-version")
def a_version_that_a_wheelhouse_lacks_for_pip(_folder: Path) -> str:
    return pip("plain==2.0", wheelhouse=str(uv.packages))
