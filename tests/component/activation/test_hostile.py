"""What an app puts into its run directory costs that app at most: a real supervisord with real apps."""

import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor.examination import findings_of
from ansible_collections.pygun.stack.plugins.module_utils.doctor.observe import observe, observe_apps
from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import Options, Supervisord
from tests.component.activation.test_status import look

NESTED = "[" * 60_000


def as_before(release):
    """Give a release the launcher of before, which looks for candidates in the run directory."""
    launcher = release / "lib" / "pygun_runtime" / "launch.py"
    text = launcher.read_text()
    now = "Path(run_dir).parent / CANDIDATES / Path(run_dir).name"
    assert text.count(now) == 1
    launcher.write_text(text.replace(now, "Path(run_dir)").replace("CANDIDATES", "FORMERLY"))


def examined(app):
    """The doctor's findings about the apps. There is no systemd here that tells which supervisord is ours."""
    state = observe(Options(base_dir=str(app.host.folder / "none"), conf_dir=str(app.host.folder)))
    supervisor = app.host.status()
    state.supervisord = Supervisord(
        pid=supervisor.call("supervisor.getPID"), uptime=60.0, running=supervisor.all_processes()
    )
    observe_apps(state, supervisor)
    return findings_of(state)


@pytest.mark.parametrize("launcher", ["of now", "of before"])
def test_what_stands_in_the_place_of_a_link_or_a_record_is_in_nobodys_way(app, load, launcher):
    first = app.release()
    if launcher == "of before":
        as_before(app.root / "releases" / first)
    assert not app.deploy(first).get("failed")
    for number in range(2):
        (app.run / f"{app.name}-{number}.next" / "full").mkdir(parents=True)
    (app.run / f"{app.name}-0.json").write_text(NESTED)
    (app.run / f"{app.name}-1.json").unlink()
    (app.run / f"{app.name}-1.json" / "full").mkdir(parents=True)
    with load(app) as requests:
        result = app.deploy(app.release("new"))
        assert not result.get("failed"), result["msg"]
    assert requests.failures == []
    assert set(app.releases_running().values()) == {"new"}
    assert not (app.folder / "pygun" / "run").exists()
    assert not [path for path in app.run.glob("*.next") if path.is_symlink()]
    assert look(app)["problems"] == []


def test_the_way_back_needs_no_link_of_the_app_either(app, load):
    first = app.release("first")
    as_before(app.root / "releases" / first)
    assert not app.deploy(first).get("failed")
    with load(app) as requests:
        result = app.deploy(app.release("bad", health="503 Service Unavailable"))
    assert result["failed"] and result["rolled_back"], result["msg"]
    assert requests.failures == []
    assert set(app.releases_running().values()) == {"first"}
    assert app.leftovers() == []


@pytest.mark.parametrize(
    "record, says",
    [
        (NESTED, "nested deeper"),
        pytest.param('{"pid": {}, "workers": "x"}', "has pid = {}", marks=pytest.mark.full),
        pytest.param('{"pid": 1e400}', "has pid = '1e400'", marks=pytest.mark.full),
        pytest.param("x" * 100_000, "larger than 64 KiB", marks=pytest.mark.full),
    ],
    ids=["nested", "types", "infinite", "large"],
)
def test_a_record_that_is_none_is_a_finding_of_its_app_alone(served, make_app, record, says):
    other = make_app(instances=1)
    assert not other.deploy(other.release()).get("failed")
    file = served.run / f"{served.name}-0.json"
    good = file.read_text()
    file.write_text(record)
    found = look(served, name="")
    assert [one["name"] for one in found["apps"] if one["name"] in (served.name, other.name)]
    about = [one for one in found["problems"] if one["subject"].startswith((served.name, other.name))]
    (problem,) = [one for one in about if "is not ready" in one["what"]]
    assert problem["subject"] == f"{served.name}:{served.name}-0"
    assert str(file) in problem["what"] and says in problem["what"]
    findings = {one.subject: one for one in examined(served) if one.code == "record-unreadable"}
    assert list(findings) == [f"{served.name}:{served.name}-0"]
    assert str(file) in findings[f"{served.name}:{served.name}-0"].symptom
    file.write_text(good)


def test_a_record_forges_no_row_and_names_no_foreign_release(served):
    file = served.run / f"{served.name}-0.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "lossless": False, "gunicorn": "1\nERROR forged (host)\x1b[2J\ud800"}))
    found = look(served)
    assert found["ok"] and found["apps"][0]["stock_gunicorn"] == r"1\nERROR forged (host)\x1b[2J\ud800"
    assert not any("\n  forged" in one.symptom or "\x1b" in one.symptom for one in examined(served))
    file.write_text(json.dumps({**record, "release": "../../../etc"}))
    result = served.control("restarted", instance=f"{served.name}-0")
    assert not result.get("failed"), result["msg"]
    assert look(served)["ok"]
