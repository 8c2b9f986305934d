#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drain a server of HAProxy, or return it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backend_server
short_description: Drain a server behind HAProxy, or return it
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Takes a server out of every backend of a HAProxy without losing a request, and puts it back, over the admin socket.
  - Runs on the balancer, for example by delegation. Where the role C(load_balancer) has set HAProxy up, a drained server stays drained over a
    reload and a restart.
options:
  server:
    description: The server, by its name in HAProxy. The role C(load_balancer) gives it the name of the host in the inventory.
    type: str
    required: true
  state:
    description:
      - V(drained) sends it no new requests, and waits until those on their way have been answered.
      - V(ready) sends it requests again, and waits until its health checks pass. This ends a maintenance, too.
    type: str
    required: true
    choices:
      - drained
      - ready
  backends:
    description: The backends that are meant. When empty, all that have a server of that name.
    type: list
    elements: str
    default: []
  ports:
    description: The server's port in a backend, by the backend's name, if it has changed. Set when the server is returned.
    type: dict
    default: {}
  required:
    description: Whether a HAProxy without such a server is an error.
    type: bool
    default: true
  leave:
    description: How many other servers of each backend must get requests for this one to be drained.
    type: int
    default: 1
  timeout:
    description: Seconds to wait.
    type: float
    default: 60
  socket:
    description: The admin socket of HAProxy (C(load_balancer_socket)).
    type: path
    default: /run/haproxy/admin.sock
attributes:
  check_mode:
    support: full
    description: Predicts what would be drained or returned; refuses what would be refused.
  diff_mode:
    support: full
    description: Shows the state of the server in each backend.
"""

EXAMPLES = r"""
- name: Drain the host on all balancers
  pygun.stack.backend_server:
    server: "{{ inventory_hostname }}"
    state: drained
  loop: "{{ groups['balancers'] }}"
  delegate_to: "{{ item }}"

- name: Return it
  pygun.stack.backend_server:
    server: "{{ inventory_hostname }}"
    state: ready
  loop: "{{ groups['balancers'] }}"
  delegate_to: "{{ item }}"
"""

RETURN = r"""
servers:
  description: The server in each backend.
  returned: success
  type: list
  elements: dict
  contains:
    backend:
      description: The backend.
      type: str
    server:
      description: The server.
      type: str
    address:
      description: Where it gets its requests.
      type: str
    before:
      description: What it was, such as V(up), V(down), V(drained) or V(maintenance).
      type: str
    after:
      description: What it is.
      type: str
    sessions_before:
      description: How many requests were on their way, or waiting.
      type: int
seconds:
  description: How long it took.
  returned: success
  type: float
"""

import os
import sys

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.haproxy import BalancerError, Options, run
from ..module_utils.host import places

#: What the role `load_balancer` has put there; HAProxy does it itself before a reload and a stop, but not before a crash.
KEEPER = ("/usr/local/lib/pygun/keep_server_state.py", "/var/lib/haproxy/server-state")


def remember(module):
    """Have the next start of HAProxy know what was ordered, whatever ends this one."""
    program, state = KEEPER
    if os.path.exists(program):
        code, _out, error = module.run_command([sys.executable, "-I", program, module.params["socket"], state])
        if code:
            module.warn(f"If HAProxy crashed now, it would forget this: {program} failed: {error.strip()}")


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["drained", "ready"]},
            "backends": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "dict", "default": {}},
            "required": {"type": "bool", "default": True},
            "leave": {"type": "int", "default": 1},
            "timeout": {"type": "float", "default": 60},
            "socket": {"type": "path", "default": places.HAPROXY_SOCKET},
        },
        supports_check_mode=True,
    )
    try:
        result = run(Options(**module.params), module.check_mode)
    except BalancerError as error:
        if error.ordered:
            remember(module)
        module.fail_json(msg=str(error))
    if result["changed"] and not module.check_mode:
        remember(module)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
