"""What somebody meets who gives the commands of the README for the first time: the real playbooks, on hosts of nowhere."""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INVENTORY = """
[api]
a ansible_connection=local
b ansible_connection=local
[gone]
c ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
d ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
[all:vars]
flask_app_base_dir={folder}/srv
supervisor_conf_dir={folder}/etc
ansible_become=false
ansible_python_interpreter={python}
"""


def test_commands_and_messages_name_playbooks_as_the_collection_has_them():
    """After an installation from Galaxy there is no folder playbooks/ beside the reader."""
    names = "|".join(path.stem for path in ROOT.glob("playbooks/*.yml"))
    pages = [*ROOT.glob("README*.md"), *ROOT.glob("docs/docsite/rst/*.rst"), *ROOT.glob("roles/*/README.md")]
    for path in pages:
        if path.stem != "quick_start":  # begins with a clone
            assert re.findall(rf"playbooks/(?:{names})\.yml", path.read_text()) == [], path
    for path in [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("playbooks/*.yml")]:
        assert re.findall(rf"(?<![\w/])(?:{names})\.yml", path.read_text()) == [], path


@pytest.fixture
def play(tmp_path):
    """Run a playbook of the collection, or one of this folder; its exit status, and its output on one line."""
    (tmp_path / "hosts").write_text(INVENTORY.format(folder=tmp_path, python=sys.executable))
    for name in ("srv", "etc"):
        (tmp_path / name).mkdir()

    def run(playbook, *options, without=()):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"), ANSIBLE_SSH_RETRIES="0")
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts", playbook, *options],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
            env={key: value for key, value in environ.items() if key not in without},
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


@pytest.mark.parametrize(
    "playbook, options",
    [
        ("pygun.stack.status", ("-e", "flask_app_hosts=web")),
        ("pygun.stack.deploy", ("-e", "flask_app_hosts=web:&api")),
        ("pygun.stack.balancer", ()),
    ],
)
def test_a_pattern_that_means_no_host_is_an_error(play, playbook, options):
    code, text = play(playbook, *options)
    assert code != 0
    assert "No host of the inventory matches" in text
    assert "The inventory has api, gone" in text
    assert "Nothing was changed." in text


def test_a_syntax_check_needs_no_inventory_of_its_own(play):
    assert play("pygun.stack.balancer", "--syntax-check")[0] == 0


def test_a_limit_that_leaves_no_host_is_an_error(play):
    code, text = play("pygun.stack.logs", "--limit", "gone")
    assert code != 0
    assert "--limit gone leaves none of the hosts that match 'api': a, b. Nothing was changed." in text


def test_logs_without_a_hit_say_so_and_names_that_nobody_reads_are_told(play, tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "api.yml").write_text("flask_app_helth_path: /\n")
    code, text = play("pygun.stack.logs", "-e", "logs_text=nothing", "-e", "log_level=warning", "--limit", "!b")
    assert code == 0, text
    assert "No line in the logs of a with this logs_text." in text
    assert (
        "flask_app_helth_path is no variable of pygun.stack and has no effect; is flask_app_health_path meant?" in text
    )
    assert "log_level is no variable of pygun.stack and has no effect; is logs_level meant?" in text


def test_a_parameter_of_a_role_that_nobody_reads_is_told(play, tmp_path):
    (tmp_path / "play.yml").write_text(
        "- hosts: gone\n  gather_facts: false\n  roles:\n    - {role: pygun.stack.flask_app, flask_app_name: scoring,"
        f" flask_app_src: {ROOT}/app/, flask_app_wokers: 3, flask_app_env: {{KEY: '{{{{ vault.key }}}}'}}}}\n"
    )
    code, text = play(tmp_path / "play.yml")
    assert code != 0
    assert "flask_app_wokers is no variable of pygun.stack and has no effect; is flask_app_workers meant?" in text
    assert "flask_app_env cannot be worked out: correct its template. 'vault' is undefined." in text


@pytest.mark.parametrize("active", [True, False])
def test_a_restart_of_supervisord_is_said_before_it_happens(play, tmp_path, active):
    running = "supervisord.service" if active else ""
    (tmp_path / "play.yml").write_text(
        f"- hosts: a\n  gather_facts: false\n  vars_files: ['{ROOT}/roles/supervisor/defaults/main.yml',"
        f" '{ROOT}/roles/supervisor/vars/main.yml']\n  vars:\n    python_tools_dir: /opt/pygun\n"
        f"    __supervisor_installed: {{changed: false}}\n"
        f"    __supervisor_written: {{paths: [/etc/supervisor/supervisord.conf, /etc/systemd/system/supervisord.service], active: [{running}],"
        f" idle: [], programs: false}}\n  tasks:\n    - ansible.builtin.import_tasks: {ROOT}/roles/supervisor/tasks/run.yml\n"
    )
    _code, text = play(tmp_path / "play.yml", "--check")
    told = "supervisord would restart on a, because this changes: /etc/supervisor/supervisord.conf, /etc/systemd/system/supervisord.service."
    assert (told in text) == active, text
    assert not active or text.index(told) < text.index("Start supervisord and the rotation")


def test_who_deploys_is_known_where_the_environment_does_not_say_so(play, tmp_path):
    (tmp_path / "play.yml").write_text(
        "- hosts: a\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug:\n"
        "        msg: by={{ lookup('pygun.stack.operator') }};\n"
    )
    code, text = play(tmp_path / "play.yml", without=("USER", "LOGNAME"))
    assert code == 0
    assert f"by={pwd.getpwuid(os.getuid()).pw_name};" in text


TO_HOSTS_THAT_ARE_GONE = (
    f"flask_app_hosts=gone flask_app_name=scoring flask_app_src={ROOT}/app/"
    " flask_app_base_dir=/srv supervisor_conf_dir=/etc/supervisor"
)


def test_a_host_that_cannot_be_reached_ends_the_deploy_with_a_list_of_who_runs_what(play):
    code, text = play("pygun.stack.deploy", "-e", TO_HOSTS_THAT_ARE_GONE)
    assert code != 0
    assert "scoring was not deployed to c; it does not answer. - c, d: cannot be asked" in text
    assert "No host is known to run the new release. Correct the error, and deploy again." in text
    assert "roll back" not in text, "there is nothing to go back to"


def test_a_host_that_cannot_be_reached_ends_the_upgrade_with_a_list_of_who_runs_what(play):
    code, text = play("pygun.stack.upgrade", "-e", TO_HOSTS_THAT_ARE_GONE)
    assert code != 0
    assert "c was not changed to its end; it does not answer." in text
    assert "Not begun: d." in text
    assert "- c, d: cannot be asked" in text
    assert "TASK [Reboot the host]" not in text
    assert "TASK [Return the host on each balancer]" not in text
