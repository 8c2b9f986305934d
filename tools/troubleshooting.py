"""docs/docsite/rst/troubleshooting.rst, from the table of plugins/module_utils/diagnosis/symptoms.py.

The page is part of the documentation site, and of what GitHub shows: no more of reStructuredText than both understand.
"""

from __future__ import annotations

import re

from plugins.module_utils.diagnosis.symptoms import Diagnosis, diagnose
from tools.shell import ROOT

PAGE = ROOT / "docs" / "docsite" / "rst" / "troubleshooting.rst"

# A line that upstream prints for each entry of the table, by who prints it; for some the lines around it as well.
# tests/component/diagnosis provokes the entries with the real programs.
SAID: dict[str, tuple[str, ...]] = {
    "app": (
        "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'TOKEN'",
        "    HOSTS = os.environ.get('HOSTS').split(',')\nAttributeError: 'NoneType' object has no attribute 'split'",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\ndatabase_url\n  Field required",
        "ModuleNotFoundError: No module named 'distutils'",
        "flask_app_wsgi names what is not there: 'platform' has no 'app'",
        "ImportError: attempted relative import with no known parent package",
        "gunicorn.errors.AppImportError: TypeError: create_app() missing 1 required positional argument: 'config'",
        "gunicorn.errors.AppImportError: Application object must be callable.",
        "gunicorn.errors.AppImportError: Failed to find application object: 'create_app()'",
        "EOFError: EOF when reading a line",
        '  File "/usr/lib/python3.13/logging/__init__.py", line 1251, in _open\n    return open_func(self.baseFilename, self.mode)\n'
        "PermissionError: [Errno 13] Permission denied: '/var/log/scoring.log'",
        "in _execute_child\nFileNotFoundError: [Errno 2] No such file or directory: 'ffmpeg'",
        "sqlalchemy.exc.NoSuchModuleError: Can't load plugin: sqlalchemy.dialects:postgres",
        "AttributeError: 'Flask' object has no attribute 'before_first_request'",
        "locale.Error: unsupported locale setting",
        "subprocess.CalledProcessError: Command '['git', 'describe']' returned non-zero exit status 128.",
        "RuntimeError: asyncio.run() cannot be called from a running event loop",
        "jinja2.exceptions.TemplateNotFound: index.html",
        "RuntimeError: Install Flask with the 'async' extra in order to use async views.",
        "RuntimeError: The session is unavailable because no secret key was set.",
        "Health check failed, refusing to serve: GET /healthz answered 401 UNAUTHORIZED",
        "Worker not ready within 60 s; it is at:\n"
        '  File "/srv/scoring/current/venv/lib/python3.13/site-packages/werkzeug/serving.py", line 819, in serve_forever',
        'Worker not ready within 60 s; it is at:\n  File "/usr/lib/python3.13/asyncio/base_events.py", line 706, in run_forever',
        "Worker not ready within 60 s; it is at:\n"
        '  File "/srv/scoring/current/venv/lib/python3.13/site-packages/psycopg2/__init__.py", line 122, in connect',
        "[CRITICAL] WORKER TIMEOUT (pid:742)",
        "[ERROR] Worker (pid:742) was sent SIGKILL! Perhaps out of memory?",
        "MemoryError",
        "OSError: [Errno 12] Cannot allocate memory",
        "Out of memory: Killed process 742 (gunicorn)",
        "the app took more memory than 412 MB",
        "[ERROR] Worker (pid:742) was sent SIGSEGV!",
        "Fatal Python error: Segmentation fault",
        "gunicorn: error: unrecognized arguments: --bind 127.0.0.1:5000 wsgi:app",
        "ModuleNotFoundError: No module named 'pygun.py'; 'pygun' is not a package",
        "flask_app_wsgi names what is not there: 'wsgi' has no 'aplication'; there is: wsgi:application",
        "flask_app_wsgi names what is not there: no module 'main'",
        "ModuleNotFoundError: No module named 'pkg_resources'",
        "importlib.metadata.PackageNotFoundError: No package metadata was found for scoring",
        '  File "/srv/scoring/current/venv/lib/python3.13/site-packages/gunicorn/workers/ggevent.py", line 16, in <module>\n'
        "    from packaging.version import parse\nModuleNotFoundError: No module named 'packaging'",
        "ModuleNotFoundError: No module named 'sklearn'",
        "OSError: libpq.so.5: cannot open shared object file: No such file or directory",
        "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory",
        "ImportError: cannot import name 'url_quote' from 'werkzeug.urls'",
        "AttributeError: Can't get attribute 'Scaler' on <module '__main__' from '/srv/scoring/current/venv/bin/gunicorn'>",
        "AttributeError: Can't get attribute 'Tree' on <module 'sklearn.tree._tree' from 'x.so'>",
        "AttributeError: module 'statistics' has no attribute 'mean'",
        "Failed to find attribute 'app' in 'wsgi'.",
        "Application object must be callable.",
        "Failed to find application object: 'app'",
        "SyntaxError: invalid syntax",
        "Invalid value for keepalive: soon",
        "Failed to read config file: pygun.py",
        "ValueError: Could not create FastCGI socket tcp://127.0.0.1:5000: [Errno 98] Address already in use",
        "OSError: [Errno 98] Address already in use",
        "[ERROR] Connection in use: ('127.0.0.1', 5000)",
        "OSError: [Errno 28] No space left on device",
        "PermissionError: [Errno 13] Permission denied: '/var/lib/model.bin'",
        "PermissionError: [Errno 13] Permission denied: '/srv/scoring/releases/3f0c9e1b5a7d2846/venv/bin/python'",
        "OSError: [Errno 30] Read-only file system: '/usr/share/scoring/cache'",
        "sqlite3.OperationalError: attempt to write a readonly database",
        "OSError: [Errno 24] Too many open files: '/dev/null'",
        "sqlite3.OperationalError: no such table: item",
        'psycopg.errors.UndefinedTable: relation "item" does not exist',
        "FileNotFoundError: [Errno 2] No such file or directory: 'models/scoring.onnx'",
        "FileNotFoundError: [Errno 2] Unable to load configuration file (No such file or directory): 'config.py'",
        "RuntimeError: No CUDA GPUs are available",
        "scoring:scoring-0                FATAL     can't find command '/srv/scoring/current/venv/bin/python'",
        "supervisor: couldn't setuid to 1001: Can't drop privilege as nonroot user",
        "Health check failed, refusing to serve: GET /healthz cannot be asked through WSGI: create_app() takes 0 positional"
        " arguments but 2 were given",
        "Health check failed, refusing to serve: GET /healthz cannot be asked through WSGI: FastAPI.__call__() missing 1 required"
        " positional argument: 'send'",
        "Health check failed, refusing to serve: GET /healthz cannot be asked through WSGI: 'int' object is not subscriptable",
        "Health check failed, refusing to serve: GET /healthz answered 503 SERVICE UNAVAILABLE",
        "ValueError: no such mode\nHealth check failed, refusing to serve: GET /healthz answered 500 INTERNAL SERVER ERROR",
        "Health check failed, refusing to serve: GET /healthz gave no answer within 30.0 s",
        "Health check failed, refusing to serve: GET /healthz raised KeyError: 'DATABASE_URL'",
        "Worker not ready within 60 s; it is at:",
        "scoring-0: it did not become ready within 65 s (0 workers are ready)",
        "SECRET_KEY must be set\n[ERROR] Worker (pid:742) exited with code 1.",
        "[ERROR] Worker (pid:742) exited with code 1.",
        "ValueError: env PROMETHEUS_MULTIPROC_DIR is not set or not a directory",
        "KeyError: 'DATABASE_URL'",
        "redis.exceptions.ConnectionError: Error 111 connecting to 10.0.0.7:6379. Connection refused.",
        "RuntimeError: SCORING_CONFIG environment variable not set",
        'TypeError: can only concatenate str (not "NoneType") to str',
        "ValueError: could not convert string to float: 'x'",
        "    assert config\nAssertionError",
    ),
    "installer": (
        "  cause: failed to find branch, tag, or commit `v9`",
        "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
        "ssh: connect to host git.example.com port 22: Connection timed out",
        "error: Multiple top-level packages discovered in a flat-layout: ['app', 'migrations', 'static'].",
        "poetry.core.masonry.utils.module.ModuleOrPackageNotFoundError: No file/folder found for package shop",
        "FileNotFoundError: [Errno 2] No such file or directory: 'requirements.txt'",
        "ModuleNotFoundError: No module named 'pkg_resources'",
        "`pyproject.toml` is using the `[project]` table, but the required `project.version` field is neither set nor present in the"
        " `project.dynamic` list",
        "cause: invalid peer certificate: UnknownIssuer",
        "Could not fetch URL https://packages.example.com/simple/flask/: There was a problem confirming the ssl certificate:"
        " [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
        "cause: tunnel error: proxy authorization required",
        "ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy Authentication Required'))",
        "hint: An index URL (https://packages.example.com/simple) could not be queried due to a lack of valid authentication"
        " credentials (401 Unauthorized)",
        "Could not fetch URL https://packages.example.com/simple/flask/: 403 Client Error: Forbidden for url:"
        " https://packages.example.com/simple/flask/ - skipping",
        "cause: failed to lookup address information: Name or service not known",
        "Failed to establish a new connection: [Errno 111] Connection refused",
        "cause: HTTP status server error (500 Internal Server Error) for url (https://packages.example.com/simple/flask/)",
        "WARNING: The repository located at packages.example.com is not a trusted or secure host and is being ignored.",
        "cause: Hash mismatch for `flask==3.1.2`",
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: flask==3.1.2",
        "ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements.",
        "cause: Because flask was not found in the provided package locations and you require flask, we can conclude that"
        " your requirements are unsatisfiable.",
        "error: Failed to read `--find-links` directory: /opt/wheels",
        "cause: Because model==1.0 has no wheels with a matching Python ABI tag (e.g., `cp313`)",
        "cause: Because model==1.0 requires Python >=3.14 and only model==1.0 is available, we can conclude that all versions"
        " of model cannot be used.",
        "ERROR: Package 'model' requires a different Python: 3.13.5 not in '>=3.14'",
        "error: Failed to read `--find-links` directory: /root/wheels\n  cause: Permission denied (os error 13)",
        "ERROR: Could not open requirements file: [Errno 13] Permission denied: '/root/requirements.txt'",
        "error: can't find Rust compiler",
        "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
        "src/model.c:10:10: fatal error: Python.h: No such file or directory",
        "Error: pg_config executable not found.",
        "LookupError: setuptools-scm was unable to detect version for /srv/scoring/releases/3f0c9e1b5a7d2846/src.",
        "pdm.backend.exceptions.ConfigError: Cannot find the version from SCM or SCM isn't detected.",
        "error: Failed to build `model==1.0`",
        "error: subprocess-exited-with-error",
        "cause: Because flaks was not found in the package registry and you require flaks, we can conclude that your"
        " requirements are unsatisfiable.",
        "ERROR: Could not find a version that satisfies the requirement flaks (from versions: none)",
        "hint: `model` was found on https://packages.example.com/simple, but not at the requested version (model==2.0).",
        "cause: Because there is no version of flask==99.0 and you require flask==99.0, we can conclude that your requirements"
        " are unsatisfiable.",
        "ERROR: Could not find a version that satisfies the requirement flask==99.0 (from versions: 3.0.3, 3.1.2)",
        "error: No solution found when resolving dependencies\n  cause: Because you require flask==2.3.3 and flask==3.1.2, we can"
        " conclude that your requirements are unsatisfiable.",
        "ERROR: Cannot install flask==2.3.3 and flask==3.1.2 because these package versions have conflicting dependencies.",
    ),
    "supervisord": (
        "Error: Another program is already listening on a port that one of our HTTP servers is configured to use.",
        "Error: .ini file does not include supervisorctl section",
        "Sorry, supervisord responded but did not recognize the supervisor namespace commands that supervisorctl uses to"
        " control it.",
        "Error: not a valid boolean value: 'true.' in section 'program:mailer' (file: '/etc/supervisor/supervisord.conf')",
        "Error: The directory named as part of the path /var/log/mailer/mailer.log does not exist",
        "Error: File contains no section headers.",
        "Supervisor is running as root.  Privileges were not dropped because no user is specified in the config file.",
        "unix:///run/supervisor/supervisor.sock no such file",
        "unix:///run/supervisor/supervisor.sock refused connection",
        "Server requires authentication",
    ),
}  # fmt: skip

TITLES = {
    "app": "The app, gunicorn and the runtime",
    "installer": "Dependencies: uv and pip",
    "supervisord": "supervisord and supervisorctl",
}

HEAD = """\
.. Written by `make docs` from plugins/module_utils/diagnosis/symptoms.py and tools/troubleshooting.py: change these files.

.. _ansible_collections.pygun.stack.docsite.troubleshooting:

Troubleshooting
===============

A deploy that fails, and ``pygun.stack.doctor`` at any time, say what is wrong, why, and what to do, by the table of this page.
The doctor also looks for what no log contains: full disks, wrong clocks, strange sockets, processes left behind, and configuration
files with characters that cannot be seen.

Look for the line that you have; in a log of JSON it is the ``message``. What a line names here (a module, an address, a number) is
an example. Each heading is the code that the doctor shows.

.. contents::
   :local:
"""


def render() -> str:
    """The text of the page."""
    parts = [HEAD]
    for source, texts in SAID.items():
        parts.append(heading(TITLES[source], "-"))
        found: dict[str, list[tuple[str, Diagnosis]]] = {}
        for text in texts:
            known = known_cause(text, source)
            found.setdefault(known.code, []).append((text, known))
        parts += [entry(code, said) for code, said in found.items()]
    return "\n".join(parts)


def known_cause(text: str, source: str) -> Diagnosis:
    """What the table says of a text."""
    known = diagnose(text, source)
    if not known:
        raise ValueError(f"tools/troubleshooting.py: the table has no cause of {text!r} ({source}).")
    return known


def entry(code: str, said: list[tuple[str, Diagnosis]]) -> str:
    """One entry of the table: the lines by which it is known, and what is behind each of them."""
    lines = [heading(code, "~"), "::", ""]
    lines += [f"    {line}" for text, _known in said for line in text.splitlines()]
    causes: dict[str, str] = {}
    for _text, known in said:
        causes.setdefault(known.remedy, known.cause)
    for remedy, cause in causes.items():
        lines += ["", f"**Why:** {marked_up(cause)}", "", f"**What to do:** {marked_up(remedy)}"]
    return "\n".join([*lines, ""])


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


# What is shown as code: what stands between backticks, and variables of the roles.
CODE = re.compile(r"`([^`]+)`|\b((?:flask_app|supervisor|python)_[a-z_]+)")


def marked_up(text: str) -> str:
    """A sentence of the table in reStructuredText."""
    parts, position = [], 0
    for found in CODE.finditer(text):
        parts += [plain(text[position : found.start()]), f"``{found[1] or found[2]}``"]
        position = found.end()
    return "".join([*parts, plain(text[position:])])


def plain(text: str) -> str:
    """Words that mean nothing but themselves."""
    return re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", text)
