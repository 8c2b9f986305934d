# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apache Superset, which somebody else wrote: two files and variables, as in `molecule/whole/vars/superset.yml`.

Only with PYGUN_FULL=1: its 160 packages are several hundred megabytes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from shop import VARIABLES, Shop

pytestmark = pytest.mark.full

ROLE = "CREATE ROLE superset LOGIN PASSWORD 'only-for-this-test'"


@pytest.fixture(scope="module")
def superset(shop, tmp_path_factory):
    """The same host with this app, of which nothing is left from another run."""
    psql = ["runuser", "-u", "postgres", "--", "psql", "--command"]
    for statement in (
        "DROP DATABASE IF EXISTS superset", "DROP ROLE IF EXISTS superset", ROLE, "CREATE DATABASE superset OWNER superset",
    ):  # fmt: skip
        shop.run(*psql, statement)
    app = Shop(shop.name, tmp_path_factory.mktemp("superset"))
    app.variables, app.patience = VARIABLES.with_name("superset.yml"), 1800
    app.source = app.source.with_name("superset")
    shutil.copytree(Path(__file__).with_name("apps") / "superset", app.source)
    return app


def health(superset):
    code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8088/health', timeout=60).read().decode())"
    return superset.run("python3", "-c", code).strip()


def releases(superset):
    """Those of the worker's processes, and the current one."""
    current = superset.run("readlink", "/srv/superset/current").strip()
    return superset.running("celery.*superset"), current.rpartition("/")[2]


def says_ready(superset):
    """Whether the log of the worker, which is JSON from its first line, has come to that."""
    lines = [json.loads(line) for line in superset.run("cat", "/var/log/superset/superset.worker.log").splitlines()]
    return any(line["message"].endswith(" ready.") and line["service.node.name"] == "superset.worker" for line in lines)


def test_it_is_deployed_with_its_database_and_its_worker(superset):
    done = superset.playbook("deploy.yml")
    assert done.ok, done.text
    assert health(superset) == "OK"
    running, current = releases(superset)
    assert running == [current]
    again = superset.playbook("deploy.yml")
    assert again.ok, again.text
    assert "changed=0" in again.text
    superset.wait_for(lambda: says_ready(superset), "the worker's log has no line of Celery's that it is ready")
    assert superset.playbook("doctor.yml").ok


def test_a_change_goes_out_and_back(superset):
    before = releases(superset)[1]
    with (superset.source / "superset_config.py").open("a") as config:
        config.write('APP_NAME = "Numbers"\n')
    done = superset.playbook("deploy.yml")
    assert done.ok, done.text
    running, current = releases(superset)
    assert running == [current] != [before]
    back = superset.playbook("rollback.yml")
    assert back.ok, f"nothing was migrated, so nobody has to ask for it: {back.text}"
    assert releases(superset) == ([before], before)
    assert health(superset) == "OK"
    status = superset.playbook("status.yml")
    assert status.ok, status.text
    assert "superset.worker" in status.text


def test_uninstall_leaves_nothing_of_it(superset):
    done = superset.playbook("uninstall.yml", uninstall_apps="superset", uninstall_data=True)
    assert done.ok, done.text
    assert superset.run("pgrep", "--full", "superset", check=False) == ""
    script = (
        "find / -xdev -path /proc -prune -o -name '*superset*' -print | grep -v -e postgres -e pygun-acceptance || true"
    )
    assert superset.run("sh", "-c", script) == ""
