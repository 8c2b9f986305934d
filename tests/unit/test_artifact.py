# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which commit the upgrade test takes for the last release."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.artifact import last_release


class Repository:
    """A git repository with a galaxy.yml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main", str(folder), inside=False)

    def git(self, *arguments: str, inside: bool = True) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        place = ("-C", str(self.folder)) if inside else ()
        done = subprocess.run(["git", *place, *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, version: str, description: str = "") -> str:
        (self.folder / "galaxy.yml").write_text(f"name: stack\nversion: {version}\ndescription: {description}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", version)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_the_last_release_is_the_commit_that_set_the_version_before(repository: Repository) -> None:
    repository.commit("0.1.0")
    before = repository.commit("0.9.0")
    repository.commit("0.9.0", "changed after the release")
    repository.commit("1.0.0", "changed after the release")
    assert last_release(repository.folder) == before
    repository.commit("1.0.0", "changed after that release too")
    assert last_release(repository.folder) == before


def test_a_version_that_a_merge_brings_counts_as_well(repository: Repository) -> None:
    before = repository.commit("0.9.0")
    repository.git("switch", "--quiet", "--create", "release")
    repository.commit("1.0.0")
    repository.git("switch", "--quiet", "main")
    repository.git("commit", "--quiet", "--allow-empty", "--message", "meanwhile")
    repository.git("merge", "--quiet", "--no-edit", "release")
    assert last_release(repository.folder) == before


def test_a_history_that_does_not_reach_so_far_has_no_last_release(repository: Repository, tmp_path: Path) -> None:
    repository.commit("0.9.0")
    repository.commit("1.0.0")
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.folder}", str(shallow), inside=False)
    assert last_release(shallow) is None
    assert last_release(repository.folder)


def test_files_without_git_have_no_last_release(tmp_path: Path) -> None:
    (tmp_path / "galaxy.yml").write_text("version: 1.0.0\n")
    assert last_release(tmp_path) is None
