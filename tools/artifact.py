"""The collection as users get it: built, installed into an empty project, and run with ansible-core alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tools import containers, environment, sanity
from tools.shell import CACHE, ROOT, Failed, logged, output, run, say

PROJECT = CACHE / "project"
ADDRESS = "http://127.0.0.1:5000/"
ANSWER = "hello from the artifact"

# Asks again and again until its standard input ends; then says how often, and what was wrong the first times.
CALLER = """
import sys, threading, urllib.request
address, answer = sys.argv[1:]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
asked, wrong = 0, []
while True:
    asked += 1
    try:
        said = urllib.request.urlopen(address, timeout=60).read().decode().strip()
    except OSError as error:
        said = repr(error)
    if said != answer:
        wrong.append(said)
    if ended.wait(0.05):
        break
print(asked, len(wrong), *wrong[:3])
"""


class Project:
    """An empty project with a play, an inventory of one container host, and the artifact that is installed last."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.core = list(environment.ansible_versions().values())[-1].ensure() / "bin"
        self.host = containers.Host(
            name=f"{containers.prefix()}-artifact-host", network=f"{containers.prefix()}-artifact"
        )
        shutil.rmtree(PROJECT, ignore_errors=True)
        shutil.copytree(ROOT / "tests" / "artifact", PROJECT)
        (PROJECT / "inventory.json").write_text(json.dumps({"all": {"hosts": {"host": connection(self.host.name)}}}))
        self.variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "VIRTUAL_ENV", "PYTHON"))
        }
        self.variables["PATH"] = f"{self.core}{os.pathsep}{self.variables['PATH']}"

    def install(self, artifact: Path) -> None:
        self._run("ansible-galaxy", "collection", "install", "--offline", "--force", artifact, "-p", "collections")

    def play(self, playbook: str, *options: str) -> str:
        """Run a playbook; its output."""
        before = self.log.stat().st_size
        self._run("ansible-playbook", "-i", "inventory.json", playbook, *options)
        return self.log.read_bytes()[before:].decode()

    def _run(self, program: str, *arguments: str | Path) -> None:
        logged(self.log, self.core / program, *arguments, cwd=PROJECT, env=self.variables)

    def release(self) -> str:
        """The release that serves."""
        return output(containers.engine(), "exec", self.host.name, "readlink", "/srv/hello/current")

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Somebody asks the service all the time, and must get the right answer each time."""
        caller = subprocess.Popen(
            [containers.engine(), "exec", "-i", self.host.name, "python3", "-c", CALLER, ADDRESS, ANSWER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield
            said, _nothing = caller.communicate(timeout=120)
        finally:
            caller.kill()
            caller.wait()
        asked, wrong, *_first = said.split(maxsplit=2)
        with self.log.open("a") as lines:
            lines.write(f"{asked} requests, of which failed: {wrong}\n")
        if int(wrong) or not int(asked):
            raise Failed(f"Of {asked} requests {wrong} failed: {said}")


@contextlib.contextmanager
def started(log: Path) -> Iterator[Project]:
    """A project whose host runs."""
    project = Project(log)
    try:
        containers.up([project.host])
        yield project
    finally:
        containers.down([project.host.name])


def check(log: Path) -> None:
    """A deploy by the role's FQCN from a project that holds nothing but a play, an inventory and the installed artifact."""
    with started(log) as project:
        project.install(sanity.build())
        project.play("deploy.yml")
        with project.answering():
            pass


def check_upgrade(log: Path) -> tuple[int, int, int] | None:
    """From the last release to this tree, on one host, while somebody asks; then back to what the old one had built."""
    commit = last_release()
    if not commit:
        say(
            "Skipped: the history of this clone does not reach back to the commit that set the version before in galaxy.yml."
            " `git fetch --unshallow` brings it."
        )
        return 0, 0, 1
    # What holds the socket then outlives supervisord: a new version of it, and of what the role writes, may lose nothing.
    options = ["-e", "flask_app_socket=systemd"]
    with started(log) as project:
        # A collection's own playbook is looked for here, and not in the project.
        project.variables["ANSIBLE_COLLECTIONS_PATH"] = str(PROJECT / "collections")
        project.install(released(commit))
        project.play("deploy.yml", *options)
        old = project.release()
        project.install(sanity.build())
        with project.answering():
            project.play("deploy.yml", *options)
            again = project.play("deploy.yml", *options)
            new = project.release()
            if new != old:
                project.play("pygun.stack.rollback", "-e", "flask_app_hosts=all", "-e", "flask_app_name=hello")
                if project.release() != old:
                    raise Failed(f"The rollback led to {project.release()}, not to {old} of {commit}.")
        if not re.search(r"^host .* changed=0 .* failed=0 ", again, re.MULTILINE):
            raise Failed("The second deploy after the upgrade changed something.")
    return None


def last_release(repository: Path = ROOT) -> str | None:
    """The commit that set the version before the present one in galaxy.yml; None if the history does not reach so far."""
    present = version_in((repository / "galaxy.yml").read_text())
    try:
        commits = output("git", "log", "--format=%H", "-G^version:", "--", "galaxy.yml", cwd=repository).split()
        versions = {
            commit: version_in(output("git", "show", f"{commit}:galaxy.yml", cwd=repository)) for commit in commits
        }
    except Failed:  # an archive, without git
        return None
    return next((commit for commit, version in versions.items() if version != present), None)


def version_in(galaxy: str) -> str:
    """The collection's version, which galaxy.yml says."""
    return re.search(r"^version: *(\S+)", galaxy, re.MULTILINE)[1]


def released(commit: str) -> Path:
    """The artifact of a commit, built as it was then."""
    tree, folder = CACHE / "released-tree", CACHE / "released"
    for old in (tree, folder):
        shutil.rmtree(old, ignore_errors=True)
    tree.mkdir()
    folder.mkdir()
    archive = folder / "source.tar"
    run("git", "archive", "--output", archive, commit, cwd=ROOT)
    with tarfile.open(archive) as source:
        source.extractall(tree, filter="data")
    output(environment.VENV / "bin" / "ansible-galaxy", "collection", "build", "--output-path", folder, tree)
    (built,) = folder.glob("pygun-stack-*.tar.gz")
    return built


def connection(name: str) -> dict[str, str]:
    """What an inventory says of a container host."""
    pexec = PROJECT / "pexec"
    shutil.copy(ROOT / "molecule" / "shared" / "pexec", pexec)
    return {
        "ansible_host": name,
        "ansible_user": "root",
        "ansible_ssh_executable": str(pexec),
        "ansible_ssh_args": "",
        "ansible_ssh_transfer_method": "piped",
        "python_ca_bundle": os.environ["PYGUN_CONTAINER_CA_BUNDLE"],
        "python_index_url": os.environ.get("PIP_INDEX_URL", ""),
    }
