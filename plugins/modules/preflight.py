#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Find out whether a release could serve, without touching what runs
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Goes through what a worker does before it accepts (settings, worker class, import of the app, health check) in a process
    of its own, as the app's user, within limits of time and memory.
  - Finds settings that gunicorn rejects or would ignore in silence, a wrong module or attribute, an app that exits, crashes, hangs or parses the
    command line while it is imported, and a health check that fails.
  - M(pygun.stack.activate) does the same before it touches an instance; this module is for looking without deploying.
options:
  release:
    description: Directory of the release.
    type: path
    required: true
  user:
    description: The app's user.
    type: str
    required: true
  home:
    description: Home directory that the app sees. When empty, the user's own.
    type: str
    default: ""
  boot_timeout:
    description: Seconds that importing the app and its health check may take together.
    type: float
    default: 30
  memory_limit:
    description: Bytes of memory that it may take. V(0) is what the host has free.
    type: int
    default: 0
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
"""

EXAMPLES = r"""
- name: Find out whether the current release would start
  pygun.stack.preflight:
    release: /srv/scoring/current
    user: scoring
"""

RETURN = r"""
step:
  description: The last step that was begun, one of V(start), V(settings), V(worker class), V(import) and V(health).
  returned: always
  type: str
facts:
  description: Seconds for the import, answer of the health check, workers, resident memory (KiB), and what it warns of.
  returned: success
  type: dict
  sample: {import_s: 0.7, health: 200 OK, workers: 2, memory_kb: 40212, own_memory_kb: 26100, preload: false, warnings: []}
"""

import pwd

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.diagnosis.log_tail import plain_lines, shown
from ..module_utils.diagnosis.symptoms import advice, diagnose
from ..module_utils.release.trial import try_release, warnings_of


def main():
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "home": {"type": "str", "default": ""},
            "boot_timeout": {"type": "float", "default": 30},
            "memory_limit": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        home = params["home"] or pwd.getpwnam(params["user"]).pw_dir
        outcome = try_release(params["release"], params["user"], home, params["boot_timeout"], params["memory_limit"])
    except KeyError:
        module.fail_json(
            msg=f"The user {params['user']} does not exist on this host. Nothing was changed.", step="start"
        )
    except OSError as error:
        module.fail_json(msg=f"{params['release']} cannot be tried: {error}. Nothing was changed.", step="start")
    if not outcome.problem:
        for text in warnings_of(outcome.facts):
            module.warn(text)
        module.exit_json(changed=False, step=outcome.step, facts=outcome.facts)
    lines = plain_lines(outcome.output)
    known = diagnose("\n".join([*lines, outcome.problem]))
    lines = shown(lines)
    parts = [f"{params['release']} could not serve (step: {outcome.step}): {outcome.problem}."]
    if lines:
        parts.append("What it printed last:\n" + "\n".join(f"    {line}" for line in lines))
    if known:
        parts.append(advice(known))
    parts.append("Nothing was changed.")
    module.fail_json(msg="\n".join(parts), step=outcome.step)


if __name__ == "__main__":
    main()
