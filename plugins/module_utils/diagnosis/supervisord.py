# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Symptoms in the output of supervisord and supervisorctl."""

from __future__ import annotations

from .symptom import Symptom

SYMPTOMS: tuple[Symptom, ...] = (
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
        "Correct the line; deploying (or the role pygun.stack.supervisor) writes the file again.",
    ),
    Symptom(
        "supervisor-syntax",
        "supervisord",
        r"(File contains no section headers|Source contains parsing errors|(?:section|option) '[^']*'[^\n]*already exists)",
        "supervisord cannot read a configuration file: {0}.",
        "Correct the line that is named. Deploying writes the app's file again.",
    ),
    Symptom(
        "supervisor-value",
        "supervisord",
        r"^Error: ((?:not a valid|value|invalid|could not find|The directory|Format string|Invalid user|program section)[^\n]*)",
        "supervisord refuses its configuration: {0}.",
        "Correct the value; deploying (or the role pygun.stack.supervisor) writes the file again.",
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
        "`systemctl status supervisord` shows which. `systemctl restart supervisord` creates the socket again.",
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
)
