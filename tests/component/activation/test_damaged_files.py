# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of root's own that are damaged or gone: a sentence and a way out, before anything is stopped."""

import json
import shutil

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.errors import ActivationError
from ansible_collections.pygun.stack.plugins.module_utils.activation.journal import Journal
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore


@pytest.fixture(scope="module", name="two")
def two_fixture(old):
    """A served app with a release to go back to."""
    result = old.deploy(old.release())
    assert not result.get("failed"), result["msg"]
    return old


@pytest.fixture(name="whole")
def whole_fixture(two):
    """It, whole again after each test, with what it serves in the meantime."""
    state, current, pids = (two.root / "state.json").read_text(), two.current, two.pids()
    yield two
    (two.root / "state.json").write_text(state)
    (two.root / "activation.json").unlink(missing_ok=True)
    link = two.root / "current"
    if not link.is_symlink():
        link.symlink_to(f"releases/{current}")
    assert two.pids() == pids, "nothing was stopped"


def refused(result, *texts):
    assert result.get("failed"), result
    for text in (*texts, "Nothing was"):
        assert text in " ".join(result["msg"].split())
    assert "Traceback" not in result["msg"]
    assert "exception" not in result


STATES = {
    "half": '{"previous": "00000',
    "empty": "",
    "of another kind": "[1]",
    "lists": '{"failed": [1, 2], "history": 5}',
    "odd entries": '{"failed": {"../x": {}, "0000000000000001": 5}, "history": [{"release": 5, "at": []}]}',
    "texts that are none": '{"failed": {"0000000000000001": {"at": true}}, "history": [{"release": true, "at": "x"}, {"at": null}]}',
    "deep": "[" * 60_000,
}


@pytest.mark.parametrize("text", STATES.values(), ids=STATES)
def test_as_much_of_a_damaged_state_as_can_be_understood_is_kept(tmp_path, text):
    store = ReleaseStore(str(tmp_path))
    (tmp_path / "state.json").write_text(text)
    assert store.damage_of_state()
    assert (store.previous(), store.failed(), store.history(), store.ids(), store.prune(1)) == (None, {}, [], [], [])
    assert store.remembered() is None
    store.mend_state()
    assert not store.damage_of_state()
    good = {"release": "0" * 16, "at": "2020-01-01T00:00:00.000000Z", "by": "me", "from": None, "rollback": True}
    (tmp_path / "state.json").write_text(json.dumps({"previous": 5, "history": [good, {"at": []}]}))
    assert (store.history(), bool(store.damage_of_state())) == ([good], True)


@pytest.mark.parametrize("name", ["half", "odd entries"])
def test_a_damaged_state_is_reported_and_written_again(whole, name):
    state, text = whole.root / "state.json", STATES[name]
    state.write_text(text)
    refused(whole.rollback(check=True), "state.json", "is not known", "by its id")
    seen = whole.run_module("status", base_dir=str(whole.folder.parent))
    assert "Traceback" not in json.dumps(seen)
    assert whole.deploy(whole.current, check=True)["changed"]
    assert state.read_text() == text
    result = whole.deploy(whole.current)
    assert not result.get("failed"), result
    assert result["changed"]
    warning = json.dumps(result["warnings"])
    assert (
        "state.json" in warning
        and "writes it again" in warning
        and "needs the id" not in warning
        and "need the id" in warning
    )
    assert (whole.deploy(whole.current)["changed"], whole.state["history"]) == (False, [])


JOURNAL = {
    "version": 1,
    "step": "files",
    "release": "0" * 16,
    "baseline": None,
    "files": [],
    "rolled": [],
    "reconfigured": False,
    "had_program": True,
    "stopped": [],
}
JOURNALS = {
    "half": '{"version": 1, "st',
    "empty": "",
    "deep": "[" * 60_000,
    "another version": json.dumps({**JOURNAL, "version": 2}),
    "no keys": '{"version": 1}',
    **{f"no {name}": json.dumps({key: JOURNAL[key] for key in JOURNAL if key != name}) for name in list(JOURNAL)[1:]},
    **{f"odd {name}": json.dumps({**JOURNAL, name: 5}) for name in list(JOURNAL)[1:]},
    "a commit without its time": json.dumps({**JOURNAL, "step": "commit", "by": "me"}),
    "files without modes": json.dumps({**JOURNAL, "files": [{"path": "/etc/x", "aside": "/etc/x.before"}]}),
}


@pytest.mark.parametrize("text", JOURNALS.values(), ids=JOURNALS)
def test_a_damaged_journal_is_refused(tmp_path, text):
    (tmp_path / "activation.json").write_text(text)
    with pytest.raises(ActivationError, match="cannot be understood.*Nothing was changed.*remove the journal"):
        Journal(str(tmp_path)).load()


def test_a_journal_that_is_whole_is_taken_over(tmp_path):
    (tmp_path / "activation.json").write_text(json.dumps(JOURNAL))
    assert Journal(str(tmp_path)).load()


def test_a_damaged_journal_stops_nothing(whole):
    journal = whole.root / "activation.json"
    for text in (JOURNALS["no keys"], JOURNALS["odd files"]):
        journal.write_text(text)
        for result in (
            whole.deploy(whole.current),
            whole.rollback(),
            whole.control("restarted", instance=f"{whole.name}:{whole.name}-0"),
        ):
            refused(result, "activation.json", "cannot be understood")
        assert journal.read_text() == text


@pytest.mark.parametrize("lost", [["current"], ["current", "state.json"]])
def test_without_current_it_can_be_stopped_and_not_started(served, lost):
    current = served.current
    for name in lost:
        (served.root / name).unlink()
    result = served.control("stopped")
    assert not result.get("failed"), result["msg"]
    assert result["changed"] and set(served.states().values()) == {"STOPPED"}
    assert served.control("started").get("failed")
    (served.root / "current").symlink_to(f"releases/{current}")
    result = served.control("started")
    assert not result.get("failed"), result["msg"]


def test_without_current_it_is_linked_again(whole):
    link, current = whole.root / "current", whole.current
    link.unlink()
    refused(whole.control("started"), "current", "is gone", "Deploy, or restart the whole app")
    assert whole.deploy(current, check=True)["changed"]
    assert not link.is_symlink()
    result = whole.deploy(current)
    assert (result.get("failed", False), result["changed"], whole.current) == (False, True, current)
    assert "was gone; it links to release" in json.dumps(result["warnings"])
    assert not whole.deploy(current)["changed"]


def test_a_bad_release_without_current_leaves_what_serves(served):
    """Nothing may take itself for a first install, whose way back removes the program."""
    current = served.current
    (served.root / "current").unlink()
    assert served.deploy(served.release(health="500 broken"))["failed"]
    assert served.current == current
    assert set(served.releases_running().values()) == {current}


def test_without_current_and_state_what_serves_is_not_replaced(whole):
    (whole.root / "current").unlink()
    (whole.root / "state.json").unlink()
    refused(whole.deploy(whole.release()), "which release serves is not known", "ln -s releases/")


def test_a_directory_in_the_place_of_current_is_refused(whole):
    link = whole.root / "current"
    link.unlink()
    link.mkdir()
    try:
        refused(whole.deploy(whole.release()), "is not a link to a release", "Move it away")
    finally:
        link.rmdir()


DAMAGES = {
    "half a release.json": lambda folder: (folder / "release.json").write_text('{"id": "00'),
    "no interpreter": lambda folder: (folder / "venv" / "bin" / "python").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_release_is_refused_before_anything_is_stopped(whole, damage):
    folder = whole.root / "releases" / whole.current
    shutil.copytree(folder, whole.folder / "whole", symlinks=True)
    try:
        damage(folder)
        for result in (
            whole.activate("current", restart=True),
            whole.control("restarted", instance=f"{whole.name}:{whole.name}-0"),
        ):
            refused(result, f"elease {whole.current}", "Deploy what was in it again")
    finally:
        shutil.rmtree(folder)
        (whole.folder / "whole").rename(folder)
