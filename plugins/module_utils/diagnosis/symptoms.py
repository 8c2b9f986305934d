# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cause and remedy of the last lines of a log or of an installer.

One table for the preflight, the activation, the building of a release and the doctor.
"""

from __future__ import annotations

import dataclasses
import re

from . import errors, imports, installer, phrases, shared_path, supervisord
from .symptom import Symptom

#: Of the trial of a release: the limit comes behind.
TOOK_TOO_MUCH = "took more memory than"

_TRACEBACK = re.compile(r"^.*Traceback \(most recent call last\):", re.MULTILINE)
_LED_TO = re.compile(r"(?:another exception occurred|cause of the following exception):\s*\Z")

#: The first match wins, so a symptom of a cause comes before the symptoms of its consequences.
SYMPTOMS: tuple[Symptom, ...] = (
    *imports.SYMPTOMS,
    Symptom(
        "worker-timeout",
        "app",
        r"WORKER TIMEOUT \(pid:(\d+)\)",
        "The worker {0} gave no sign of life for longer than `timeout` and was killed, with all requests that it was"
        " serving. A gevent worker does not do that because a request is slow, but because a call blocks its event loop.",
        "The stack in the log after `Worker blocked` names the line. Give that work to a thread pool"
        " (gevent.get_hub().threadpool), use a driver that gevent can patch, or choose"
        " flask_app_worker_class: gthread. With sync workers the request itself is too slow: raise flask_app_timeout. With gthread"
        " workers a call into C holds all threads up.",
    ),
    Symptom(
        "out-of-memory",
        "app",
        r"Perhaps out of memory\?|\bMemoryError\b|[Oo]ut of memory: Killed process|oom-kill|\bbad_alloc\b",
        "A process found no memory left, or was killed for what it took: the host, or a limit (of the unit, or of the trial of a"
        " release), is too small for it.",
        "Lower the number of workers (flask_app_workers), load less at import, or give the host more"
        " memory. `dmesg | grep -i oom` names what the kernel killed; if it killed nothing, the limit refused.",
    ),
    Symptom(
        "trial-memory",
        "app",
        rf"{TOOK_TOO_MUCH} (\d+ MB)",
        "The trial of the app, next to the release that serves now, took more memory than {0}.",
        "Load less at import, stop something else on the host, or give it more memory. With flask_app_preflight: false the app is"
        " not tried before.",
    ),
    Symptom(
        "memory-refused",
        "app",
        r"\[Errno 12\]|\bENOMEM\b|Cannot allocate memory",
        "The kernel refuses memory that the app reserves (ENOMEM). That need not be memory that is used: the host may not"
        " overcommit (vm.overcommit_memory=2), or the process has a limit of its address space (LimitAS, LimitDATA, ulimit -v).",
        "`sysctl vm.overcommit_memory` and `systemctl show supervisord -p LimitAS -p LimitDATA` show both. Lift the limit, or"
        " have the app reserve less.",
    ),
    Symptom(
        "native-crash",
        "app",
        r"was sent (SIG(?:SEGV|ABRT|BUS|ILL|FPE))|terminated by (SIG(?:SEGV|ABRT|BUS|ILL|FPE))"
        r"|Fatal Python error: (Segmentation fault|Aborted|Bus error|Illegal instruction|Floating-point exception)",
        "A worker crashed in native code ({0}): usually an extension module that was built for another processor or"
        " Python, or that does not survive a fork or gevent's patching.",
        "The frame at the top of the crash dump in the log names the module. Pin another version of it, or try"
        " flask_app_worker_class: sync.",
    ),
    Symptom(
        "command-line",
        "app",
        r"error: (unrecognized arguments: .*|the following arguments are required: .*|argument .+: .*)",
        "The app parses a command line while it is imported ({0}), and stops the worker when it does not like it.",
        'Move parse_args() under `if __name__ == "__main__":`, or give it an explicit empty list.',
    ),
    Symptom(
        "settings-as-app",
        "app",
        r"ModuleNotFoundError: No module named '(?:pygun(?:\.(?:py|conf|ini))?|gunicorn\.conf(?:\.py)?|gunicorn\.py)'",
        "gunicorn was given its settings file in the place of the app: it takes the first name on its command line for the app,"
        " and reads settings only behind `-c`.",
        "Write it with `-c`: gunicorn -c pygun.py wsgi:app. Under supervisor, let the role write the program's command.",
    ),
    Symptom(
        "not-there",
        "app",
        rf"{phrases.NOT_THERE} ([^;\n]+); {phrases.THERE_IS} ([^\n]+)",
        "flask_app_wsgi names what the source does not have: {0}.",
        "Correct flask_app_wsgi. Near it there is: {1}.",
    ),
    Symptom(
        "not-there",
        "app",
        rf"{phrases.NOT_THERE} ([^;\n]+)",
        "flask_app_wsgi names what the source does not have: {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app(). The module is a file of"
        " flask_app_src (`wsgi` is wsgi.py), or of a folder that the setting `pythonpath` names. An app that is made only under"
        ' `if __name__ == "__main__":`, or in a function, has to be made in the module itself.',
    ),
    Symptom(
        "pkg-resources",
        "app",
        r"ModuleNotFoundError: No module named 'pkg_resources",
        "The app, or a package of it, imports pkg_resources, a part of setuptools up to version 81.",
        "Add `setuptools<81` to the app's requirements (or lock file) or to flask_app_packages, or take a newer version of the package that imports it: the"
        " traceback names it.",
    ),
    Symptom(
        "metadata-missing",
        "app",
        r"PackageNotFoundError: (?:No package metadata was found for )?([\w.-]+)|pkg_resources\.DistributionNotFound: The '([^'\s]+)",
        "The app asks which version of {0} is installed (or for its entry points), and {0} is not installed.",
        "If {0} is the app itself, have it installed next to its requirements: flask_app_requirements: [requirements.txt, pyproject.toml]"
        " (or setup.py). If it is another package, add it to the requirements (or lock file).",
    ),
    Symptom(
        "package-imports",
        "app",
        r"/site-packages/(\w+)[^\n]*\n(?:(?! *File )[^\n]*\n){0,3}ModuleNotFoundError: No module named '([^']+)'",
        "The package {0} imports {1}, which is not installed: {0} does not declare it, or only for an extra of its own, or the"
        " lock file leaves it out.",
        "Add the package that has {1} to the app's requirements (or write the lock file again), or name it in flask_app_packages. If {1} is an"
        " old name, take a newer version of {0}.",
    ),
    Symptom(
        "module-not-found",
        "app",
        r"ModuleNotFoundError: No module named '([^']+)'",
        "The app imports {0}, and neither its source nor its venv has it.",
        "Add the package to the app's requirements (or lock file), name it in flask_app_packages, or the extra of the app that brings it in"
        " flask_app_extras; or correct the import. If {0} is the app's own"
        " module, check flask_app_wsgi, that .gitignore does not leave the file out (flask_app_include takes it along), and, if it lies"
        " in a folder of the source such as src, set flask_app_gunicorn: {{pythonpath: src}}.",
    ),
    Symptom(
        "library-missing",
        "app",
        r"\b(?:ImportError|OSError): ([\w.+-]+\.so[\w.]*): cannot open shared object file",
        "A package needs the shared library {0}, which the host lacks.",
        "Name the distribution's package that has it in flask_app_system_packages (`apt-file search {0}` names it), or use a wheel that"
        " brings it along.",
    ),
    Symptom(
        "import-error",
        "app",
        r"\bImportError: (.+)",
        "An import fails: {0}.",
        "Usually two packages whose versions do not fit each other, a file of the app that has the name of a package, or two modules"
        " that import each other. The traceback names the files; pin the versions, or rename the file.",
    ),
    Symptom(
        "no-attribute",
        "app",
        r"Failed to find attribute '([^']+)' in '([^']+)'",
        "The module {1} has been imported but has no attribute {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app().",
    ),
    Symptom(
        "pickle-main",
        "app",
        r"AttributeError: Can't get attribute '([^']+)' on <module '__main__'",
        "A pickle names the class or function {0} of `__main__`: the script that wrote it defined {0} itself. Here `__main__` is"
        " gunicorn.",
        "Move {0} to a module of the app, import it from there where the pickle is written, and write the pickle again.",
    ),
    Symptom(
        "pickle-version",
        "app",
        r"AttributeError: Can't get attribute '([^']+)' on <module '([^']+)'",
        "A pickle names {0} of the module {1}, and the module has none: it was written with another version of it.",
        "Pin the version with which the pickle was written, or write the pickle again with this one.",
    ),
    Symptom(
        "shadowed-module",
        "app",
        r"AttributeError: (?:partially initialized )?module '([\w.]+)' has no attribute '([^']+)'",
        "The module {0} that was imported has no {1}: a file {0}.py of the app takes the place of the real one, two modules"
        " import each other, or the package has another version than the app was written for.",
        "Rename the app's file if there is one of that name; else pin the package's version.",
    ),
    Symptom(
        "not-an-app",
        "app",
        r"(Application object must be callable|Failed to find application object|Failed to parse '[^']*' as an"
        r" attribute name|Function reference must be a simple name)",
        "flask_app_wsgi does not name a WSGI application: {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app().",
    ),
    Symptom(
        "syntax-error",
        "app",
        r"\b(SyntaxError|IndentationError|TabError): (.+)",
        "The source does not compile: {0}: {1}.",
        "Correct the line that the log shows. Code for a newer Python than the host's fails like this too.",
    ),
    Symptom(
        "bad-setting",
        "app",
        r"Invalid value for (\w+): (.*)",
        "gunicorn rejects the setting {0} = {1}.",
        "Correct it in flask_app_gunicorn; `gunicorn --help` lists what each setting takes.",
    ),
    Symptom(
        "public-address",
        "app",
        r"(?:Could not create FastCGI|cannot open its) socket (\S+?):? .*(Address already in use"
        r"|Cannot assign requested address|Permission denied)",
        "supervisord cannot open the public address {0}: {1}.",
        "`ss -lptn` shows who has the address. Stop that program, or choose another flask_app_bind.",
    ),
    # Whatever an installer makes of it.
    Symptom(
        "disk-full",
        "anybody",
        r"\[Errno 28\]|No space left on device|\[Errno 122\]|Disk quota exceeded",
        "The disk (or its inodes, or a quota) is full.",
        "`df -h` and `df -i` show which one. Lower flask_app_keep_releases, or make room.",
    ),
    *installer.SYMPTOMS,
    *supervisord.SYMPTOMS,
    Symptom(
        "address-in-use",
        "app",
        r"\[Errno (?:98|48)\]|Address already in use|Connection in use",
        "An address that the app wants to listen on is taken.",
        "`ss -lptn` shows by whom. If the app itself starts a server when it is imported, such as one for metrics, each worker and the trial of the"
        ' next release try it: guard it with `if __name__ == "__main__":`, or with `if os.environ.get("PYGUN_WORKER") == "0-0":`.',
    ),
    Symptom(
        "interpreter-hidden",
        "anybody",
        r"Permission denied: '([^'\n]*/venv/bin/python[\d.]*)'|couldn't exec (\S*/venv/bin/python[\d.]*): EACCES",
        "The app's user cannot execute {0}: the interpreter behind the link lies in a folder that is closed to it, such as /root or"
        " a home.",
        "Set python_interpreter (or flask_app_python) to one that every user reaches, below /usr or /opt. uv installs there with"
        " `UV_PYTHON_INSTALL_DIR=/opt/python uv python install`.",
    ),
    Symptom(
        "install-permission",
        "installer",
        r"\[Errno (?:13|30)\] (?:[^\n:]*: )?'?([^'\n]*)|([^\s`]+)`?:?\s+(?:cause: )?Permission denied \(os error 13\)",
        "The account that installs packages has no access to {0}. It is an account of its own, which sees what every user of the host sees.",
        "Open that file, and each folder above it, to everybody (chmod o+rX), or move it where everybody reads, such as below /opt. A package"
        " that writes elsewhere while it is built needs a wheel.",
    ),
    Symptom(
        "permission-denied",
        "anybody",
        r"(?:PermissionError: |\[Errno (?:13|30)\] )(.*)|((?:attempt to write a readonly database|unable to open database file): /[^\n]*)"
        r"|(attempt to write a readonly database|unable to open database file)",
        "The app's user may not do something: {0}.",
        "The app runs as its own user. Name a file or folder of its source in flask_app_shared_paths, such as [{to_share}]; or have it write"
        " below /srv/NAME/shared, which outlives releases: PYGUN_SHARED_DIR in the app's environment is that path. What is gone after a"
        " reboot may be in /run/NAME.",
    ),
    Symptom(
        "open-files",
        "anybody",
        r"\[Errno 24\]|Too many open files",
        "The limit of open files is reached.",
        "Raise supervisor_minfds, the limit of each program (the change restarts supervisord), or lower flask_app_worker_connections.",
    ),
    Symptom(
        "cannot-spawn",
        "app",
        r"(couldn't setuid to .*|can't find command .*|couldn't exec .*|couldn't chdir to .*)",
        "supervisord could not start the program: {0}.",
        "Check that the user exists and that the release's venv is complete; deploying again rebuilds what is missing.",
    ),
    Symptom(
        "table-missing",
        "app",
        r"no such (?:table|column): ([\w.]+)|(?:[Rr]elation|[Cc]olumn) \"?([\w.]+)\"? does not exist|Table '([\w.]+)' doesn't exist",
        "The app asks its database for {0}, which is not there: the database is new, or its migrations have not run.",
        "Have the deploy run them before the release serves, such as flask_app_release_command: flask db upgrade. If it does, compare the"
        " address of the database in flask_app_env. A database that is a file belongs into flask_app_shared_paths.",
    ),
    Symptom(
        "file-missing",
        "app",
        r"FileNotFoundError: \[Errno 2\] (?:Unable to load configuration file \()?No such file or directory\)?: '([^'\n]+)'",
        "The app looks for {0}, which is not there. A path without a slash at its beginning begins in the directory of the source.",
        "A file of the source that git ignores comes along with flask_app_include, and one from elsewhere, such as a model, with"
        " flask_app_files. What the app writes itself belongs into flask_app_shared_paths, which also makes a folder in /srv/NAME/shared. A"
        " program of the distribution, such as ffmpeg, comes with flask_app_system_packages.",
    ),
    Symptom(
        "accelerator-hidden",
        "app",
        r"([Nn]o CUDA-capable device is detected|Found no NVIDIA driver on your system|No CUDA GPUs are available|No HIP GPUs are available"
        r"|hipErrorNoDevice)",
        "The app finds no accelerator ({0}): the host has none, or supervisord's unit hides it.",
        'Set supervisor_unit_options: {{PrivateDevices: "false"}}. `sudo -u USER nvidia-smi` shows whether the host has one that the app\'s'
        " user may use; flask_app_accelerators says which worker has which.",
    ),
    Symptom(
        "asgi-app",
        "app",
        rf"GET \S+ {phrases.NOT_WSGI} [^\n]*(?:missing 1 required positional argument: 'send'|'coroutine' object is not iterable)",
        "flask_app_wsgi names an ASGI application, and gunicorn asks it through WSGI.",
        "Wrap it in the app's source, for example with a2wsgi: `application = ASGIMiddleware(app)`; and name that in"
        " flask_app_wsgi.",
        needs_request=True,
    ),
    Symptom(
        "factory",
        "app",
        rf"GET \S+ {phrases.NOT_WSGI} (?:\S*\.)?(\w+)\(\) (?:takes|got|missing)[^\n]*|GET \S+ {phrases.NOT_WSGI} '(\w+)' object is not iterable",
        "flask_app_wsgi names something that does not take a request ({0}): most often a function that makes the app.",
        "Append parentheses to call the factory, such as flask_app_wsgi: wsgi:create_app().",
        needs_request=True,
    ),
    Symptom(
        "not-wsgi",
        "app",
        rf"GET \S+ {phrases.NOT_WSGI} ([^\n]*)",
        "What flask_app_wsgi names does not answer as WSGI demands: {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app(). The app is called with environ and"
        " start_response, and returns an iterable of bytes.",
        needs_request=True,
    ),
    *imports.OF_REQUESTS,
    Symptom(
        "health-status",
        "app",
        rf"GET \S+ {phrases.ANSWERED} ([45]\d\d)\b",
        "The app boots, but its health endpoint answers {0}.",
        "Usual reasons are a missing environment variable and a database that the app cannot reach. The answer or the app's own"
        " lines may say it. If the path is wrong, correct flask_app_health_path. An app that answers certain hosts only answers 400 or"
        " 404 to others: set flask_app_health_host.",
        needs_request=True,
    ),
    Symptom(
        "health-silent",
        "app",
        rf"GET \S+ (?:{phrases.NO_ANSWER}|did not answer)",
        "The app boots, but its health endpoint does not answer in time.",
        "It waits for something (a database, another service), or computes. A health endpoint must answer at once.",
        needs_request=True,
    ),
    Symptom(
        "health-raises",
        "app",
        rf"GET \S+ {phrases.RAISED} (\w+): (.*)",
        "The app boots, but its health endpoint raises {0}: {1}.",
        "The traceback in the log names the line.",
        needs_request=True,
    ),
    *imports.OF_STACKS,
    Symptom(
        "boot-too-slow",
        "app",
        rf"(?:{phrases.WORKER_LATE}|{phrases.MASTER_LATE}) .*it is at:|{re.escape(phrases.STACKS)}0:",
        "The app was still booting when flask_app_boot_timeout had passed.",
        "The stack in the log shows where it was. If it must take that long (a big model), raise"
        " flask_app_boot_timeout.",
    ),
    Symptom(
        "boot-silent",
        "app",
        rf"{phrases.WORKER_LATE}|{phrases.MASTER_LATE}|did not become ready within",
        "The app was still booting when flask_app_boot_timeout had passed, and nothing in its log says where.",
        "A host that is too busy, or a file system that does not answer, holds a process up before it can say anything: look at"
        " `uptime` and `dmesg`. If the boot must take that long (a big model), raise flask_app_boot_timeout.",
    ),
    Symptom(
        "settings-file",
        "app",
        r"Failed to read config file: (\S+)",
        "gunicorn cannot execute {0}.",
        "The traceback in the log names the line; it comes from flask_app_gunicorn or from the runtime.",
    ),
    *errors.SYMPTOMS,
)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A known cause and its remedy; ``code`` names the entry of the table, ``symptom`` is the line that was found.

    ``needs_request`` is that of the entry.
    """

    cause: str
    remedy: str
    code: str = ""
    symptom: str = ""
    needs_request: bool = False


def advice(known) -> str:
    """The text of an object with a ``cause`` and a ``remedy``, for people."""
    return f"Cause: {known.cause}\nWhat to do: {known.remedy}"


def diagnose(text: str, source: str = "app", root: str = "") -> Diagnosis | None:
    """The known cause behind these lines of the app, the installer or supervisord, or None.

    :param root: the app's directory, which the remedy then names
    """
    for last in dict.fromkeys((_last_error(text), text)):
        for symptom in SYMPTOMS:
            if symptom.source not in (source, "anybody"):
                continue
            found = re.search(symptom.pattern, last if symptom.of_last_error else text, re.MULTILINE)
            if not found:
                continue
            words = [word.strip().rstrip(".") for word in found.groups() if word]
            words += [""] * 2
            cause, remedy = (
                symptom.cause.format(*words),
                symptom.remedy.format(*words, to_share=shared_path.of(words[0])),
            )
            if root:
                remedy = remedy.replace("/srv/NAME", root).replace("/run/NAME", f"/run/{root.rpartition('/')[2]}")
            return Diagnosis(cause, remedy, symptom.code, _line_at(found.string, found.start()), symptom.needs_request)
    return None


def _last_error(text: str) -> str:
    """The text from the last traceback on, with those that led to it; all of it without one. gunicorn's own one says nothing."""
    starts = [found.start() for found in _TRACEBACK.finditer(text)]
    while starts:
        start = starts.pop()
        if _LED_TO.search(text[:start]):
            continue
        if "gunicorn.errors.HaltServer" not in text[start:] or not starts:
            return text[start:]
        text = text[:start]
    return text


def _line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].partition("\n")[0].strip()
