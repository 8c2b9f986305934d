#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Configure the jobs of an app: timers and services of systemd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: jobs
short_description: Configure the jobs of an app
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Writes, starts and removes the timers and services C(pygun-APP.job-NAME) of systemd, by which commands in the current release of an app
    run by the clock. The role P(pygun.stack.flask_app#role) does this after a release has passed, with RV(pygun.stack.host#module:jobs)
    as its condition.
  - A job that runs while it is changed or removed goes on to its end.
options:
  app:
    description: The app.
    type: str
    required: true
  user:
    description: User that the jobs run as.
    type: str
    required: true
  group:
    description: Its group.
    type: str
    required: true
  root:
    description: Directory of the app.
    type: path
    required: true
  log_dir:
    description: Directory of the logs, one for each job.
    type: path
    required: true
  sandbox:
    description: Directives of systemd for the services, such as C(ProtectHome), in addition to the usual ones or instead of them.
    type: dict
    default: {}
  is_first:
    description: Whether this is the first of the hosts. If that is not known, jobs of the first host stay where they are.
    type: str
    choices: ["yes", "no", unknown]
    default: "yes"
  jobs:
    description: The jobs. Others of the app are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the job.
        type: str
        required: true
      schedule:
        description: When it runs, as in C(OnCalendar) of systemd.
        type: str
        required: true
      command:
        description: The command and its arguments, as a list or as a text that is taken apart as a shell does.
        type: raw
        required: true
      timeout:
        description: Seconds that a run may take (C(TimeoutStartSec)).
        type: int
        default: 3600
      persistent:
        description: Whether a run that was missed while the host was down is made up for after its start (C(Persistent)).
        type: bool
        default: false
      host:
        description: Whether it runs on all hosts, or on the first one only.
        type: str
        choices: [all, first]
        default: all
attributes:
  check_mode:
    description: Predicts what would be written and removed.
    support: full
  diff_mode:
    description: Shows the units.
    support: full
seealso:
  - module: pygun.stack.host
"""

EXAMPLES = r"""
- name: Configure the jobs of scoring
  pygun.stack.jobs:
    app: scoring
    user: scoring
    group: scoring
    root: /srv/scoring
    log_dir: /var/log/scoring
    jobs:
      - name: nightly
        schedule: "*-*-* 03:00:00"
        command: flask clean-up --older-than 30d
"""

RETURN = r"""
jobs:
  description: The jobs that this host has now.
  returned: success
  type: list
  elements: str
"""

from ..module_utils.instance.jobs import ARGUMENT_SPEC, JobError, Jobs
from ..module_utils.stack_module import StackModule


def main():
    module = StackModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    jobs = Jobs(module.params)
    for name in jobs.undecided:
        module.warn(
            f"The job {name} of {module.params['app']} is for the first host, and with --limit it is not known which that is: it was left out"
            " here. Run this without --limit once."
        )
    diff, changed = jobs.differences(), not jobs.is_settled()
    try:
        jobs.refuse_unusable()
        if changed and not module.check_mode:
            jobs.apply()
    except JobError as error:
        module.fail_json(
            msg=f"The jobs of {module.params['app']} were not configured: {error} The app itself is as deployed."
        )
    module.exit_json(changed=changed, diff=diff, jobs=[job["name"] for job in jobs.jobs])


if __name__ == "__main__":
    main()
