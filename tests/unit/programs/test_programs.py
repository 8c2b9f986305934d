"""Programs of any kind under a real supervisord."""


def test_programs_come_change_one_alone_and_go(host):
    one, two = host.program("one"), host.program("two", numprocs=2)
    result = host.apply([one, two])
    assert not result.get("failed"), result
    assert result["changed"]
    assert set(host.states().items()) == {("one:one", "RUNNING"), ("two:two-0", "RUNNING"), ("two:two-1", "RUNNING")}
    pids = host.pids()

    again = host.apply([one, two])
    assert not again["changed"]
    assert again["diff"] == []
    assert host.pids() == pids

    changed = host.apply([host.program("one", "/bin/sleep 2000"), two])
    assert changed["changed"]
    assert {entry["name"]: entry["action"] for entry in changed["programs"]} == {
        "one": "changed",
        "two-0": "kept",
        "two-1": "kept",
    }
    after = host.pids()
    assert after.pop("one:one") != pids.pop("one:one")
    assert after == pids

    gone = host.apply([two])
    assert gone["changed"]
    assert host.pids() == pids
    assert list(host.files()) == ["two.conf"]
    assert not host.apply([two])["changed"]
    assert host.apply()["changed"]
    assert host.pids() == host.files() == {}


def test_another_scope_and_files_by_hand_are_left_alone(host):
    (host.conf / "hand.conf").write_text("[program:hand]\ncommand=/bin/sleep 1000\nstartsecs=0\n")
    host.supervisor.reload_config()
    host.supervisor.add_group("hand")
    host.apply([host.program("theirs")], scope="other")
    pids = host.pids()
    (host.conf / "hand.conf").write_text("[program:hand]\ncommand=/bin/sleep 2000\nstartsecs=0\n")

    assert host.apply([host.program("ours")])["changed"]
    assert host.apply([])["changed"]
    assert host.pids() == pids
    assert sorted(host.files()) == ["hand.conf", "theirs.conf"]
