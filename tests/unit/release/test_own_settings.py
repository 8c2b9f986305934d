# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A user's own settings may come from a vault, and no diff of a release shows them.

Ansible renders the role's template here as the role's task says, and the result goes through the code of both sides.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.pygun.stack.plugins.action import release as action
from ansible_collections.pygun.stack.plugins.module_utils.release import build, differences
from ansible_collections.pygun.stack.plugins.plugin_utils import pack

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles" / "flask_app"
RELEASE = "0123456789abcdef"
#: A user's own settings, and which of their texts no diff may show. In "same" secrets are equal to public text.
CASES = {
    "none": ({}, []),
    "gunicorn": ({"flask_app_gunicorn": {"proc_name": "hush-one"}}, ["hush-one", "proc_name"]),
    "other": ({"flask_app_gunicorn": {"proc_name": "hush-two"}}, ["hush-two", "proc_name"]),
    "extra": ({"flask_app_pygun_extra": '_token = "hush"\n_other = """\n\nhush\n"""\n'}, ["hush", "_token"]),
    "comments": (
        {
            "flask_app_gunicorn": {"proc_name": "x\n\n# flask_app_pygun_extra\nhush\n"},
            "flask_app_pygun_extra": "# Files\n_a = 1\nruntime.attach(globals())\n\n# flask_app_gunicorn\n_b = 'hush'\n",
        },
        ["hush", "_a = ", "_b = "],
    ),
    "crlf": ({"flask_app_pygun_extra": "\r\n_a = 'hush'\r\n\r\n_b = 'hush'\r"}, ["hush", "_a = ", "_b = "]),
    "same": (
        {"flask_app_gunicorn": {"proc_name": "scoring"}, "flask_app_pygun_extra": "backlog = 2048"},
        ["proc_name"],
    ),
    "key": ({"flask_app_pygun_extra": "_k = '-----BEGIN PRIVATE KEY-----hush'"}, ["hush", "_k = "]),
    "vault": ({"flask_app_gunicorn": {"raw_env": ["A={{ secret }}"]}, "secret": "hush"}, ["hush", "raw_env"]),
}


@pytest.fixture(scope="module", name="rendered")
def rendered_fixture(tmp_path_factory):
    """What the role's task gives to the action plugin as pygun.py, and to be shown of it, in each of the cases."""
    place = tmp_path_factory.mktemp("play")
    task = yaml.safe_load((ROLE / "tasks" / "deploy.yml").read_text())[0]["pygun.stack.release"]
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = {name: option["default"] for name, option in options.items() if "default" in option}
    defaults |= {"flask_app_name": "scoring", "flask_app_log_dir": "/var/log/scoring"}
    hosts = {
        f"{name}-{timeout}": {**own, "flask_app_timeout": timeout, "dest": str(place / f"{name}-{timeout}")}
        for (name, (own, _hidden)), timeout in itertools.product(CASES.items(), (30, 60))
    }
    pygun_py, shown = (
        task[name].strip().removeprefix("{{").removesuffix("}}") for name in ("pygun_py", "pygun_py_shown")
    )
    content = f"{{{{ {{'pygun_py': {pygun_py}, 'pygun_py_shown': {shown}}} | to_json }}}}"
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "vars" / "main.yml")],
        "tasks": [{"ansible.builtin.copy": {"content": content, "dest": "{{ dest }}", "mode": "0600"}}],
    }
    inventory = {"all": {"hosts": hosts, "vars": {**defaults, "ansible_python_interpreter": sys.executable}}}
    (place / "hosts.yml").write_text(json.dumps(inventory))
    (place / "play.yml").write_text(json.dumps([play]))
    (place / "templates").symlink_to(ROLE / "templates")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-f", "9", "-i", place / "hosts.yml", place / "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((place / name).read_text()) for name in hosts}


def diffs(folder, before, after):
    """What the module reads in the current release, and the action plugin makes of it with the next one."""
    params = {name: [] for name in ("requirements", "packages", "server_packages", "overrides", "shared_paths")}
    params |= {
        "name": "scoring",
        "origin": {},
        "content": "",
        "service": {},
        "pygun_py_shown": before["pygun_py_shown"],
    }
    (folder / "pygun.py").write_text(before["pygun_py"])
    (folder / "release.json").write_bytes(build._metadata(params, RELEASE, "3.12"))
    texts = differences.texts_of(str(folder), ["pygun.py"], {"pygun.py": "a digest"})
    entries = [pack.entry_from_bytes("pygun.py", after["pygun_py"].encode())]
    return list(action._text_diffs(texts, entries, after["pygun_py_shown"]))


@pytest.mark.parametrize("case", CASES)
def test_pygun_py_has_what_the_user_wants(rendered, case):
    text = rendered[f"{case}-30"]["pygun_py"]
    assert all(hidden in text for hidden in CASES[case][1])


@pytest.mark.parametrize(("old", "new"), list(itertools.product(CASES, CASES)))
def test_a_diff_shows_what_is_public_and_nothing_else(rendered, tmp_path, old, new):
    [public] = diffs(tmp_path, rendered["none-30"], rendered["none-60"])
    assert "timeout = 30\n" in public["before"]
    assert "timeout = 60\n" in public["after"]
    found = diffs(tmp_path, rendered[f"{old}-30"], rendered[f"{new}-60"])
    assert not [hidden for hidden in CASES[old][1] + CASES[new][1] if hidden in str(found)]
    assert found == [public]


def test_a_change_of_own_settings_alone_shows_no_text(rendered, tmp_path):
    assert diffs(tmp_path, rendered["gunicorn-30"], rendered["other-30"]) == []
