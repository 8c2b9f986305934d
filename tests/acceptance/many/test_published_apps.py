# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flask applications of others, as their makers publish them, are deployed from variables alone: published_apps.yml.

PYGUN_FULL=1 only: they are downloaded from the package index, and a deploy of each takes minutes. One of them alone:

    PYGUN_FULL=1 ./dev run pytest tests/acceptance/many -k isso
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from site_of_many import Run, Site

APPS = yaml.safe_load(Path(__file__).with_name("published_apps.yml").read_text())
#: The first app's; each of the others has the next one.
PORT = 6000
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode(errors="replace"))
"""


def source_of(package: str, folder: Path) -> Path:
    """What the makers of an app publish: a commit of their repository, or a source distribution."""
    name, _, place = package.partition(" @ git+")
    return cloned(*place.rsplit("@", 1), folder) if place else unpacked(name, folder)


def cloned(repository: str, commit: str, folder: Path) -> Path:
    source = folder / "source"
    done = subprocess.run(
        ["git", "clone", "--quiet", "--no-checkout", repository, source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{repository} cannot be cloned: {done.stderr}")
    subprocess.run(["git", "-C", source, "checkout", "--quiet", commit], check=True)
    return source


def unpacked(package: str, folder: Path) -> Path:
    """The source distribution of a package. It is taken as it is: pip would run its build, here and as this user."""
    name, _, version = package.partition("==")
    page = urllib.request.Request(f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    try:
        with urllib.request.urlopen(page, timeout=60) as answer:
            files, base = json.load(answer)["files"], answer.url
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            raise
        pytest.skip(f"The package index cannot be reached, and {package} comes from there: {error}")
    (file,) = (file for file in files if re.fullmatch(rf"[\w.-]+-{re.escape(version)}\.tar\.gz", file["filename"]))
    with urllib.request.urlopen(urllib.parse.urljoin(base, file["url"]), timeout=300) as answer:
        content = answer.read()
    assert hashlib.sha256(content).hexdigest() == file["hashes"]["sha256"]
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        opened.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


class Published:
    """One of the apps, on the host."""

    def __init__(self, site: Site, facts: dict[str, Any], source: Path) -> None:
        self.site = site
        self.facts = facts
        self.name = facts["vars"]["flask_app_name"]
        self.port = PORT + APPS.index(facts)
        given: dict[str, Any] = {
            "flask_app_src": f"{source}/",
            "flask_app_bind": f"127.0.0.1:{self.port}",
            "flask_app_boot_timeout": 300,
        }
        for name, text in facts.get("files", {}).items():
            file = source.parent / name
            file.write_text(text)
            given.setdefault("flask_app_files", []).append({"path": name, "src": str(file)})
        self.variables: dict[str, Any] = {**given, **facts["vars"]}

    def run(self, playbook: str, **variables: Any) -> Run:
        """Run a playbook with the app's variables; those that are None here are left out."""
        given = {name: value for name, value in {**self.variables, **variables}.items() if value is not None}
        return self.site.playbook(f"playbooks/{playbook}.yml", given, timeout=1200)

    def release(self) -> str:
        return self.site.run("readlink", f"/srv/{self.name}/current").strip().rpartition("/")[2]

    def assert_serves(self) -> None:
        for path, words in self.facts["answers"].items():
            said = self.site.run("python3", "-c", ASK, f"http://127.0.0.1:{self.port}{path}")
            assert words in said, f"{path} of {self.name}: {said[:2000]}"


@pytest.mark.full
@pytest.mark.parametrize("facts", APPS, ids=[re.split(" @|==", facts["package"])[0] for facts in APPS])
def test_a_published_app(site: Site, facts: dict[str, Any], tmp_path: Path) -> None:
    source = source_of(facts["package"], tmp_path)
    app = Published(site, facts, source)
    try:
        for attempt in facts.get("refusals", []):
            refused = app.run("deploy", **attempt["vars"])
            assert not refused.ok
            assert all(" ".join(text.split()) in refused.message for text in attempt["says"]), refused.text
        first = app.run("deploy")
        assert first.ok, first.text
        app.assert_serves()
        again = app.run("deploy")
        assert again.ok and again.changed == 0, again.text
        former = app.release()
        with (source / facts["edit"]).open("a") as stream:
            stream.write("\n# One line more.\n")
        changed = app.run("deploy")
        assert changed.ok and app.release() != former, changed.text
        app.assert_serves()
        back = app.run("rollback", flask_app_across_release_command=True)
        assert back.ok and app.release() == former, back.text
        app.assert_serves()
    finally:
        gone = app.run("uninstall", uninstall_data=True)
    assert gone.ok and app.name not in site.run("ls", "/srv").split(), gone.text
