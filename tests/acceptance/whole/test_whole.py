# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole app through its life: migrations, worker, clock, job and one-off commands belong to its release.

The tests follow each other as deploys do.
"""

from __future__ import annotations

import json
import os
import time

import pytest
import yaml
from rig.load import Load
from shop import ORDERS, VARIABLES

FULL = bool(os.environ.get("PYGUN_FULL"))
EXPAND = "op.execute('ALTER TABLE orders ADD COLUMN note{0} text')"
CONTRACT = "op.execute('ALTER TABLE orders DROP COLUMN note{0}')"
FAILING = "op.execute('ALTER TABLE orders DROP COLUMN no_such_column')"
SLOW = "time.sleep(600)"


def deployed(shop, *options):
    done = shop.playbook("deploy.yml", *options)
    assert done.ok, done.text
    return done


def is_of_one_release(shop):
    """The web process, the worker and the clock run the current release."""
    current = [shop.current()]
    assert shop.answers() == str(shop.number)
    assert shop.running("celery.*worker") == current
    assert shop.running("celery.*beat") == current


def changes(text):
    """The tasks that change the host, with the differences that they show."""
    found, task, lines, is_diff = {}, "", [], False
    for line in text.splitlines():
        is_diff = line.startswith("--- ") or (is_diff and line != "")
        if line.startswith("TASK ["):
            task, lines = line.strip("* "), []
        elif line.startswith("changed: ["):
            found[task] = lines
        elif is_diff:
            lines.append(line.split("\t")[0])
    return found


def change_everything(shop):
    """The environment, the release command, a program and a job of before and one more each, and a shared path."""
    given = yaml.safe_load(VARIABLES.read_text())
    worker, *programs = given["flask_app_programs"]
    shop.changed = {
        "flask_app_env": {**given["flask_app_env"], "NOTE": "x"},
        "flask_app_release_command": ["flask db upgrade", "flask db current"],
        "flask_app_programs": [
            {**worker, "stopwaitsecs": 50}, *programs,
            {"name": "second", "command": "celery -A wsgi:queue worker --concurrency 1 -n second@%h"},
        ],
        "flask_app_jobs": [
            {**given["flask_app_jobs"][0], "schedule": "*-*-* 04:00:00"},
            {"name": "late", "schedule": "weekly", "command": "flask report"},
        ],
        "flask_app_shared_paths": ["uploads"],
    }  # fmt: skip


@pytest.fixture(scope="class")
def load(shop):
    """Orders at any time; none fails, none is lost, none is shipped twice.

    Celery promises at least once with Redis: a task that begins in the moment in which its worker stops may go back as well.
    One such order is no fault of a deploy; a worker that does not finish what it has taken makes many.
    """
    with Load(shop, "whole", options=ORDERS) as load:
        yield load
    assert load.totals["failed"] == 0, json.dumps(load.result["kinds"], indent=1)
    shop.wait_for(
        lambda: shop.query("SELECT count(*) FROM orders") == shop.query("SELECT count(DISTINCT order_id) FROM shipped"),
        "an order is lost",
    )
    assert shop.query("SELECT order_id FROM shipped GROUP BY order_id HAVING count(*) > 1")[1:] == []


class TestUnderLoad:
    def test_a_change_of_everything_under_load_as_the_check_says_and_a_job_that_ends_where_it_began(self, shop, load):
        began = str(shop.number)
        shop.version(EXPAND.format("first"))
        change_everything(shop)
        predicted = changes(deployed(shop, "--check", "--diff").text)
        unit = shop.run(
            "sh", "-c", "systemctl list-unit-files --plain --no-legend 'pygun-shop*nightly*.service'"
        ).split()[0]
        shop.run("systemctl", "start", "--no-block", unit)
        shop.wait_for(lambda: shop.run("pgrep", "--full", "flask report", check=False), "the job did not start")
        with load.roll("expand"):
            done = changes(deployed(shop, "--diff").text)
        assert predicted == done != {}
        assert "+src/uploads/ -> shared/uploads/" in "\n".join(sum(done.values(), []))
        assert shop.revision() == str(shop.number).zfill(4)
        is_of_one_release(shop)
        shop.wait_for(
            lambda: f"{began}/{began}" in shop.query("SELECT version FROM reports"), "the job did not end well"
        )

    @pytest.mark.full
    def test_expand_and_contract_again_and_again(self, shop, load):
        for number in range(10):
            shop.version(EXPAND.format(number))
            with load.roll("expand"):
                deployed(shop)
            assert shop.revision() == str(shop.number).zfill(4)
            is_of_one_release(shop)
            shop.version(CONTRACT.format(number))
            with load.roll("contract"):
                deployed(shop)
            is_of_one_release(shop)

    def test_a_run_without_a_change_changes_nothing(self, shop, load):
        pids = shop.run("pgrep", "--full", "celery")
        done = deployed(shop)
        assert "changed=0" in done.text
        assert shop.run("pgrep", "--full", "celery") == pids

    def test_a_migration_that_fails_leaves_all_as_it_was(self, shop, load):
        before, revision = shop.current(), shop.revision()
        shop.version(FAILING)
        with load.roll("failing"):
            done = shop.playbook("deploy.yml")
        assert not done.ok
        assert "no_such_column" in done.message
        assert "only-for-this-test" not in done.text
        assert (shop.current(), shop.revision()) == (before, revision)
        assert shop.running("celery.*worker") == [before]
        shop.number -= 1
        assert shop.answers() == str(shop.number)

    def test_a_migration_that_is_killed_is_run_again(self, shop, load):
        before, name = shop.current(), str(shop.number + 1).zfill(4)
        shop.forget_migration()  # the failing one
        shop.version(SLOW)
        run = shop.start("deploy.yml")
        shop.wait_for(lambda: shop.run("pgrep", "--full", "flask db upgrade", check=False), "no migration ran")
        shop.tell("kill-module", "shop", "release command")
        run.communicate(timeout=100)
        shop.wait_for(
            lambda: not shop.run("pgrep", "--full", "flask db upgrade", check=False), "the migration went on alone"
        )
        assert shop.current() == before
        shop.migration(name, EXPAND.format("killed"))
        done = deployed(shop)
        assert shop.revision() == name
        is_of_one_release(shop)
        assert done.ok

    def test_a_rollback_across_a_migration_is_refused_and_done_when_asked_for(self, shop, load):
        current = shop.current()
        refused = shop.playbook("rollback.yml")
        assert not refused.ok
        assert "flask db upgrade" in refused.message
        assert "flask_app_across_release_command" in refused.message
        assert shop.current() == current
        with load.roll("rollback"):
            done = shop.playbook("rollback.yml", flask_app_across_release_command=True)
        assert done.ok, done.text
        assert shop.running("celery.*worker") == [shop.current()] != [current]
        deployed(shop)
        assert shop.current() == current
        is_of_one_release(shop)

    def test_a_worker_that_cannot_start_undoes_the_deploy(self, shop, load):
        before = shop.current()
        wsgi = shop.source / "wsgi.py"
        good = wsgi.read_text()
        wsgi.write_text(good + "\nimport sys\nif 'worker' in sys.argv:\n    sys.exit('no worker today')\n")
        worker, *others = shop.changed["flask_app_programs"]
        done = shop.playbook("deploy.yml", flask_app_programs=[{**worker, "startsecs": 60}, *others])  # it ends sooner
        wsgi.write_text(good)
        assert not done.ok
        assert "no worker today" in done.message
        assert shop.current() == before
        is_of_one_release(shop)


def test_what_celery_logs_has_the_fields_of_the_apps_log(shop):
    """But for the lines that it writes past Python's streams as it stops."""
    text = shop.run("tail", "-n", "400", "/var/log/shop/shop.worker.log").splitlines()
    lines = [json.loads(line) for line in text if line.startswith("{")]
    assert [line for line in text if line and not line.startswith(("{", "worker: "))] == []
    done = [line for line in lines if " succeeded in " in line["message"]]
    assert {line["log.logger"] for line in done} == {"celery.app.trace"}
    assert {line["service.node.name"] for line in done} == {"shop.worker"}


def test_a_one_off_command_says_what_it_says(shop):
    done = shop.playbook("run.yml", "-e", "command='flask db current'")
    assert done.ok, done.text
    assert shop.revision() in done.text
    failed = shop.playbook("run.yml", "-e", "command='flask no-such-command'")
    assert not failed.ok
    assert "No such command" in failed.message


def test_the_daily_playbooks_know_the_whole_app(shop):
    stopped = shop.playbook("stop.yml")
    assert stopped.ok, stopped.text
    assert shop.running("celery") == []
    assert shop.playbook("start.yml").ok
    is_of_one_release(shop)
    status = shop.playbook("status.yml")
    assert status.ok, status.text
    assert all(word in status.text for word in ("worker", "clock", "nightly")), status.text
    if FULL:  # a stop and a start of the same have just been; tests/component/activation/test_programs.py restarts all
        restarted = shop.playbook("restart.yml")
        assert restarted.ok, restarted.text
        is_of_one_release(shop)
    assert shop.playbook("doctor.yml").ok
    shop.run("pkill", "-KILL", "--full", "celery.*worker")  # no shell: it would be one of them
    time.sleep(1)
    shop.wait_for(lambda: shop.running("celery.*worker"), "the worker did not come back")


def test_uninstall_leaves_nothing(shop):
    done = shop.playbook("uninstall.yml", uninstall_everything=True, uninstall_apps="shop", uninstall_data=True)
    assert done.ok, done.text
    assert shop.run("pgrep", "--full", "celery|gunicorn", check=False) == ""
    assert (
        shop.run(
            "sh",
            "-c",
            "find / -xdev -path /proc -prune -o -name '*shop*' -print | grep -v -e postgres -e pygun-acceptance || true",
        )
        == ""
    )
