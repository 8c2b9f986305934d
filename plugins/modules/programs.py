#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep programs of any kind running under supervisord, as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: programs
short_description: Keep programs and event listeners of any kind running under supervisord
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - The lists are complete for one scope. New programs are started, changed programs are restarted, and programs that left the lists are
    stopped and removed. Programs of other scopes, apps, and files written by hand are never touched.
  - Each program has a file of its own in C(conf.d); several with the same C(group) share one, and restart together.
  - Waits until every program runs. If one does not, the earlier files and programs are restored, and the error shows the end of its log.
  - A value reaches the program as it was given. Only supervisor's V(%(process_num\)02d), V(%(numprocs\)d), V(%(program_name\)s), V(%(group_name\)s)
    and V(%(host_node_name\)s) are replaced; any other percent sign is one.
  - C(HOME), C(USER) and C(LOGNAME) are those of the program's user, unless its environment says otherwise.
options:
  scope:
    description: Name of the set that the programs belong to. Letters, digits and C(_ . -).
    type: str
    required: true
  programs:
    description: The programs. The settings are supervisor's own, with its defaults except where named.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the program. With O(programs[].numprocs) above 1, C(-) and a number follow in the names of its processes.
        type: str
        required: true
      command:
        description: The command to start, with its arguments. No shell reads it; quotes keep words together.
        type: str
        required: true
      user:
        description: User that the program runs as.
        type: str
        required: true
      directory:
        description: Working directory of the program.
        type: str
      environment:
        description: Environment variables of the program. Only root can read their file.
        type: dict
      umask:
        description: Umask of the program (octal).
        type: str
      numprocs:
        description: Number of processes of the program.
        type: int
      numprocs_start:
        description: The number of the first process.
        type: int
      priority:
        description: Programs with a low number start first and stop last.
        type: int
      autostart:
        description: Whether the program starts with supervisord, and when it is added or changed here.
        type: bool
      autorestart:
        description: V(true), V(false), or V(unexpected) to restart the program only after an exit code that is not in O(programs[].exitcodes).
        type: str
      startsecs:
        description: Seconds that the program has to run to count as started.
        type: int
      startretries:
        description: Number of further starts that supervisord tries, each a second later than the one before.
        type: int
      exitcodes:
        description: Exit codes that are not a failure.
        type: list
        elements: str
      stopsignal:
        description: Signal that asks the program to stop.
        type: str
      stopwaitsecs:
        description: Seconds that the program has to stop before supervisord kills it.
        type: int
      stopasgroup:
        description: Whether the program's children get the stop signal, too. A shell script needs this, or C(exec) before its last command.
        type: bool
      killasgroup:
        description: Whether supervisord kills the program's children with it.
        type: bool
      stdout_logfile:
        description: Log of the program. The default is C(NAME.log) in O(log_dir), for a listener V(NONE).
        type: str
      stdout_logfile_maxbytes:
        description: Size at which the log is rotated.
        type: str
      stdout_logfile_backups:
        description: Number of rotated files to keep.
        type: int
      stdout_capture_maxbytes:
        description: Most bytes of a captured message.
        type: str
      stdout_events_enabled:
        description: Whether lines are sent to listeners as events.
        type: bool
      stdout_syslog:
        description: Whether lines go to syslog, too.
        type: bool
      stderr_logfile:
        description: Log of the program's stderr. The default is none, since both go into one; for a listener C(NAME.log) in O(log_dir).
        type: str
      stderr_logfile_maxbytes:
        description: As for stdout.
        type: str
      stderr_logfile_backups:
        description: As for stdout.
        type: int
      stderr_capture_maxbytes:
        description: As for stdout.
        type: str
      stderr_events_enabled:
        description: As for stdout.
        type: bool
      stderr_syslog:
        description: As for stdout.
        type: bool
      serverurl:
        description: Address of supervisord in the program's environment (C(SUPERVISOR_SERVER_URL)).
        type: str
      redirect_stderr:
        description: Whether stderr goes where stdout goes. The default is yes, unless O(programs[].stderr_logfile) or O(programs[].stderr_syslog) is set.
        type: bool
      group:
        description: Group of programs. A change of one of them restarts all of them.
        type: str
  listeners:
    description: Event listeners, programs that speak supervisor's event protocol.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: As for a program.
        type: str
        required: true
      command:
        description: As for a program.
        type: str
        required: true
      user:
        description: As for a program.
        type: str
        required: true
      events:
        description: Events that the listener gets, such as V(PROCESS_STATE_EXITED) or V(TICK_60).
        type: list
        elements: str
        required: true
      buffer_size:
        description: Most events that wait for the listener.
        type: int
      result_handler:
        description: Function that handles the listener's results, as C(MODULE:FUNCTION).
        type: str
      directory:
        description: As for a program.
        type: str
      environment:
        description: As for a program.
        type: dict
      umask:
        description: As for a program.
        type: str
      numprocs:
        description: As for a program.
        type: int
      numprocs_start:
        description: As for a program.
        type: int
      priority:
        description: As for a program.
        type: int
      autostart:
        description: As for a program.
        type: bool
      autorestart:
        description: As for a program.
        type: str
      startsecs:
        description: As for a program.
        type: int
      startretries:
        description: As for a program.
        type: int
      exitcodes:
        description: As for a program.
        type: list
        elements: str
      stopsignal:
        description: As for a program.
        type: str
      stopwaitsecs:
        description: As for a program.
        type: int
      stopasgroup:
        description: As for a program.
        type: bool
      killasgroup:
        description: As for a program.
        type: bool
      stdout_logfile:
        description: As for a program. The default is none.
        type: str
      stdout_logfile_maxbytes:
        description: As for a program.
        type: str
      stdout_logfile_backups:
        description: As for a program.
        type: int
      stdout_capture_maxbytes:
        description: As for a program.
        type: str
      stdout_events_enabled:
        description: As for a program.
        type: bool
      stdout_syslog:
        description: As for a program.
        type: bool
      stderr_logfile:
        description: Its log. The default is C(NAME.log) in O(log_dir).
        type: str
      stderr_logfile_maxbytes:
        description: As for a program.
        type: str
      stderr_logfile_backups:
        description: As for a program.
        type: int
      stderr_capture_maxbytes:
        description: As for a program.
        type: str
      stderr_events_enabled:
        description: As for a program.
        type: bool
      stderr_syslog:
        description: As for a program.
        type: bool
      serverurl:
        description: As for a program.
        type: str
  conf_dir:
    description: The directory whose C(*.conf) files supervisord includes.
    type: path
    default: /etc/supervisor/conf.d
  log_dir:
    description: Directory of the logs without a path of their own.
    type: path
    default: /var/log/supervisor
  supervisor_socket:
    description: The unix socket of supervisord.
    type: path
    default: /run/supervisor/supervisor.sock
  start_timeout:
    description: Seconds, beyond O(programs[].startsecs), that a program may take, with retries, until it runs.
    type: float
    default: 30
attributes:
  check_mode:
    support: full
    description: Predicts what would change, on a host of any state.
  diff_mode:
    support: full
    description: Shows the files; of an environment only the names, and which values change.
"""

EXAMPLES = r"""
- name: Two workers of a queue, which run as the app and out of its release
  pygun.stack.programs:
    scope: scoring-queue
    programs:
      - name: scoring-queue
        command: /srv/scoring/current/venv/bin/celery --app wsgi.queue worker --concurrency 1
        directory: /srv/scoring/current/src
        user: scoring
        numprocs: 2
        stopwaitsecs: 300
        environment:
          BROKER: "{{ vault_broker }}"

- name: A Go binary, a shell script, and mail when anything ends unexpectedly
  pygun.stack.programs:
    scope: operations
    programs:
      - name: exporter
        command: /usr/local/bin/exporter --listen 127.0.0.1:9200
        user: exporter
        autorestart: "true"
      - name: sweeper
        command: /bin/sh -c 'while sleep 3600; do find /srv/inbox -mtime +7 -delete; done'
        user: inbox
        stopasgroup: true
    listeners:
      - name: crashmail # msmtp needs no privileges, which programs do not get here
        command: >-
          /opt/pygun/supervisor/bin/crashmail -a -m ops@example.com
          -s "/usr/bin/msmtp -t --host=mail.example.com --from=supervisor@example.com"
        user: nobody
        events:
          - PROCESS_STATE_EXITED

- name: None of them any more
  pygun.stack.programs:
    scope: operations
"""

RETURN = r"""
programs:
  description: The processes of the scope, and the change of each.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The process.
      type: str
    group:
      description: Its group.
      type: str
    state:
      description: Its state in supervisord's words, or null.
      type: str
    pid:
      description: Its pid, or 0.
      type: int
    action:
      description: V(kept), V(added), V(changed) or V(removed).
      type: str
problems:
  description: Why the programs were refused.
  returned: refused
  type: list
  elements: str
program:
  description: The process that did not start, as C(GROUP:NAME), or null.
  returned: failure
  type: str
log:
  description: The last lines of its log since it was started.
  returned: failure
  type: list
  elements: str
rolled_back:
  description: Whether the host is as it was before.
  returned: failure
  type: bool
"""

from ..module_utils.host import places
from ..module_utils.programs.errors import ProgramsError
from ..module_utils.programs.transaction import Options, Programs
from ..module_utils.stack_module import StackModule
from ..module_utils.supervisor import program_settings

TYPES = {"size": "str", "path": "str"}
#: Of shorter values, masking every occurrence would make results unreadable: "1" is in every pid.
SHORTEST_SECRET = 8


def suboptions(kind):
    """The argument spec of a program or listener, out of the table of its settings."""
    spec = {}
    for name, given in program_settings.SETTINGS[kind].items():
        spec[name] = {"type": TYPES.get(given, given)}
        if given == "list":
            spec[name]["elements"] = "str"
        if name == "environment":
            spec[name]["no_log"] = True
        if name in program_settings.REQUIRED[kind]:
            spec[name]["required"] = True
    return spec


ARGUMENT_SPEC = {
    "scope": {"type": "str", "required": True},
    "programs": {"type": "list", "elements": "dict", "default": [], "options": suboptions("program")},
    "listeners": {"type": "list", "elements": "dict", "default": [], "options": suboptions("eventlistener")},
    "conf_dir": {"type": "path", "default": f"{places.CONF_DIR}/conf.d"},
    "log_dir": {"type": "path", "default": places.SUPERVISOR_LOG_DIR},
    "supervisor_socket": {"type": "path", "default": places.SUPERVISOR_SOCKET},
    "start_timeout": {"type": "float", "default": 30},
}


def invocation(params):
    """The parameters as the result may show them: of an environment only the names."""
    shown = dict(params)
    for kind in ("programs", "listeners"):
        shown[kind] = [
            {
                key: dict.fromkeys(value, "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") if key == "environment" else value
                for key, value in entry.items()
                if value is not None
            }
            for entry in params[kind]
        ]
    return {"module_args": shown}


def main(programs=Programs):
    """Run the module."""
    module = StackModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.no_log_values = {value for value in module.no_log_values if len(value) >= SHORTEST_SECRET}
    this = programs(Options(**module.params), module.warn)
    shown = invocation(module.params)
    try:
        result = this.predict() if module.check_mode else this.run()
    except ProgramsError as error:
        module.fail_json(msg=str(error), invocation=shown, **error.facts)
    module.exit_json(invocation=shown, **result)


if __name__ == "__main__":
    main()
