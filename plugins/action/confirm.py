# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lets a play that interrupts or removes something go on only if that was named on the command line."""

from __future__ import annotations

import shlex

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

#: Hosts that a message names.
SHOWN_HOSTS = 10


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("does", "names", "switches"))

    def run(self, tmp=None, task_vars=None):
        result = {**super().run(tmp, task_vars), "changed": False}
        arguments = self._task.args
        does, names, switches = arguments.get("does"), arguments.get("names", []), arguments.get("switches", [])
        if not isinstance(does, str) or not all(isinstance(one, list) for one in (names, switches)):
            raise AnsibleError("confirm: does is a text; names and switches are lists of names of variables.")
        given = load_extra_vars(self._loader)
        wanted = {name: self._wanted(name, name in switches, task_vars) for name in [*names, *switches]}
        if not any(wanted.values()):
            return result  # the module refuses that, and says what there is
        unasked = [name for name, values in wanted.items() if not _asked(name, values, given, name in switches)]
        hosts = task_vars["ansible_play_hosts_all"]
        if unasked:
            return {**result, "failed": True, "msg": _refusal(does, hosts, {name: wanted[name] for name in unasked})}
        Display().display(
            f"{does} on {_listed(hosts)}.{' (Check mode: nothing is changed.)' if self._task.check_mode else ''}"
        )
        return result

    def _wanted(self, name, is_switch, task_vars):
        """The values of a variable that are neither empty nor off, as texts, each with the hosts that have it."""
        hostvars, found = task_vars["hostvars"], {}
        value = self._templar.template(task_vars.get(name))
        # A variable of a play is that of all its hosts, and hostvars do not know it.
        of_play = value != hostvars[task_vars["inventory_hostname"]].get(name)
        for host in task_vars["ansible_play_hosts_all"]:
            text = _text(value if of_play else hostvars[host].get(name), is_switch)
            if text:
                found.setdefault(text, []).append(host)
        return found


def _text(value, is_switch):
    if is_switch:
        return "true" if boolean(value, strict=False) else ""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "" if value is None else str(value).strip()


def _asked(name, values, given, is_switch):
    """Whether the command line says the same as the variable, for every host."""
    said = {
        _text(given[one], is_switch) for one in (name, "confirm") if one in given and (one == name or not is_switch)
    }
    return not values or (len(said) == 1 and said == set(values))


def _refusal(does, hosts, unasked):
    """The error text: the action, the reason of the refusal, and the command that does it."""
    where = [
        f"{name} is {value} for {_listed(those)}" for name, values in unasked.items() for value, those in values.items()
    ]
    playbook = " ".join(map(shlex.quote, context.CLIARGS.get("args") or ("PLAYBOOK",)))
    several = max(len(values) for values in unasked.values()) > 1
    commands = []
    for value, those in next(iter(unasked.values())).items():
        options = [
            f"-e {name}={shlex.quote(value if value in values else next(iter(values)))}"
            for name, values in unasked.items()
        ]
        limit = f" --limit {shlex.quote(','.join(those))}" if several else ""
        commands.append(f"ansible-playbook {playbook} {' '.join(options)}{limit}")
    return (
        f"{does} on {_listed(hosts)}: the command line does not confirm that, only the variables do ("
        f"{'; '.join(where)}). Nothing was changed. If it is what you mean, say so, with your other options (-i and so on):\n"
        + "\n".join(f"    {command}" for command in commands)
    )


def _listed(hosts):
    more = f" and {len(hosts) - SHOWN_HOSTS} more" if len(hosts) > SHOWN_HOSTS else ""
    return f"{', '.join(hosts[:SHOWN_HOSTS])}{more}"
