"""What goes wrong outside of the transaction's steps is said in a sentence, with the state that the host is left in."""

from tests.component.supervised import eventually


def held(app, release, checkpoint):
    """An activation that waits at a checkpoint, and the file that it waits for."""
    given = {"program_conf": {"path": str(app.conf), "content": app.conf_content()}, "retry_failed": True}
    run, file = app.start(release, hold_at=checkpoint, **given), app.folder / "held"
    eventually(file.exists)
    return run, file


def test_a_directory_in_the_place_of_a_file_changes_nothing(single):
    single.env.unlink()
    single.env.mkdir()
    pids = single.pids()
    result = single.deploy(single.release())
    assert result["msg"].startswith(f"[Errno 21] Is a directory: '{single.env}'"), result["msg"]
    assert result["msg"].endswith("No instance was touched.")
    assert result["step"] == "prepare"
    assert single.pids() == pids


def test_a_supervisord_that_goes_after_the_commit_costs_the_pruning_only(make_host):
    host = make_host()
    app = host.new_app(instances=1)
    release = app.release()
    run, file = held(app, release, "committed")
    host.process.kill()
    host.process.wait()
    host.process = None
    file.unlink()
    result = app.outcome(run)
    assert not result.get("failed"), result["msg"]
    assert "Old releases could not be removed: supervisord" in str(result["warnings"])
    assert app.current == release


def test_a_lock_that_cannot_be_had_changes_nothing(single):
    """As on a disk that has become read-only."""
    lock = single.root / "activation.lock"
    lock.unlink()
    lock.mkdir()
    pids = single.pids()
    for result in (
        single.deploy(single.current),
        single.control("stopped"),
        single.run_module("uninstall", name=single.name, base_dir=str(single.folder)),
    ):
        assert f"Is a directory: '{lock}'" in result["msg"]
        assert "Traceback" not in result["msg"]
        assert result["msg"].endswith(("No instance was touched.", "Nothing was changed."))
    assert single.pids() == pids
