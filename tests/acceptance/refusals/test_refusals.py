# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of bad inputs, in a real play against a host that serves and one on which nothing was ever done.

Of the rows of a role that set variables of the same types to values of the same types the first is tried, and all with
PYGUN_FULL=1: the unit tests ask the same code about every row (`tests/unit/validation/test_validate.py`), and to a play all
variables of a type are alike. What only a play can show is always tried.

Run by the Molecule scenario `refusals`. By hand, once `./dev molecule refusals converge` has been run:

    ./dev run pytest tests/acceptance/refusals
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools import containers

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FULL = bool(os.environ.get("PYGUN_FULL"))
EVERY_ROW = yaml.safe_load((ROOT / "tests" / "unit" / "validation" / "bad_inputs.yml").read_text())


def role_of(row: dict) -> str:
    first = next(iter(row["vars"]))
    return next(role for role in ("flask_app", "load_balancer", "supervisor", "python") if first.startswith(f"{role}_"))


def types_of_variables() -> dict[str, str]:
    """As the argument specs have them."""
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    options = [spec["argument_specs"]["main"].get("options", {}) for spec in specs]
    return {name: option["type"] for of_a_role in options for name, option in of_a_role.items()}


def few(rows: list[dict]) -> list[dict]:
    """What only a play can show, and one row for each way of values into a play."""
    types = types_of_variables()

    def way(row: dict) -> str:
        given = sorted((types.get(name, ""), type(value).__name__) for name, value in row["vars"].items())
        return f"{role_of(row)} {given}"

    of_a_kind = {way(row): row for row in rows[::-1]}
    return [row for row in rows if row.get("playbook") or any(row is one for one in of_a_kind.values())]


ROWS = EVERY_ROW if FULL else few(EVERY_ROW)
#: What only a host can know: "scoring" is deployed on it, with this interval.
AS_DEPLOYED = {"supervisor_logrotate_interval": 86400}
ROWS_OF_A_DEPLOYED_APP = [
    {
        "vars": {"flask_app_user": "model", **AS_DEPLOYED},
        "says": ["/srv/scoring/shared", "to model:model", "to scoring:scoring", "pygun.stack.uninstall"],
        "ends": "install it under another name next to it. Nothing was changed.",
    },
    {
        "vars": {"flask_app_group": "www-data", **AS_DEPLOYED},
        "says": ["/srv/scoring/shared", "to scoring:www-data", "to scoring:scoring", "pygun.stack.uninstall"],
        "ends": "install it under another name next to it. Nothing was changed.",
    },
]
ROWS_OF_ANY_HOST = len(ROWS)
ROWS += ROWS_OF_A_DEPLOYED_APP
INVENTORY = ROOT / "molecule" / "inventories" / "refusals.yml"
HOSTS = ("serving", "untouched")
#: Enough for the host on which nothing was ever done: what refuses is the same.
FEW = 10


def play(host: str, numbers: range, result: Path) -> list[dict]:
    """One play: each row is a block that applies its role, and notes how that failed."""
    tasks = [
        {
            "name": f"Row {number}",
            "block": [
                {
                    "name": "Apply the role",
                    "ansible.builtin.include_role": {"name": f"pygun.stack.{role_of(ROWS[number])}"},
                },
                {"name": "Go on", "ansible.builtin.set_fact": {"refusals": "{{ refusals + ['not refused'] }}"}},
            ],
            "rescue": [
                {
                    "name": "Note the refusal",
                    "ansible.builtin.set_fact": {"refusals": "{{ refusals + [ansible_failed_result.msg] }}"},
                }
            ],
            "vars": ROWS[number]["vars"],
        }
        for number in numbers
    ]
    write = {
        "name": "Write down how each was refused",
        "ansible.builtin.copy": {"content": "{{ refusals | to_json }}", "dest": str(result), "mode": "0600"},
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local", "ansible_host": "localhost"},
    }
    variables = {
        "flask_app_name": "scoring",
        "flask_app_src": f"{ROOT}/app/",
        "flask_app_health_path": "/healthz",
        "load_balancer_services": [{"name": "scoring", "bind": "0.0.0.0:443", "group": "containers", "port": 5000}],
        "refusals": [],
    }
    return [
        {"name": "Try bad inputs", "hosts": host, "gather_facts": False, "vars": variables, "tasks": [*tasks, write]}
    ]


def listing(host: str) -> list[str]:
    name = f"{containers.prefix()}-refusals-{host}"
    done = subprocess.run(
        [containers.remember_engine(), "exec", "-i", name, "python3", "-"],
        stdin=(HERE / "on_host.py").open(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\nRun `./dev molecule refusals converge` first."
    return done.stdout.splitlines()


class Tried:
    """What came of all rows. Ansible's time goes into reading the roles anew for each: two processes halve it."""

    def __init__(self, folder: Path) -> None:
        shares = {
            "odd": ("serving", range(1, len(ROWS), 2)),
            "even": ("serving", range(0, len(ROWS), 2)),
            "few": ("untouched", range(0, ROWS_OF_ANY_HOST, ROWS_OF_ANY_HOST // FEW)),
        }
        self.before = {host: listing(host) for host in HOSTS}
        running = [self._start(folder / share, *shares[share]) for share in shares]
        for process in running:
            process.wait()
        self.output = "".join((folder / f"{share}.log").read_text() for share in shares)
        self.after = {host: listing(host) for host in HOSTS}
        self.said: dict[int, list[str]] = {number: [] for number in range(len(ROWS))}
        for share, (_host, numbers) in shares.items():
            result = folder / f"{share}.json"
            assert result.exists(), (folder / f"{share}.log").read_text()[-3000:]
            for number, said in zip(numbers, json.loads(result.read_text()), strict=True):
                self.said[number].append(said)

    def _start(self, base: Path, host: str, numbers: range) -> subprocess.Popen:
        playbook = base.with_suffix(".yml")
        playbook.write_text(yaml.safe_dump(play(host, numbers, base.with_suffix(".json")), sort_keys=False, width=1000))
        return subprocess.Popen(
            ["ansible-playbook", "-i", INVENTORY, playbook],
            stdout=base.with_suffix(".log").open("w"), stderr=subprocess.STDOUT,
            env={**os.environ, "MOLECULE_SCENARIO_NAME": "refusals", "ANSIBLE_FORCE_COLOR": "false"},
        )  # fmt: skip


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return Tried(tmp_path_factory.mktemp("refusals"))


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: str(ROWS[number]["vars"])[:80])
def test_a_bad_input_ends_the_play_with_a_text_that_says_which_why_and_what_to_do(tried, number):
    assert tried.said[number]
    for said in tried.said[number]:
        for phrase in ROWS[number]["says"]:
            assert phrase.lower() in said.lower(), f"{phrase!r} is not in:\n{said}"
        assert said.endswith(ROWS[number].get("ends", "\nNothing was changed."))


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_on_the_host_was_changed(tried, host):
    """Not a byte, not a time of change, not a process: so no row can have changed anything, nor put it back."""
    lost = set(tried.before[host]) - set(tried.after[host])
    new = set(tried.after[host]) - set(tried.before[host])
    assert (sorted(lost), sorted(new)) == ([], [])


def test_there_was_something_to_disturb(tried):
    text = "\n".join(tried.before["serving"])
    assert re.search(r"^/srv/scoring/current \S", text, re.MULTILINE)
    assert len(re.findall(r"^process .*/srv/scoring/releases/\w+/.*gunicorn", text, re.MULTILINE)) >= 2
    assert "/etc/supervisor" not in "\n".join(tried.before["untouched"])


def test_no_task_changed_a_host_and_no_secret_was_shown(tried):
    recap = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", tried.output, re.MULTILINE)
    assert sorted(recap) == [("serving", "1"), ("serving", "1"), ("untouched", "1")], recap  # notes on the control node
    assert "s3cret-value" not in tried.output
