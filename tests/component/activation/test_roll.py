"""A good release takes the place of another, and nobody notices."""


def test_a_first_release_serves(app):
    release = app.release()
    result = app.deploy(release)
    assert not result.get("failed"), result["msg"]
    assert result["changed"]
    assert [account["action"] for account in result["instances"]] == ["started", "started"]
    assert app.get() == (200, f"{release} red")
    assert app.current == release
    assert app.leftovers() == []


def test_a_new_release_replaces_the_old_one_without_a_failed_request(served, load):
    old, new = served.current, served.release()
    before = served.pids()
    with load(served) as short, load(served, "/slow") as slow:
        result = served.deploy(new)
    assert not result.get("failed"), result["msg"]
    assert (short.failures, slow.failures) == ([], [])
    assert set(served.releases_running().values()) == {new}
    assert result["changed"]
    assert result["previous"] == old
    assert not set(before.values()) & set(served.pids().values())
    assert served.state["history"][-1]["from"] == old
    assert served.leftovers() == []
