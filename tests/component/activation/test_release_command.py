"""The release command runs once before a release serves; what happens when it fails, lasts or is killed; and a rollback knows of it."""

import json

import pytest

from tests.component.activation.conftest import APP
from tests.component.supervised import eventually, has_ended


@pytest.fixture
def app(make_app):
    """The command runs once, however many instances there are."""
    return make_app(instances=1)


@pytest.fixture
def served(single):
    return single


@pytest.fixture
def ran(served):
    """The command of these tests, and the lines that it has written."""

    class Ran:
        file = served.folder / "ran"
        command = ["sh", "-c", f'echo "$COLOUR ${{PYGUN_RELEASE##*/}} $PWD" >> {file}; echo all migrated']

        def lines(self):
            return self.file.read_text().splitlines() if self.file.exists() else []

    return Ran()


def test_it_runs_once_in_the_new_release_before_an_instance_is_touched(served, load, ran):
    new, pids = served.release(), served.pids()
    served.env_content = "COLOUR=green\n"
    predicted = served.deploy(new, check=True, diff=True, release_command=ran.command)
    assert ran.lines() == []
    assert predicted["release_command"]["command"].startswith("sh -c ")
    assert [part["after"][:5] for part in predicted["diff"] if part["after_header"].endswith("release command")] == [
        "sh -c"
    ]
    with load(served) as requests:
        waiting = served.start(
            new,
            hold_at="release command done",
            release_command=ran.command,
            retry_failed=True,
            env_file={"path": str(served.env), "content": served.env_content},
        )
        eventually((served.folder / "held").exists)
        assert served.pids() == pids
        (served.folder / "held").unlink()
        result = served.outcome(waiting)
    assert requests.failures == []
    assert ran.lines() == [f"green {new} {served.root}/releases/{new}/src"]
    assert result["release_command"]["lines"] == ["all migrated"]
    assert set(served.releases_running().values()) == {new}
    assert not served.deploy(new, release_command=ran.command)["changed"]
    assert len(ran.lines()) == 1


def test_a_release_that_serves_gets_a_command_that_is_named_later_without_a_restart(served, ran):
    pids = served.pids()
    result = served.deploy(served.current, release_command=ran.command)
    assert result["changed"]
    assert len(ran.lines()) == 1
    assert served.pids() == pids
    assert not served.deploy(served.current, release_command=ran.command)["changed"]


def test_one_that_fails_switches_nothing_and_says_why(served, load, ran):
    before, new, environment = served.current, served.release(), served.env.read_text()
    pids = served.pids()
    served.env_content = 'COLOUR=green\nDATABASE_URL="postgresql://me:tr0ub4dor@db/x"\nAPI_TOKEN="a \\"quoted\\" one"\n'
    script = 'echo "no table, $DATABASE_URL, $API_TOKEN, redis://u:hunter2@cache"; exit 3'
    with load(served) as requests:
        result = served.deploy(new, release_command=[ran.command, ["sh", "-c", script], ran.command])
    assert requests.failures == []
    assert result["failed"]
    said = result["msg"]
    assert "(step: release command)" in said
    assert "The release command ended with exit code 3: sh -c" in said
    assert "no table, ***, ***, redis://***@cache" in said
    assert f"To reproduce: sudo -u root {served.root}/releases/{new}/run sh -c" in said
    assert "No instance was touched. What the release command may have changed" in said
    assert "tr0ub4dor" not in json.dumps(result)
    assert len(ran.lines()) == 1, "the first of the three"
    assert served.pids() == pids
    assert served.current == before
    assert served.env.read_text() == environment
    assert served.state["failed"][new]["step"] == "release command"
    assert not served.deploy(new, release_command=ran.command).get("failed")
    assert len(ran.lines()) == 2


def test_one_that_ends_by_a_signal_without_a_name_has_failed(served):
    new = served.release()
    result = served.deploy(new, release_command=["sh", "-c", "kill -40 $$"])
    assert "The release command was terminated by signal 40: sh -c" in result["msg"]
    assert served.state["commands"][new]["result"] == "failed", "not interrupted"


def test_a_health_check_may_need_what_the_command_makes(app):
    app.conf_extra = "user=root\n"  # without a user there is no trial
    app.deploy(app.release())
    made = app.folder / "made"
    needs = APP.replace('else "200 OK"', f'and not os.path.exists({str(made)!r}) else "200 OK"')
    refused = app.deploy(app.release(source=needs, health="503 NO"))
    assert refused["step"] == "preflight"
    result = app.deploy(app.release(source=needs, health="503 NO"), release_command=["touch", str(made)])
    assert not result.get("failed"), result["msg"]
    never = app.deploy(app.release(health="503 NO"), release_command=["touch", str(made)])
    assert never["step"] == "preflight"
    assert "No instance was touched. The release command has run (touch" in never["msg"]


TABLE = "import os, sqlite3\nif not os.path.exists({0!r}):\n    raise sqlite3.OperationalError('no such table: item')\n"
FILE = "open({0!r})\n"
OWN = "import os\nif not os.path.exists({0!r}):\n    raise RuntimeError('Make {0} first.')\n"
OTHER = "import os\nif not os.path.exists({0!r}):\n    raise RuntimeError('Set COLOUR, as /etc/hosts does.')\n"
MODULE = "import no_such_module\n"


@pytest.mark.parametrize(
    "needs",
    [pytest.param(TABLE, marks=pytest.mark.full), FILE, OWN],  # below, another test has a table
    ids=["table", "file", "error of its own"],
)
def test_a_first_import_may_need_what_the_command_makes(app, needs):
    made = with_shared(app)
    result = app.deploy(app.release(source=needs.format(str(made)) + APP), release_command=["touch", str(made)])
    assert not result.get("failed"), result["msg"]


@pytest.mark.parametrize("needs", [MODULE, OTHER], ids=["module", "error of its own"])
def test_a_command_does_not_run_for_an_import_that_it_cannot_mend(app, needs):
    made = with_shared(app)
    result = app.deploy(app.release(source=needs.format(str(made)) + APP), release_command=["touch", str(made)])
    assert result["step"] == "preflight"
    assert not made.exists()
    assert "run it by hand" not in result["msg"]


def test_while_a_release_serves_a_command_waits_for_the_import(app):
    made, old = with_shared(app), app.release()
    app.deploy(old)
    new = app.release(source=TABLE.format(str(made)) + APP)
    result = app.deploy(new, release_command=["touch", str(made)])
    assert result["step"] == "preflight"
    assert result["code"] == "table-missing"
    assert not made.exists()
    assert f"The release command has not run: release {old} serves" in result["msg"]
    assert f"deploy again: sudo -u root {app.root}/releases/{new}/run touch {made}." in result["msg"]


def with_shared(app):
    """A file below the app's shared directory that a command may make."""
    app.conf_extra = "user=root\n"  # without a user there is no trial
    (app.root / "shared").mkdir(exist_ok=True)
    return app.root / "shared" / "made"


def test_the_way_back_says_that_it_has_run(served, ran):
    before, bad = served.current, served.release(health="503 NO")
    result = served.deploy(bad, release_command=ran.command, preflight=False)
    assert result["step"] == "roll"
    assert served.current == before
    assert "The host is as it was before. The release command has run (sh -c" in result["msg"]
    assert "stays changed." in result["msg"]


def test_one_that_lasts_too_long_is_ended(served):
    result = served.deploy(
        served.release(), release_command="sh -c 'echo begun; sleep 1000 & wait'", release_command_timeout=1
    )
    assert "The release command had not ended after 1 s (flask_app_release_command_timeout)" in result["msg"]
    assert "begun" in result["msg"]


def test_a_run_that_is_killed_takes_it_along_and_the_next_runs_it_again(served, load, ran):
    new, file = served.release(), served.folder / "pid"
    script = f"sleep 1000 & echo $! >> {file}; echo $$ >> {file}; wait"
    with load(served) as requests:
        run = served.start(new, release_command=["sh", "-c", script], retry_failed=True)
        eventually(lambda: file.exists() and len(file.read_text().split()) == 2)
        run.kill()
        run.wait()
        for pid in map(int, file.read_text().split()):
            eventually(lambda pid=pid: has_ended(pid))
        result = served.deploy(new, release_command=ran.command)
    assert requests.failures == []
    assert not result.get("failed"), result["msg"]
    said = f"had begun the release command of release {new} (sh -c"
    warnings = json.dumps(result["warnings"])
    assert said in warnings
    assert "it runs again." in warnings
    assert len(ran.lines()) == 1
    assert served.leftovers() == []


def test_a_rollback_goes_across_one_that_has_changed_nothing(served, ran):
    old, revision = served.current, served.folder / "revision"
    revision.write_text("0001 (head)\n")
    state = ["sh", "-c", f"date +%s.%N >&2; cat {revision}"]  # a program that logs as it begins

    def deployed(script, state):
        result = served.deploy(
            served.release(),
            release_command=["sh", "-c", script],
            release_command_state=state,
            release_command_timeout=20,
        )
        assert not result.get("failed"), result["msg"]
        return result

    assert deployed("true", state)["release_command"]["changed"] is False
    assert served.rollback(old)["release"] == old
    assert deployed(f"echo 0002 > {revision}", state)["release_command"]["changed"] is True
    assert served.rollback(old)["failed"]
    unknown = deployed("true", ["cat", str(served.folder / "missing")])
    assert "ended with exit code 1: cat" in json.dumps(unknown["warnings"])
    assert deployed("true", "true")["release_command"]["changed"] is True, "it says nothing"
    assert served.rollback(old)["failed"]
    noted = served.deploy(
        served.release(), release_command="true", release_command_host="other", release_command_changed=False
    )
    assert not served.rollback("previous").get("failed"), noted


def test_what_a_run_has_changed_that_went_back_later_stays_changed(served):
    old, new, revision = served.current, served.release(), served.folder / "revision"
    revision.write_text("0001 (head)\n")
    failing = served.folder / "failing"
    failing.touch()
    broken = ["sh", "-c", f"echo 0002 > {revision}; test ! -e {failing}"]

    def deploy():
        return served.deploy(
            new, release_command=broken, release_command_state=["cat", str(revision)], release_command_timeout=20
        )

    assert deploy()["failed"]
    failing.unlink()
    assert deploy()["release_command"]["changed"] is True
    assert served.rollback(old)["failed"], "the data are those of the newer release"
    assert served.rollback(old, across_release_command=True)["release"] == old
    assert deploy()["release_command"]["changed"] is False
    assert served.rollback(old)["release"] == old, "it has served with these data before"


def test_a_rollback_across_it_is_refused_and_done_when_asked_for(served, ran):
    old = served.current
    plain = served.release()
    served.deploy(plain)
    migrated = served.release()
    served.deploy(migrated, release_command=ran.command)
    after = served.release()
    served.deploy(after)
    refused = served.rollback(plain)
    assert refused["failed"]
    assert refused["crossed"] == [migrated]
    assert (
        f"Release {plain} of {served.name} is older than a release command: release {migrated} ran `sh -c"
        in refused["msg"]
    )
    assert (
        f"-e flask_app_across_release_command=true. Release {after} stays in service. Nothing was changed."
        in refused["msg"]
    )
    assert served.current == after
    done = served.rollback(plain, across_release_command=True)
    assert done["release"] == plain
    assert "what the command has changed stays" in json.dumps(done["warnings"])
    assert len(ran.lines()) == 1, "a rollback runs none"
    assert served.rollback(old)["failed"], "older still"
    again = served.deploy(migrated, release_command=ran.command)
    assert len(ran.lines()) == 2, f"it comes into service again: {again}"
