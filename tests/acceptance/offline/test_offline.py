# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that never had a network: installed from the wheelhouse, changed, and left as it was before.

Every real run follows a check of the same, which must have named exactly the tasks that then changed something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

FULL = bool(os.environ.get("PYGUN_FULL"))
WHEELHOUSE = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "")) / "wheelhouse"
SAMPLE = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5000/').read().decode())"


def test_the_host_cannot_reach_anything(site, bare):
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    assert "Network is unreachable" in site.run("sh", "-c", f'python3 -c "{code}" 2>&1 || true')
    assert not [line for line in bare if line.startswith(("/opt/pygun", "/srv/"))]


def test_missing_packages_of_the_distribution_are_named(site):
    packages = json.dumps({"__python_packages": ["logrotate", "not-in-the-image"]})
    lacks = site.playbook("deploy.yml", "-e", packages, app="sample")
    assert not lacks.ok
    assert "apt-get install python3-apt not-in-the-image" in lacks.message, lacks.text


def test_a_missing_wheel_is_named_with_the_command_that_adds_it(site, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for wheel in WHEELHOUSE.glob("*.whl"):
        if not wheel.name.startswith("supervisor"):
            shutil.copy(wheel, few)
    done = site.playbook("deploy.yml", app="sample", python_wheelhouse=str(few))
    assert not done.ok
    assert "no supervisor==4.3.0 for Python 3." in done.message, done.text
    assert "ansible-playbook pygun.stack.wheelhouse" in done.message


def test_the_first_install_needs_no_network(site, bare):
    site.playbook("uninstall.yml", uninstall_everything=True, uninstall_data=True)  # what the test before left
    assert site.listing() == bare
    site.predicted("deploy.yml", app="sample")
    assert json.loads(site.run("python3", "-c", SAMPLE))["service"] == "scoring"


#: A wheel whose code runs whenever the Python of its environment starts, and leaves word of who that was.
TELLTALE = {"flask_app_packages": ["telltale==1.0"]}


def have_telltale():
    with zipfile.ZipFile(WHEELHOUSE / "telltale-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("telltale.pth", "import os; open('/tmp/telltale-%d' % os.getuid(), 'w').close()\n")
        wheel.writestr("telltale-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: telltale\nVersion: 1.0\n")
        wheel.writestr("telltale-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("telltale-1.0.dist-info/RECORD", "")


def test_pip_and_a_socket_of_systemd_need_none_either(site):
    have_telltale()
    site.predicted("deploy.yml", app="greeter", **TELLTALE)
    assert "greeter" in site.run("python3", "-c", _GREETER)


def test_no_code_of_a_package_ran_as_root_and_all_that_it_left_is_roots(site):
    ran = {name.rpartition("-")[2] for name in site.run("sh", "-c", "ls /tmp/telltale-*").split()}
    accounts = {site.run("id", "-u", name).strip() for name in ("pygun-build-greeter", "greeting")}
    assert ran and ran <= accounts
    assert site.run("find", "/opt/pygun", "/srv/sample/releases", "/srv/greeter/releases", "!", "-user", "root") == ""
    assert site.run("find", "/var/cache/pygun", "-mindepth", "1", "-maxdepth", "1", "-user", "root") == ""
    assert not site.run("sh", "-c", "ps -eo user:32 | grep pygun-build || true")


_GREETER = """
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/greeter/greeter.sock")
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(s.makefile().read())
"""


def test_the_second_run_changes_nothing(site):
    assert site.playbook("deploy.yml", "--check", app="sample").changed == []
    assert site.playbook("deploy.yml", app="greeter", **TELLTALE).changed == []


def test_a_change_of_the_code_is_predicted(site):
    (site.source / "wsgi.py").open("a").write("# one line more\n")
    done = site.predicted("deploy.yml", app="sample")
    assert [task.rpartition(" : ")[2] for task, _item in done.changed] == [
        "Build the release of sample",
        "Activate the release of sample",
    ]
    assert "+# one line more" in done.text.splitlines(), done.text


def test_a_missing_wheel_of_a_release_leaves_the_old_one_serving(site):
    before = site.masters("sample")
    lacks = site.playbook("deploy.yml", app="sample", flask_app_packages=["no-such-package==1.0"])
    assert not lacks.ok
    assert "no no-such-package" in lacks.message, lacks.text
    assert "ansible-playbook pygun.stack.wheelhouse" in lacks.message
    assert site.masters("sample") == before


RESTART = "pygun.stack.supervisor : Start supervisord and the rotation of logs, now and at boot"
WRITE = "pygun.stack.supervisor : Write the files of supervisord and of logrotate"


def other(site):
    """Variables that change each tool and server, and files of supervisor, of the app, its environment and its release."""
    return {
        "python_uv_version": "0.13.8",
        "supervisor_version": "4.2.5",
        "flask_app_server_packages": ["gunicorn[gevent]==27.0.0", "gevent==26.8.0"],
        "supervisor_log_level": "debug",
        "supervisor_logrotate_interval": 90,
        "flask_app_log_backups": 3,
        "flask_app_env": {"SAMPLE_SECRET": site.secrets[1], "SAMPLE_TOKEN": "{{ vault_token }}"},
        "flask_app_gunicorn": {"proc_name": site.secrets[1], "limit_request_line": 4000},
    }


def versions(site):
    """What is installed: of the tools, and of the server in the release that serves."""
    code = (
        "import glob; print(*[path.split('/')[-1] for path in glob.glob('/opt/pygun/*/lib/*/site-packages/*.dist-info')"
    )
    code += " + glob.glob('/srv/sample/current/venv/lib/*/site-packages/*.dist-info')])"
    names = [name.removesuffix(".dist-info") for name in site.run("python3", "-c", code).split()]
    return dict(
        sorted(name.rsplit("-", 1) for name in names if name.startswith(("uv-", "supervisor-", "gunicorn-", "gevent-")))
    )


def test_other_versions_of_the_tools_and_servers_and_another_configuration_and_back(site):
    before = versions(site)
    collected = site.playbook("wheelhouse.yml", app="sample", **other(site))
    assert collected.ok, collected.text
    changed = {task for task, _item in site.predicted("deploy.yml", app="sample", **other(site)).changed}
    assert {WRITE, RESTART} <= changed
    assert versions(site) == {"gevent": "26.8.0", "gunicorn": "27.0.0", "supervisor": "4.2.5", "uv": "0.13.8"}
    assert json.loads(site.run("python3", "-c", SAMPLE))["service"] == "scoring"
    if FULL:
        assert RESTART in {task for task, _item in site.predicted("deploy.yml", app="sample").changed}
        assert versions(site) == before
        assert json.loads(site.run("python3", "-c", SAMPLE))["service"] == "scoring"


HOLD = """
import fcntl, json, os, sys
with open("/srv/sample/activation.lock", "r+") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate()
    json.dump({"pid": os.getpid(), "by": "somebody"}, lock)
    lock.flush()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_app_is_not_removed_while_somebody_changes_it(site):
    before = site.masters("sample")
    holder = site.spawn("python3", "-c", HOLD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == "held\n"
        refused = site.playbook("uninstall.yml", flask_app_name="sample")
    finally:
        holder.communicate(timeout=60)  # ends what it reads, and so the program
    assert not refused.ok
    assert "somebody" in refused.message and "Nothing was changed" in refused.message, refused.text
    assert site.masters("sample") == before


def test_one_app_goes_and_the_other_is_left_alone(site):
    before = site.masters("sample")
    site.run("touch", "/srv/greeter/shared/data", "/var/log/services/greeter/not-ours.txt")
    site.run("install", "--owner=greeting", "/dev/null", "/var/tmp/draft")
    site.spawn("setpriv", "--reuid=greeting", "--regid=greeting", "--clear-groups", "setsid", "sleep", "1000")
    site.run("sh", "-c", "until pgrep -u greeting sleep; do sleep 0.1; done", timeout=30)
    gone = site.predicted("uninstall.yml", flask_app_name="greeter")
    assert gone.changed
    assert site.masters("sample") == before
    assert site.masters("greeter") == {}
    left = {line.split()[0] for line in site.listing() if "greet" in line.split()[0]}
    assert left == {
        "/srv/greeter",
        "/srv/greeter/shared",
        "/srv/greeter/shared/data",
        "/var/log/services/greeter",
        "/var/log/services/greeter/not-ours.txt",
    }
    assert "/srv/greeter/shared" in gone.text
    assert site.run("id", "-u", "greeting")
    assert not site.run("sh", "-c", "pgrep -u greeting || true")
    if FULL:  # below, everything goes a second time
        assert site.playbook("uninstall.yml", flask_app_name="greeter").changed == []
    site.run("rm", "-r", "/var/log/services")  # with what is not ours, and the folder that was made on the way to ours
    gone = site.playbook("uninstall.yml", flask_app_name="greeter", uninstall_data=True)
    assert gone.changed
    assert "user greeting (" in gone.text and "/var/tmp/draft" in gone.text  # its number may not be another app's yet
    assert site.run("id", "-u", "greeting")
    site.run("find", "/tmp", "/var/tmp", "-user", "greeting", "-delete")  # the draft, and what the wheel has left
    assert site.predicted("uninstall.yml", flask_app_name="greeter", uninstall_data=True).changed
    assert not site.run("sh", "-c", "getent passwd greeting; getent group greeting; ls -d /srv/greeter || true")


def test_everything_goes_only_when_every_app_is_named(site):
    before = site.masters("sample")
    refused = site.playbook("uninstall.yml", uninstall_everything=True, uninstall_apps="another")
    assert not refused.ok
    assert "uninstall_apps=sample" in refused.message, refused.text
    assert site.masters("sample") == before


def test_everything_goes_and_the_host_is_as_it_was(site, bare):
    everything = {"uninstall_everything": True, "uninstall_apps": "sample", "uninstall_data": True}
    gone = site.predicted("uninstall.yml", **everything)
    assert "python3-venv" in gone.text  # the packages that stay are named
    after = site.listing()
    assert after == bare, f"new: {sorted(after - bare)}\nmissing: {sorted(bare - after)}"
    assert site.playbook("uninstall.yml", **everything).changed == []
