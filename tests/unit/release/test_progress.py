# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A long step shows that it goes on; a short one shows nothing."""

import threading

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import progress


def test_a_long_step_shows_how_much_of_how_much_and_a_short_one_nothing(monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.01)
    monkeypatch.setattr(progress, "EVERY", 0.01)
    said, enough = [], threading.Event()

    def say(line):
        said.append(line)
        if len(said) > 2:
            enough.set()

    with progress.shown("sample, web1: sending", progress.Amount(3_000_000), say) as amount:
        amount.set(1_000_000)
        assert enough.wait(10)
    assert "sample, web1: sending, 1 MB of 3 MB, 0 s so far" in said
    monkeypatch.setattr(progress, "FIRST", 60)
    with pytest.raises(KeyError), progress.shown("sample, web1: packing", say=lambda _line: pytest.fail("too early")):
        raise KeyError
    assert threading.active_count() == 1
