# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps of a host are what supervisor's configuration and the releases say."""

import json
import os

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.instance import discovery
from ansible_collections.pygun.stack.plugins.module_utils.supervisor import conf

RELEASE = "0123456789abcdef"
PROGRAM = """[fcgi-program:scoring]
command={root}/current/venv/bin/python -I {root}/current/lib/pygun_runtime/launch.py
socket={socket}
user=alice:staff
environment={environment}
stopwaitsecs=55
stdout_logfile=/data/logs/%(program_name)s-%(process_num)d.log
"""


def find(tmp_path, socket="tcp://127.0.0.1:5000", environment='PYGUN_RUN_DIR="/run/scoring",PYGUN_INSTANCES="3"'):
    folder = tmp_path / "supervisor" / "conf.d"
    folder.mkdir(parents=True)
    text = PROGRAM.format(root=tmp_path / "srv" / "scoring", socket=socket, environment=environment)
    (folder / "scoring.conf").write_text(text)
    [app] = discovery.find_apps(str(tmp_path / "srv"), str(tmp_path / "supervisor"))
    return app


def test_an_app_is_what_its_program_says(tmp_path):
    app = find(tmp_path)
    assert (app.user, app.bind, app.instances, app.stop_timeout) == ("alice", "127.0.0.1:5000", 3, 55.0)
    assert (app.run_dir, app.log_dir) == ("/run/scoring", "/data/logs")


@pytest.mark.parametrize(("socket", "bind"), [("unix:///run/x.sock", "unix:/run/x.sock"), ("tcp://[::1]:5", "[::1]:5")])
def test_the_address_is_written_as_the_variable_has_it(tmp_path, socket, bind):
    assert find(tmp_path, socket).bind == bind


@pytest.mark.parametrize(
    ("environment", "run_dir", "instances"),
    [
        ('HOME="/a,PYGUN_INSTANCES=9",PYGUN_RUN_DIR="/run/a,b",PYGUN_INSTANCES="2"', "/run/a,b", 2),
        ("PYGUN_RUN_DIR='/run/a b',PYGUN_INSTANCES=4", "/run/a b", 4),
        ('PYGUN_INSTANCES="many"', "/run/scoring", 0),
        ('PYGUN_RUN_DIR="/run/x', "/run/scoring", 0),
        ("", "/run/scoring", 0),
    ],
)
def test_the_environment_is_taken_apart_as_supervisor_does(tmp_path, environment, run_dir, instances):
    app = find(tmp_path, environment=environment)
    assert (app.run_dir, app.instances) == (run_dir, instances)


@pytest.mark.parametrize("text", ["A=1", 'A="1",B="a=b,c"', "A='x y',B=\"\"", "A=/b/c.d+e-f():g,B=2"])
def test_variables_are_those_that_supervisor_finds(text):
    from supervisor.datatypes import dict_of_key_value_pairs

    assert conf.variables(text) == dict_of_key_value_pairs(text)


def test_an_app_without_a_program_has_the_address_of_its_release_and_the_usual_places(tmp_path):
    root = tmp_path / "srv" / "scoring"
    (root / "releases" / RELEASE).mkdir(parents=True)
    (root / "current").symlink_to(f"releases/{RELEASE}")
    (root / "state.json").write_text("{}")
    service = {"bind": "unix:/run/a.sock", "log_dir": "/data/logs", "run_dir": "/run/other"}
    (root / "releases" / RELEASE / "release.json").write_text(json.dumps({"service": service}))
    [app] = discovery.find_apps(str(tmp_path / "srv"), str(tmp_path / "supervisor"))
    assert (app.conf, app.bind, app.log_dir, app.run_dir) == (
        "",
        "unix:/run/a.sock",
        "/var/log/scoring",
        "/run/scoring",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_a_person_below_the_base_directory_is_no_app(tmp_path):
    """They may own one, such as /srv/ftp, and put into it what looks like an app."""
    root = tmp_path / "srv" / "ftp"
    (root / "release").mkdir(parents=True)
    (root / "state.json").write_text("{}")
    (root / "current").symlink_to("release")
    os.mkfifo(root / "release" / "pygun.py")
    assert [app.name for app in discovery.find_apps(str(tmp_path / "srv"), str(tmp_path / "supervisor"))] == ["ftp"]
    os.chown(root, 57999, 57999)
    assert discovery.find_apps(str(tmp_path / "srv"), str(tmp_path / "supervisor")) == []
