# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the last lines of a log or of an installer mean, and what to do about it.

One table for the preflight, the activation, the building of a release and the doctor.
"""

from __future__ import annotations

import dataclasses
import re

from . import phrases


@dataclasses.dataclass(frozen=True)
class Symptom:
    """A text that upstream prints, and what is behind it. ``{0}``, ``{1}`` are the groups of the pattern.

    ``source`` is who prints it: the ``app`` (with gunicorn), the ``installer``, ``supervisord``, or ``anybody``.
    ``needs_request`` says that the app boots: only a request to its health endpoint shows the failure.
    """

    code: str
    source: str
    pattern: str
    cause: str
    remedy: str
    needs_request: bool = False


#: Of the trial of a release: the limit comes behind.
TOOK_TOO_MUCH = "took more memory than"

#: The first match wins, so what names the culprit stands before what follows from it.
SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "worker-timeout",
        "app",
        r"WORKER TIMEOUT \(pid:(\d+)\)",
        "The worker {0} gave no sign of life for longer than `timeout` and was killed, with all requests that it was"
        " serving. A gevent worker does not do that because a request is slow, but because a call blocks its event loop.",
        "The stack in the log after `Worker blocked` names the line. Give that work to a thread pool"
        " (gevent.get_hub().threadpool), use a driver that gevent can patch, or choose"
        " flask_app_worker_class: gthread. With sync workers the request itself is too slow: raise flask_app_timeout.",
    ),
    Symptom(
        "out-of-memory",
        "app",
        r"Perhaps out of memory\?|\bMemoryError\b|[Oo]ut of memory: Killed process|oom-kill",
        "A worker was killed or found no memory left: the machine, or the unit's memory limit, is too small for it.",
        "Lower the number of workers (flask_app_gunicorn: {{workers: N}}), load less at import, or give the host more"
        " memory. `dmesg | grep -i oom` names what the kernel killed.",
    ),
    Symptom(
        "trial-memory",
        "app",
        rf"{TOOK_TOO_MUCH} (\d+ MB)",
        "The app was tried without serving, beside what serves now, and took more memory than {0}.",
        "Load less at import, stop something else on the host, or give it more memory. With flask_app_preflight: false the app is"
        " not tried before.",
    ),
    Symptom(
        "memory-refused",
        "app",
        r"\[Errno 12\]|Cannot allocate memory",
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
        " `flask_app_gunicorn: {{worker_class: sync}}`.",
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
        "module-not-found",
        "app",
        r"ModuleNotFoundError: No module named '([^']+)'",
        "The app imports {0}, and neither its source nor its venv has it.",
        "Add the package to the app's requirements (or lock file), or correct the import. If {0} is the app's own"
        " module, check flask_app_wsgi and that the file is not left out by .gitignore.",
    ),
    Symptom(
        "import-error",
        "app",
        r"\bImportError: (.+)",
        "An import fails: {0}.",
        "Usually two packages whose versions do not fit each other, or a shared library that the host lacks. Pin the"
        " versions, or install the library with the system's package manager.",
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
        "no-attribute",
        "app",
        r"Failed to find attribute '([^']+)' in '([^']+)'",
        "The module {1} has been imported but has no attribute {0}.",
        "Correct flask_app_wsgi: it is MODULE:ATTRIBUTE, and for a factory MODULE:create_app().",
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
    Symptom(
        "index-certificate",
        "installer",
        r"invalid peer certificate: *([^\n]*)|(CERTIFICATE_VERIFY_FAILED[^\n]*)",
        "The package index (or a proxy on the way to it) shows a certificate that this host does not trust: {0}.",
        "Set python_ca_bundle to a file with the certificate of your company's authority, or correct python_index_url.",
    ),
    Symptom(
        "index-proxy",
        "installer",
        r"(tunnel error: [^\n]*|407 Proxy Authentication Required|Cannot connect to proxy|Tunnel connection failed[^\n]*)",
        "The proxy between this host and the package index does not let the installer through: {0}.",
        "Check https_proxy in the environment that Ansible gives to the host (`environment:` of the play), its user and"
        " password; or use a mirror without a proxy (python_index_url).",
    ),
    Symptom(
        "index-denied",
        "installer",
        r"(401 Unauthorized|403 Forbidden|40[13] Client Error: [^\n]*?)(?: for url|$|[\s)])",
        "The package index refuses the request: {0}.",
        "Check user and password in python_index_url (https://USER:PASSWORD@HOST/...).",
    ),
    Symptom(
        "index-unreachable",
        "installer",
        r"(failed to lookup address information|Connection refused \(os error 111\)|Network is unreachable"
        r"|operation timed out|Failed to establish a new connection|Temporary failure in name resolution"
        r"|Connection to \S+ timed out)",
        "The package index cannot be reached from this host: {0}.",
        "Check python_index_url and the host's network.",
    ),
    Symptom(
        "index-error",
        "installer",
        r"HTTP status (?:server|client) error \((\d+ [^)]*)\) for url \(([^)]*)\)"
        r"|((?!404)\d{3} (?:Server|Client) Error: [^\n]*?) for url: (\S+)"
        r"|Could not fetch URL (?=[^\n]*too many (\d{3}) error responses)(\S+?):\s",
        "The package index answers {0} for {1}.",
        "Check python_index_url; if it is right, the index itself has a problem: try again later.",
    ),
    Symptom(
        "index-insecure",
        "installer",
        r"The repository located at (\S+) is not a trusted or secure host and is being ignored",
        "pip does not use an index without TLS: {0}.",
        "Write https:// in python_index_url; or, if you trust the way there, python_extra_args: [--trusted-host={0}].",
    ),
    Symptom(
        "wrong-hash",
        "installer",
        r"Hash mismatch for `?([^`\n]*)`?|(THESE PACKAGES DO NOT MATCH THE HASHES[^\n]*)",
        "What was downloaded is not what the lock file names: {0}.",
        "If you changed the version, write the lock file anew. If not, do not install it: a mirror or somebody on the way"
        " has changed the file.",
    ),
    Symptom(
        "hash-missing",
        "installer",
        r"In `--require-hashes` mode, all requirements must have a hash, but none were provided for: ([^\n]*)"
        r"|(Hashes are required in --require-hashes mode[^\n]*)",
        "The requirements have hashes for some packages and none for others: {0}.",
        "Write the lock file anew with hashes for all of them (`uv pip compile --generate-hashes`).",
    ),
    Symptom(
        "not-in-wheelhouse",
        "installer",
        r"(\S+) was not found in the provided package locations|Failed to read `--find-links` directory: (\S+)(?!\S)"
        r"(?!\s+cause: Permission denied)"
        r"|Location '([^']+)' is ignored: it is either a non-existing path"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: none\)(?=[\s\S]*\npip was told to use no index)",
        "The host installs without an index, and the wheelhouse does not have {0}.",
        "Add the wheel, and those of what it needs, to the wheelhouse (`pip download -r requirements.txt -d wheelhouse`).",
    ),
    Symptom(
        "no-wheel",
        "installer",
        r"(\S+) has no wheels with a matching ([^(\n]*?)(?: \(|,? and\b|\n)"
        r"|none of the wheel's tags (?=[^\n]*/([^/\s-]+)-[^/\s]*\.whl)\(([^)]*)\)",
        "There is no wheel of {0} for this host: no match for {1}.",
        "Take a version that has one (the package's page on the index lists them), or another python_interpreter.",
    ),
    Symptom(
        "wrong-python",
        "installer",
        r"Because (\S+) requires Python ([^\s,]+)|Package '([^']+)' requires a different Python: \S+ not in '([^']+)'"
        r"|require a different python version: (\S+) Requires-Python ([^\s;]+)",
        "{0} needs Python {1}, and the host's is another.",
        "Take a version of the package for this Python, or another python_interpreter.",
    ),
    Symptom(
        "build-failed",
        "installer",
        r"Failed to build `([^`]*)`"
        r"|error: (?:subprocess-exited-with-error|metadata-generation-failed)(?=(?:[\s\S]*Collecting (\S+))?)",
        "There is no wheel of {0} for this Python, and building it from source failed on this host.",
        "Take a version that has a wheel, or install what the lines above miss (a compiler, -dev packages).",
    ),
    Symptom(
        "no-such-package",
        "installer",
        r"Because (\S+) was not found in the package registry"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: none\)",
        "The package index has no {0}.",
        "Check the name's spelling. A private package needs its own index (python_index_url); a module that exists only"
        " on your machine belongs into the app's source.",
    ),
    Symptom(
        "no-such-version",
        "installer",
        r"Because there is no version of ([^\s,]+)|Because only [^\n]* (?:is|are) available and ([^,\n]+)"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: ",
        "The index (or the wheelhouse) does not have what is required: {0}.",
        "Compare the requirements with the versions it has; a mirror may be behind. Without an index, add the wheel, and"
        " those of what it needs, to the wheelhouse.",
    ),
    Symptom(
        "requirements-conflict",
        "installer",
        r"No solution found when resolving dependencies[^\n]*\n\s*(?:cause: )?([^\n]*)"
        r"|(Cannot install [^\n]*? have conflicting dependencies|ResolutionImpossible)",
        "The requirements contradict each other. {0}.",
        "Loosen one of them, or decide with flask_app_overrides.",
    ),
    Symptom(
        "supervisor-second",
        "supervisord",
        r"Another program is already listening on a port that one of our HTTP servers is configured to use",
        "supervisord cannot start: its socket, or the port of its web page, belongs to another program; most often"
        " another supervisord.",
        "`ss -lptn` and `pgrep -a supervisord` show which. End it (the distribution's: `systemctl disable --now"
        " supervisor`), or choose another supervisor_http_port.",
    ),
    Symptom(
        "supervisor-section",
        "supervisord",
        r"\.ini file does not include (supervisord|supervisorctl) section",
        "The configuration that was read has no [{0}] section: it is not ours, or was changed by hand.",
        "Run the role pygun.stack.supervisor again, or name the file: supervisorctl -c /etc/supervisor/supervisord.conf.",
    ),
    Symptom(
        "supervisor-rpcinterface",
        "supervisord",
        r"supervisord responded but did not recognize the supervisor namespace",
        "supervisord runs without the section [rpcinterface:supervisor], so that nothing can control it.",
        "Run the role pygun.stack.supervisor again; it writes the section.",
    ),
    Symptom(
        "supervisor-value",
        "supervisord",
        r"Error: (.*) in section '([^']*)' \(file: '([^']*)'\)",
        "supervisord does not take a value in section [{1}] of {2}: {0}.",
        "Correct the line; deploying (or the role pygun.stack.supervisor) writes the file anew.",
    ),
    Symptom(
        "supervisor-syntax",
        "supervisord",
        r"(File contains no section headers|Source contains parsing errors|(?:section|option) '[^']*'[^\n]*already exists)",
        "supervisord cannot read a configuration file: {0}.",
        "Correct the line that is named. Deploying writes the app's file anew.",
    ),
    Symptom(
        "supervisor-value",
        "supervisord",
        r"^Error: ((?:not a valid|value|invalid|could not find|The directory|Format string|Invalid user|program section)[^\n]*)",
        "supervisord refuses its configuration: {0}.",
        "Correct the value; deploying (or the role pygun.stack.supervisor) writes the file anew.",
    ),
    Symptom(
        "supervisor-root",
        "supervisord",
        r"Supervisor is running as root\.  Privileges were not dropped because no user is specified",
        "supervisord.conf does not say user=root. Nothing is broken: supervisord is root to start programs as other users.",
        "Run the role pygun.stack.supervisor again; it writes the line.",
    ),
    Symptom(
        "supervisor-no-socket",
        "supervisord",
        r"(unix://\S+) no such file",
        "supervisord does not run, or its socket {0} was deleted.",
        "`systemctl status supervisord` tells which. `systemctl restart supervisord` makes the socket anew.",
    ),
    Symptom(
        "supervisor-refused",
        "supervisord",
        r"(\S+) refused connection",
        "Nobody listens on {0}: supervisord does not run, or a supervisord that was killed left the socket behind.",
        "`systemctl restart supervisord` removes what is left behind and starts it.",
    ),
    Symptom(
        "supervisor-password",
        "supervisord",
        r"Server requires authentication",
        "supervisord asks for a password that [supervisorctl] does not have, or has wrong.",
        "Run the role pygun.stack.supervisor again: on the unix socket it uses no password but file permissions.",
    ),
    Symptom(
        "address-in-use",
        "app",
        r"\[Errno (?:98|48)\]|Address already in use|Connection in use",
        "An address that the app wants to listen on is taken.",
        "`ss -lptn` shows by whom. If the app itself starts a server when it is imported, guard that with"
        ' `if __name__ == "__main__":`.',
    ),
    Symptom(
        "disk-full",
        "anybody",
        r"\[Errno 28\]|No space left on device|\[Errno 122\]|Disk quota exceeded",
        "The disk (or its inodes, or a quota) is full.",
        "`df -h` and `df -i` show which one. Lower flask_app_keep_releases, or make room.",
    ),
    Symptom(
        "permission-denied",
        "anybody",
        r"(?:PermissionError: |\[Errno (?:13|30)\] )(.*)|(attempt to write a readonly database|unable to open database file)",
        "The app's user may not do something: {0}.",
        "The app runs as its own user. Have it write below /srv/NAME/shared, which outlives releases: PYGUN_SHARED_DIR in the"
        " app's environment is that path. What is gone after a reboot may be in /run/NAME.",
    ),
    Symptom(
        "open-files",
        "anybody",
        r"\[Errno 24\]|Too many open files",
        "The limit of open files is reached.",
        "Raise LimitNOFILE of supervisord's unit, or lower worker_connections.",
    ),
    Symptom(
        "cannot-spawn",
        "app",
        r"(couldn't setuid to .*|can't find command .*|couldn't exec .*|couldn't chdir to .*)",
        "supervisord could not start the program: {0}.",
        "Check that the user exists and that the release's venv is complete; deploying again rebuilds what is missing.",
    ),
    Symptom(
        "health-status",
        "app",
        rf"GET \S+ {phrases.ANSWERED} ([45]\d\d)\b",
        "The app boots, but its health endpoint answers {0}.",
        "Look for the reason in the app's own lines above: a missing environment variable, a database it cannot reach."
        " If the path is wrong, correct flask_app_health_path.",
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
    Symptom(
        "boot-too-slow",
        "app",
        rf"{phrases.WORKER_LATE}|{phrases.MASTER_LATE}|{re.escape(phrases.STACKS)}0:|did not become ready within",
        "The app was still booting when flask_app_boot_timeout had passed.",
        "The stack in the log shows where it was. If it must take that long (a big model), raise"
        " flask_app_boot_timeout.",
    ),
    Symptom(
        "settings-file",
        "app",
        r"Failed to read config file: (\S+)",
        "gunicorn cannot execute {0}.",
        "The traceback in the log names the line; it comes from flask_app_gunicorn or from the runtime.",
    ),
    Symptom(
        "early-exit",
        "app",
        rf"\bSystemExit\b|{phrases.ENDED_EARLY}|ended the process with exit code|Worker \(pid:\d+\) exited with code (?!3\b|4\b)\d+",
        "A worker ended while it was booting, without an error: the app calls sys.exit() (or os._exit) when it is"
        " imported.",
        "Find the call: often a check of the configuration, or a main() that is not under"
        ' `if __name__ == "__main__":`.',
    ),
    Symptom(
        "prometheus-directory",
        "app",
        r"env (PROMETHEUS_MULTIPROC_DIR|prometheus_multiproc_dir) is not set or not a directory",
        "prometheus_client is to collect the files of all workers, and {0} does not name their directory.",
        "Set flask_app_env: {{PROMETHEUS_MULTIPROC_DIR: /run/NAME/prometheus}}. The runtime makes the directory and removes what"
        " ended workers leave there.",
    ),
    Symptom(
        "app-error",
        "app",
        r"^(?:\w+\.)*(\w*(?:Error|Exception)): (.+)$",
        "The app raises {0} while it boots: {1}.",
        "The traceback in the log names the line.",
    ),
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
    """What people are shown of something with a ``cause`` and a ``remedy``."""
    return f"Cause: {known.cause}\nWhat to do: {known.remedy}"


def diagnose(text: str, source: str = "app", root: str = "") -> Diagnosis | None:
    """The known cause behind these lines of the app, the installer or supervisord, or None.

    :param root: the app's directory, which the remedy then names
    """
    for symptom in SYMPTOMS:
        if symptom.source not in (source, "anybody"):
            continue
        found = re.search(symptom.pattern, text, re.MULTILINE)
        if found:
            words = [word.strip().rstrip(".") for word in found.groups() if word]
            words += [""] * 2
            cause, remedy = symptom.cause.format(*words), symptom.remedy.format(*words)
            if root:
                remedy = remedy.replace("/srv/NAME", root).replace("/run/NAME", f"/run/{root.rpartition('/')[2]}")
            return Diagnosis(cause, remedy, symptom.code, _line_at(text, found.start()), symptom.needs_request)
    return None


def _line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].partition("\n")[0].strip()
