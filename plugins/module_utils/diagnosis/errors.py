# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Symptoms of an app that ends its boot itself: with an error, or with sys.exit(). The last ones of the table."""

from __future__ import annotations

from . import phrases
from .symptom import Symptom

_EARLY = (
    rf"\bSystemExit\b|{phrases.ENDED_EARLY}|ended the process with exit code"
    r"|Worker \(pid:\d+\) exited with code (?!3\b|4\b)\d+"
)
_NAME = r"['\"`]?\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b"
#: Words of many hands that say that something has no value; and those that ask for one.
_ABSENT = (
    r"\b(?:not (?:been |properly )?(?:set|found|defined|provided|configured|specified|given|present|available|in\b)|unset|undefined|missing"
    r"|required|mandatory|must (?:not )?be|should be|needs? to be|has to be|cannot be|can't be|empty|None)\b"
)
_WANTED = r"\b(?:[Mm]issing|[Rr]equired?s?|[Ss]et|[Ss]etting|[Dd]efine|[Pp]rovide|[Ee]xpect(?:s|ed)?|[Nn]eeds?|[Nn]o|[Ss]pecify|[Cc]onfigure|[Ee]xport)\b"
#: A line that is not one of the source, which a traceback indents.
_UNSET = rf"^(?! )[^\n]*?(?:{_NAME}[^\n]{{0,40}}?{_ABSENT}|{_WANTED}[^\n]{{0,40}}?{_NAME})"
_OF_EXIT = rf"{_UNSET}[^\n]*\n(?:[^\n]*\n){{0,4}}?[^\n]*(?:{_EARLY})"
_WITHOUT = "The app asks for the variable {0}, which its environment or configuration does not have."
_GIVE = (
    "Set it in flask_app_env. If it names a configuration file, such as app.cfg, bring the file along with flask_app_files and name it as"
    " `{{release}}/src/app.cfg`."
)

SYMPTOMS: tuple[Symptom, ...] = (
    Symptom("variable-missing", "app", _OF_EXIT, _WITHOUT, _GIVE, of_last_error=True),
    Symptom(
        "early-exit",
        "app",
        _EARLY,
        "A worker ended while it was booting, without an error: the app calls sys.exit() (or os._exit) when it is"
        " imported.",
        "Find the call: often a check of the configuration (the last lines may say which value it lacks), or a main() that is not under"
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
        "service-unreachable",
        "app",
        r"(connection to server at [^\n]*? failed: [^\n]*|Error 111 connecting to [^\n]*|Can't connect to (?:MySQL|MariaDB) server on [^\n]*"
        r"|\[Errno 111\] Connection refused|\[Errno -[23]\] [^\n]*|Name or service not known)",
        "The app cannot connect to a service that it needs as it boots: {0}.",
        "Start the database, queue or server, or correct its address in flask_app_env: the host has to reach it. The traceback in the"
        " log names the line that connects.",
        of_last_error=True,
    ),
    Symptom(
        "variable-missing",
        "app",
        rf"^KeyError: '([A-Z][A-Z0-9]*_[A-Z0-9_]+)'$|{_UNSET}"
        r"|\b(?:[Mm]issing|[Rr]equired|[Ss]et|[Dd]efine)(?: the)? [Ee]nvironment variable:? ['\"`]?([A-Z][A-Z0-9_]{2,})\b"
        r"|[Ee]nvironment variable:? ['\"`]?([A-Z][A-Z0-9_]{2,})\b['\"`]? (?:(?:is|was|has|must|could|does)\b ?)?(?:not|un|missing|required|be|to be)"
        r"|UndefinedValueError: (\w+) not found",
        _WITHOUT,
        _GIVE,
        of_last_error=True,
    ),
    Symptom(
        "none-value",
        "app",
        r"^(?:TypeError|AttributeError): ([^\n]*\bNoneType\b[^\n]*)",
        "The app uses a value that it does not have (None) while it boots: {0}.",
        "Often it is a variable that the environment lacks, for which os.environ.get() gives None: set it in flask_app_env. The traceback in the log"
        " names the line.",
        of_last_error=True,
    ),
    Symptom(
        "app-error",
        "app",
        r"^(?:\w+\.)*(\w*(?:Error|Exception)): (.+)$",
        "The app raises {0} while it boots: {1}.",
        "The traceback in the log names the line.",
        of_last_error=True,
    ),
    Symptom(
        "app-error",
        "app",
        r"^ [^\n]*\n(?:\w+\.)*([A-Za-z_]\w*)(?:: [^\n]*)?$(?!\n )",
        "The app raises {0} while it boots.",
        "The traceback in the log names the line.",
        of_last_error=True,
    ),
)
