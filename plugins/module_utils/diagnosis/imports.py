# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Symptoms of an app that cannot be imported where it is served, although it starts on its author's machine."""

from __future__ import annotations

import re
import sys

from . import phrases
from .symptom import Symptom

#: Modules that Python 3.12 and 3.13 have removed.
_REMOVED = (
    "asynchat|asyncore|distutils|imp|smtpd|aifc|audioop|cgi|cgitb|chunk|crypt|imghdr|lib2to3|mailcap|nis|nntplib|ossaudiodev|pipes|sndhdr"
    "|spwd|sunau|telnetlib|uu|xdrlib"
)
_OF_PYTHON = "|".join(sorted(name for name in getattr(sys, "stdlib_module_names", ("platform",)) if name[0] != "_"))
#: What Python shows of a line, and the line of signs below it.
_MARKS = r"(?: [^\n]*\n)*"

#: Each pattern names one thing only, so these come before all others.
SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "variable-missing",
        "app",
        rf'File "(?:<frozen os>|[^"\n]*/os\.py)", line \d+, in __getitem__\n{_MARKS}KeyError: \'([^\'\n]+)\'',
        "The app asks for the variable {0}, which its environment does not have.",
        "Set it in flask_app_env.",
        of_last_error=True,
    ),
    Symptom(
        "variable-missing",
        "app",
        rf"(?:getenv|environ\.get)\(['\"](\w+)['\"][^\n]*\n{_MARKS}(?:TypeError|AttributeError): [^\n]*NoneType",
        "The app needs the variable {0}, which its environment does not have.",
        "Set it in flask_app_env.",
        of_last_error=True,
    ),
    Symptom(
        "variable-missing",
        "app",
        r"ValidationError: \d+ validation errors? for (\w*(?:[Ss]ettings|[Cc]onfig)\w*)\n(\w+)\n +(?:Field required|field required)",
        "The settings of the app ({0}) lack the value of {1}.",
        "Set it in flask_app_env; pydantic-settings reads {1} from a variable of that name, behind its env_prefix if it has one, in letters of any"
        " case. The lines above name all fields that it lacks.",
        of_last_error=True,
    ),
    Symptom(
        "removed-module",
        "app",
        rf"ModuleNotFoundError: No module named '({_REMOVED})(?:\.[\w.]+)?'",
        "The app, or a package of it, imports {0}, which was a part of Python: Python 3.12 and 3.13 have removed it.",
        "Take a newer version of the package that imports it (the traceback names it), or an older Python for the app (flask_app_python). setuptools"
        " brings distutils, and legacy-cgi brings cgi: name them in the app's requirements, or in flask_app_packages.",
        of_last_error=True,
    ),
    Symptom(
        "module-of-python",
        "app",
        rf"{phrases.NOT_THERE} '({_OF_PYTHON})' has no '",
        "flask_app_wsgi names {0}, which is a module of Python itself too, and Python takes its own.",
        "Rename the app's {0}.py, for example to wsgi.py, and set flask_app_wsgi: wsgi:app.",
    ),
    Symptom(
        "relative-import",
        "app",
        r"ImportError: attempted relative import (?:with no known parent package|beyond top-level package)",
        "The module that flask_app_wsgi names is part of a package, and is imported without it.",
        "Name it with its package, such as flask_app_wsgi: scoring.app:app, and have flask_app_src name the directory that holds the package.",
        of_last_error=True,
    ),
    Symptom(
        "factory-arguments",
        "app",
        r"AppImportError: TypeError: (\w+)\(\) ((?:missing|takes) [^\n]+)",
        "The factory {0} wants other arguments than flask_app_wsgi gives it: {1}.",
        "Write texts and numbers into the call, such as flask_app_wsgi: wsgi:create_app('production'). For anything else, make the app in a module:"
        " app = create_app(...), and name that.",
    ),
    Symptom(
        "not-an-app",
        "app",
        r"AppImportError: (Application object must be callable)",
        "flask_app_wsgi does not name a WSGI application: {0}.",
        "A factory has to return the app alone, not a pair of it and something else. If the object holds the app in an attribute, as Dash does, add"
        " `server = app.server` to the module, and set flask_app_wsgi: MODULE:server.",
    ),
    Symptom(
        "not-an-app",
        "app",
        r"AppImportError: Failed to find application object: '([^'\n]+)'",
        "flask_app_wsgi does not name a WSGI application: {0} is None.",
        "If it is a factory, end it with `return app`. If it is a variable, give it the app as the module is imported.",
    ),
    Symptom(
        "question-at-import",
        "app",
        r"^EOFError(?:: EOF when reading a line)?$",
        "The app asks a question as it is imported (input(), getpass()), and there is nobody to answer.",
        'Move that under `if __name__ == "__main__":`, or have the app read the answer from its environment (flask_app_env).',
        of_last_error=True,
    ),
    Symptom(
        "locale-missing",
        "app",
        r"locale\.Error: unsupported locale setting",
        "The app sets a locale that the host does not have.",
        "Set flask_app_system_packages: [locales-all], which brings all locales; C.UTF-8 is always there.",
        of_last_error=True,
    ),
    Symptom(
        "git-at-import",
        "app",
        r"(fatal: not a git repository|InvalidGitRepositoryError|Command '\[?'?git\b[^\n]*returned non-zero|No such file or directory: 'git')",
        "The app asks git as it boots ({0}), and a release holds the files of its source without their repository.",
        "Have it read its version from a variable (flask_app_env), or from a file that is written before the deploy (flask_app_include takes one"
        " along that git ignores).",
        of_last_error=True,
    ),
    Symptom(
        "log-file",
        "app",
        r'/(?:logging/__init__|logging/handlers|loguru/_file_sink)\.py", line \d+, in \w+\n(?: [^\n]*\n)*\w+Error: \[Errno (?:2|13|17|20|21|30)\]'
        r" [^\n]*?'([^'\n]+)'$",
        "The app keeps a log file of its own, {0}, and cannot open it.",
        "Leave the file out: the log of the app has what it logs to the console, with its level, and is rotated. If it has to be a file, let its folder"
        " lie below /srv/NAME/shared (flask_app_shared_paths, or PYGUN_SHARED_DIR in the app's environment).",
        of_last_error=True,
    ),
    Symptom(
        "program-missing",
        "app",
        r"in _execute_child\n(?: [^\n]*\n)*FileNotFoundError: \[Errno 2\] No such file or directory: '([^'/\n]+)'"
        r"|^\S*(?:Error|Exception|NotFound): [^\n]*?\b([\w.-]+)\W{0,3} (?:is not installed or it's not in your PATH|executable needs to be in PATH)"
        r"|failed to execute (?:PosixPath\(')?([\w.-]+)[^\n]* on your systems' PATH",
        "The app starts the program {0}, which the host lacks.",
        "Name the distribution's package that has it in flask_app_system_packages, such as [ffmpeg]. A program of a Python package belongs into the"
        " app's requirements, and is found in the release's venv/bin.",
        of_last_error=True,
    ),
    Symptom(
        "database-dialect",
        "app",
        r"NoSuchModuleError: Can't load plugin: sqlalchemy\.dialects:(\S+)",
        "SQLAlchemy knows no kind of database with the name {0}, with which the address of the database begins.",
        "Correct the address in flask_app_env: SQLAlchemy 1.4 and later want postgresql:// where many services write postgres://. For another kind,"
        " add the package that brings it to the app's requirements.",
        of_last_error=True,
    ),
    Symptom(
        "removed-from-flask",
        "app",
        r"AttributeError: '(Flask|Blueprint)' object has no attribute '(\w+)'",
        "The app, or an extension of it, uses {1} of {0}, which the installed version of Flask does not have.",
        "Flask 2.3 has removed before_first_request, json_encoder and others. Write a version that still has it into the requirements, such as"
        " `flask<2.3` and `werkzeug<2.3`, or take a newer version of the extension that the traceback names.",
        of_last_error=True,
    ),
    Symptom(
        "async-gevent",
        "app",
        r"RuntimeError: (asyncio\.run\(\) cannot be called from a running event loop|You cannot use AsyncToSync in the same thread as an async"
        r" event loop)",
        "The app runs coroutines, such as Flask's views of `async def`, in several requests at a time: a gevent worker has one event loop of asyncio"
        " for all of them.",
        "Set flask_app_worker_class: gthread, in which each request has a thread of its own.",
        of_last_error=True,
    ),
)

#: What a request to the health path shows, before the table looks at its status.
OF_REQUESTS: tuple[Symptom, ...] = (
    Symptom(
        "template-missing",
        "app",
        r"jinja2\.exceptions\.TemplateNotFound: (\S+)",
        "The app looks for the template {0}, which is not there.",
        "The folder `templates` lies beside the module that makes the app (Flask's template_folder names another). If git ignores it,"
        " flask_app_include takes it along. If the source is installed as a package, it has to declare its data: include-package-data with a"
        " MANIFEST.in, or tool.setuptools.package-data.",
        needs_request=True,
        of_last_error=True,
    ),
    Symptom(
        "async-extra",
        "app",
        r"RuntimeError: Install Flask with the 'async' extra",
        "The app has views of `async def`, for which Flask lacks a package.",
        "Write flask[async] into the app's requirements, and set flask_app_worker_class: gthread: such views do not run in a gevent worker.",
        needs_request=True,
        of_last_error=True,
    ),
    Symptom(
        "secret-key-missing",
        "app",
        r"RuntimeError: [^\n]*(?:no secret key was set|secret key is required)",
        "The app uses Flask's session or forms, and has no secret_key.",
        'Set a fixed one in flask_app_env, such as SECRET_KEY, and have the app read it: app.secret_key = os.environ["SECRET_KEY"].',
        needs_request=True,
        of_last_error=True,
    ),
    Symptom(
        "health-login",
        "app",
        rf"GET \S+ {phrases.ANSWERED} (401|403)\b",
        "The app boots, and answers {0} to the health check, which has no login.",
        "Name a path that everybody may ask in flask_app_health_path. Without one, any answer below 500 is enough.",
        needs_request=True,
    ),
    Symptom(
        "health-raises",
        "app",
        rf"^(?:\w+\.)*(\w+(?:Error|Exception)): ([^\n]+)\n(?:[^\n]*\n){{0,8}}?[^\n]*GET \S+ {phrases.ANSWERED} 5\d\d\b",
        "The app boots, but its health endpoint raises {0}: {1}.",
        "The traceback in the log names the line.",
        needs_request=True,
        of_last_error=True,
    ),
)

#: Between the line that says that a boot takes too long, and a line of the stack below it.
_LATE = rf"(?:{phrases.WORKER_LATE}|{phrases.MASTER_LATE}|{re.escape(phrases.STACKS)}0:)[^\n]*\n(?:[^\n]*\n)*?"

#: What the stack of a boot shows that takes too long.
OF_STACKS: tuple[Symptom, ...] = (
    Symptom(
        "server-at-import",
        "app",
        rf'{_LATE}[^\n]*File "[^"\n]*/(werkzeug/serving|werkzeug/_reloader|waitress/server|waitress/wasyncore|uvicorn/server|gevent/baseserver'
        r"|eventlet/wsgi|socketserver|cheroot/server|aiohttp/web|tornado/platform/asyncio|hypercorn/run|wsgiref/simple_server)\.py"
        r'", line \d+,? in (?:serve_forever|run|serve|server|run_with_reloader|run_app|start)\b',
        "The app starts a server of its own as it is imported ({0}), which never returns.",
        'Move app.run() or its like under `if __name__ == "__main__":`. gunicorn serves the app.',
    ),
    Symptom(
        "loop-at-import",
        "app",
        r"LoopExit: (This operation would block forever)"
        rf'|{_LATE}[^\n]*File "[^"\n]*/(apscheduler/schedulers/blocking|pika/adapters/\w+|paho/mqtt/client|rq/worker|celery/worker/worker'
        r"|kafka/consumer/group|confluent_kafka/\w+|redis/client|watchdog/observers/api|asyncio/base_events)\.py"
        r'", line \d+,? in (?:_main_loop|start|start_consuming|loop_forever|work|__next__|listen|run_forever)\b',
        "The app runs something as it is imported that does not return in time: an event loop, a scheduler or a consumer ({0}).",
        'Move it under `if __name__ == "__main__":`, and make a program of its own of it (flask_app_programs).',
    ),
    Symptom(
        "service-silent",
        "app",
        rf'{_LATE}[^\n]*File "[^"\n]*/(psycopg2/__init__|psycopg/\w+|pymysql/connections|MySQLdb/\w+|mysql/connector/\w+|redis/connection|pymongo/\w+'
        r'|pymongo/synchronous/\w+|kombu/\w+|amqp/transport|pika/\w+|ldap3/\w+|urllib3/util/connection|http/client|smtplib|socket)\.py",'
        r" line \d+,? in (connect|_connect|create_connection|_get_socket|_select_servers_loop|getaddrinfo|getresponse|_make_connection|connect_to_server)\b",
        "The app was still connecting to a service ({0}) when flask_app_boot_timeout had passed: its address does not answer.",
        "Start the service, or correct its address in flask_app_env. A firewall that drops packets looks the same. The stack in the log names the line"
        " that connects; it does so sooner with a time-out of its own.",
    ),
)
