#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a release of an app into service, as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: activate
short_description: Put a release of an app into service without losing a request
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Restarts the instances of an app one after the other on another release, and waits after each until it serves.
  - A release that does not pass leaves the old one in service, and the host as it was.
  - A run that was killed, or cut off by a reboot, is finished or undone by the next one.
  - Health path and boot timeout are those of the release, as M(pygun.stack.release) has kept them in it. The user, the public address, the
    number of instances and the time to stop are those of the program's configuration.
  - Needs an app that runs under supervisord with the runtime of this collection, as an C(fcgi-program), or as a C(program) whose socket systemd holds.
options:
  name:
    description: The app. Also the name of its program in supervisord.
    type: str
    required: true
  release:
    description:
      - The id of a release on the host.
      - V(previous) is the release that served before the current one, never one that failed.
      - V(current) is the one that serves; together with O(restart) this restarts the app without a gap.
    type: str
    required: true
  root:
    description: The directory of the app. The default is C(/srv/NAME).
    type: path
  run_dir:
    description: The directory where the instances write that they are ready. The default is C(/run/NAME).
    type: path
  log_dir:
    description: The directory of the instances' logs. The default is C(/var/log/NAME).
    type: path
  supervisor_socket:
    description: The unix socket of supervisord.
    type: path
    default: /run/supervisor/supervisor.sock
  restart:
    description: Restart instances that run the release already, too.
    type: bool
    default: false
  retry_failed:
    description: Accept a release that failed before. A deploy sets this, a rollback does not.
    type: bool
    default: false
  program_conf:
    description: The program's configuration, read by supervisord. The default is C(/etc/supervisor/conf.d/NAME.conf), left as it is.
    type: dict
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description:
          - What it shall contain. A change restarts the whole app at once, so keep it the same between releases.
          - If not given, the file stays unchanged.
        type: str
  env_file:
    description:
      - The app's environment file. A change restarts the instances one after the other. The default is C(/etc/pygun/NAME.env), left as it is.
    type: dict
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: Content of the file. If not given, the file stays unchanged.
        type: str
      group:
        description: The group that may read it. All other users except root may not.
        type: str
  socket_units:
    description:
      - Unit files by which systemd holds the public socket in supervisord's place. A change restarts the whole app at once, while callers wait
        in the socket's backlog.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: Content of the file. If not given, the file is removed.
        type: str
  programs:
    description:
      - The files of the programs of the app's release, each C(APP.NAME.conf) in supervisor's C(conf.d).
      - A file of such a program that is not named is removed, with the program. If not given, all stay unchanged.
    type: list
    elements: dict
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: What it shall contain. A change restarts that program only.
        type: str
        required: true
  preflight:
    description:
      - Whether a release that does not serve yet is tried first. A process of its own, as the app's user, within limits of time and memory, goes
        through what a worker does before it accepts, namely settings, worker class, import of the app and health check.
      - An app that does not fit into the host's memory twice cannot be.
    type: bool
    default: true
  keep:
    description: How many good releases stay on the host. The current and the previous one count, and always stay.
    type: int
    default: 5
  by:
    description: Name of the operator. The app's history keeps it, and a second run at the same time shows it.
    type: str
    default: ""
  rollout:
    description: Names the run that does this on several hosts; kept in the app's history, so that they can be rolled back together.
    type: str
    default: ""
  release_command:
    description:
      - What has to happen once before the release serves, such as the migration of a database. A text is split into words, as a shell
        does it, but no shell runs it. A list of words is one command; a list of texts with spaces, or of lists, is several.
      - The commands run in the release, as the app's user and with its environment, after the trial and before an instance is touched. A
        release whose command fails is marked as failed.
      - They run whenever a release comes into service, and for a release that serves without them. A second run of the same does nothing.
      - Of the hosts of a rollout, one runs them. The others wait until it serves, and are not touched if it fails.
    type: raw
    default: ""
  release_command_state:
    description:
      - Command that prints the state of what O(release_command) changes, such as C(flask db current). It runs before and after it, in the same way.
        If its standard output is the same, and not empty, a rollback may go back across that run.
    type: raw
    default: ""
  release_command_timeout:
    description: Seconds that the commands may take together.
    type: float
    default: 600
  release_command_host:
    description: Name of the host that has run the commands for this one too. Set by the action plugin.
    type: str
    default: ""
  release_command_changed:
    description: Whether they have changed the state there. Set by the action plugin.
    type: bool
    default: true
  across_release_command:
    description:
      - Whether a rollback may go to a release that is older than a release command that has run.
      - With O(retry_failed), as in a deploy, it may.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Predicts what would change, on a host of any state.
  diff_mode:
    support: full
    description: Shows the release and the program's configuration; of the environment file only that it changes.
seealso:
  - module: pygun.stack.release
"""

EXAMPLES = r"""
- name: Activate a release
  pygun.stack.activate:
    name: scoring
    release: 0a1b2c3d4e5f6071

- name: Go back to the release before
  pygun.stack.activate:
    name: scoring
    release: previous

- name: Restart the app without losing a request
  pygun.stack.activate:
    name: scoring
    release: current
    restart: true
"""

RETURN = r"""
release:
  description: The release that is in service now.
  returned: always
  type: str
  sample: 0a1b2c3d4e5f6071
previous:
  description: The release that a rollback would go to, or null.
  returned: success
  type: str
bind:
  description: The public address, as C(address:port) or C(unix:path); empty if the app has none yet.
  returned: success
  type: str
  sample: 127.0.0.1:5000
instances:
  description: What was done with each instance.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The instance.
      type: str
    pid:
      description: The pid of its master.
      type: int
    release:
      description: The release that it runs.
      type: str
    action:
      description: V(kept), V(started) or V(restarted).
      type: str
    stop_s:
      description: Seconds until it had finished its requests and stopped.
      type: float
    ready_s:
      description: Seconds from its start until it served.
      type: float
programs:
  description: What was done with each process of the programs of the app's release.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The process.
      type: str
    pid:
      description: Its pid; 0 if it is stopped.
      type: int
    release:
      description: The release that it runs.
      type: str
    action:
      description: V(kept), V(started), V(restarted) or V(stopped).
      type: str
    seconds:
      description: Seconds until it was up, the stop included.
      type: float
seconds:
  description: How long the activation took.
  returned: success
  type: float
misfits:
  description: What of the app fits badly to its workers, as the trial of a new release has found. Each is a warning as well.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: >-
        V(blocking_driver), V(async_view), V(event_loop), V(eventlet), V(process_pool), V(scheduler_at_import), V(thread_at_import),
        V(session_in_memory), V(data_in_memory), V(random_key), V(no_key), V(rotating_log), V(variable_missing),
        V(asset_missing), V(port_at_import) or V(thread_oversubscription).
      type: str
    subject:
      description: The package, class or place in the source.
      type: str
    text:
      description: What happens, and what to do.
      type: str
release_command:
  description: The release command that has run on this host, or in check mode would; null if none did.
  returned: success
  type: dict
  contains:
    command:
      description: The commands.
      type: str
    seconds:
      description: How long they took.
      type: float
    changed:
      description: Whether the state of O(release_command_state) was another one afterwards, or is not known.
      type: bool
    lines:
      description: The last lines that each printed, without secrets.
      type: list
      elements: str
crossed:
  description: The releases whose command a refused rollback would go back across.
  returned: when that is refused
  type: list
  elements: str
step:
  description: >-
    The step that failed, one of V(lock), V(recover), V(prepare), V(files), V(preflight), V(release command), V(roll), V(reconfigure),
    V(programs), V(verify) or V(commit).
  returned: failure
  type: str
instance:
  description: The instance that failed, or null.
  returned: failure
  type: str
code:
  description: The entry of the page Troubleshooting, if the cause is a known one, or null. The message has its text.
  returned: failure
  type: str
serving:
  description: The instances that serve now, each with name, pid and release.
  returned: failure
  type: list
  elements: dict
rolled_back:
  description: Whether the host is as it was before.
  returned: failure
  type: bool
"""

from ..module_utils.activation.errors import ActivationError
from ..module_utils.activation.options import ARGUMENT_SPEC, options_from
from ..module_utils.activation.transaction import Activation
from ..module_utils.stack_module import StackModule


def main(activation=Activation):
    """Run the module."""
    module = StackModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        this = activation(options_from(module.params), module.warn)
        result = this.predict() if module.check_mode else this.run()
    except ActivationError as error:
        module.fail_json(msg=str(error), **error.facts)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
