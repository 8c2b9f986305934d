# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a diff of a release shows of its files, and what it does not."""

import pytest

from ansible_collections.pygun.stack.plugins.action import release as action
from ansible_collections.pygun.stack.plugins.module_utils.release import differences, texts
from ansible_collections.pygun.stack.plugins.plugin_utils import pack


@pytest.fixture(name="old")
def old_fixture(tmp_path):
    """The release that is current, as a function of its files."""

    def make(**files):
        for path, content in files.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return str(tmp_path)

    return make


def diffs(folder, before, after, shown=""):
    """As the module and the action plugin make them together."""
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    texts = differences.texts_of(folder, changed, before)
    entries = [pack.entry_from_bytes(path, data) for path, data in after.items()]
    return list(action._text_diffs(texts, entries, shown))


def test_the_text_of_what_changes_is_shown(old):
    before = {"src/a.py": b"one\n", "src/gone.py": b"gone\n", "src/same.py": b"same\n"}
    after = {"src/a.py": b"two\n", "src/new.py": b"new\n", "src/same.py": b"same\n"}
    found = [(one["after_header"], one["before"], one["after"]) for one in diffs(old(**before), before, after)]
    assert found == [("src/a.py", "one\n", "two\n"), ("src/gone.py", "gone\n", ""), ("src/new.py", "", "new\n")]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("src/.env", b"KEY=hush"),
        ("src/.env.production", b"KEY=hush"),
        ("src/tls/server.key", b"hush"),
        ("src/secrets/a.py", b"hush"),
        ("src/db_password.txt", b"hush"),
        ("src/key.txt", b"-----BEGIN OPENSSH PRIVATE KEY-----\nhush"),
        ("src/model.bin", b"\0hush"),
        ("src/latin.txt", b"\xe4hush"),
        ("src/long.py", b"hush\n" * 4000),
        ("lib/pygun_runtime/log.py", b"hush"),
    ],
)
def test_what_may_be_secret_or_is_no_short_text_is_not_shown(old, path, content):
    for before, after in (({path: content}, {path: b"x"}), ({path: b"x"}, {path: content}), ({}, {path: content})):
        assert diffs(old(**before), before, after) == []


@pytest.mark.parametrize("path", ["src/tokenizer.py", "src/environment.py", "src/keys.py", "requirements/0-base.txt"])
def test_names_that_only_look_like_it_are_shown(path):
    assert texts.readable(path)


@pytest.mark.parametrize(
    "record", [None, b"{}", b"[]", b'{"pygun_py_shown": ["x"]}', b'{"pygun_py_shown": "x', b"\xff", b"[" * 5000]
)
def test_nothing_of_pygun_py_is_shown_unless_the_release_says_what(old, record):
    """A release that an older version of the collection has built does not."""
    before, after = {"pygun.py": b"workers = 2\n"}, {"pygun.py": b"workers = 3\n"}
    folder = old(**before) if record is None else old(**before, **{"release.json": record})
    assert diffs(folder, before, after, shown="workers = 3\n") == []


def test_nothing_of_pygun_py_is_shown_unless_the_caller_says_what(old):
    before, after = {"pygun.py": b"workers = 2\n"}, {"pygun.py": b"workers = 3\n"}
    folder = old(**before, **{"release.json": b'{"pygun_py_shown": "workers = 2\\n"}'})
    assert diffs(folder, before, after) == []
    [diff] = diffs(folder, before, after, shown="workers = 3\n")
    assert (diff["before"], diff["after"]) == ("workers = 2\n", "workers = 3\n")


def test_passwords_in_addresses_are_masked(old):
    before = {"src/requirements.txt": b"flask\n"}
    [diff] = diffs(
        old(**before), before, {"src/requirements.txt": b"--index-url https://me:hush@packages.example.com/\n"}
    )
    assert "hush" not in diff["after"]


def test_all_texts_together_have_a_limit(old):
    before = {f"src/{number:02}.py": b"old\n" * 3000 for number in range(30)}
    after = dict.fromkeys(before, b"new\n" * 3000)
    found = diffs(old(**before), before, after)
    assert 0 < sum(len(one["before"]) + len(one["after"]) for one in found) <= texts.TOTAL_LIMIT
    assert (
        sum(len(text or "") for text in differences.texts_of(old(), sorted(before), before).values())
        <= 2 * texts.TOTAL_LIMIT
    )
