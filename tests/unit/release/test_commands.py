"""The forms of a release command, and which commands a rollback would go back across."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release.command_records import (
    BEGAN,
    DONE,
    FAILED,
    CommandRecords,
)
from ansible_collections.pygun.stack.plugins.module_utils.release.commands import commands_from, text_of
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore

A, B, C = ("a" * 16, "b" * 16, "c" * 16)
MIGRATE, SEED = ("flask", "db", "upgrade"), ("flask", "seed", "--name", "two words")


@pytest.mark.parametrize(
    ("value", "commands"),
    [
        ("", ()),
        ([], ()),
        ("flask db upgrade", (MIGRATE,)),
        (["flask", "db", "upgrade"], (MIGRATE,)),
        ([["flask", "db", "upgrade"], ["flask", "seed", "--name", "two words"]], (MIGRATE, SEED)),
        (["flask db upgrade", "flask seed --name 'two words'"], (MIGRATE, SEED)),
        (["sh", "-c", "a && b"], (("sh", "-c", "a && b"),)),
    ],
)
def test_each_form_of_a_command_is_understood(value, commands):
    assert commands_from(value) == commands
    assert tuple(commands_from(line)[0] for line in text_of(commands).split("; ") if line) == commands


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(str(tmp_path))


def test_a_command_is_crossed_if_it_ran_after_the_release_was_in_service_last(store):
    records = CommandRecords(store)
    records.note(A, "one", DONE)
    store.record_activation(A, None, "me")
    assert records.crossed(A) == {}
    records.note(B, "two", BEGAN)
    records.note(C, "three", FAILED)
    assert list(records.crossed(A)) == [B]
    records.note(C, "three", DONE)
    store.record_activation(C, A, "me")
    assert list(records.crossed(A)) == [C, B]
    assert list(records.crossed("d" * 16)) == [C, B, A], "it was never in service"
    store.record_activation(A, C, "me", rollback=True)
    assert records.crossed(A) == {}, "it has lived with that"
    assert list(records.crossed(C)) == []
    assert store.damage_of_state() == ""


def test_records_outlive_their_releases_but_only_the_newest(store):
    records = CommandRecords(store)
    for number in range(25):
        records.note(f"{number:016x}", "x", DONE)
    assert len(records.all()) == 20
    assert f"{24:016x}" in records.all()
    store.prune(2)
    assert len(records.all()) == 20
