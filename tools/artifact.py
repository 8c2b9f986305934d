"""The collection as users get it: built, installed into an empty project, and run with ansible-core alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools import containers, environment, sanity
from tools.shell import CACHE, ROOT, Failed, logged, output, run, say

PROJECT = CACHE / "project"

HELLO = ("--path", "/", "--contains", "hello from the artifact", "--slow", "0", "--stream", "0", "--upload", "0")

WARM_UP = 3  # seconds of load before and after a change
PATIENCE = 60  # seconds that a caller waits for an answer beyond its planned time, as by default nginx does
LOAD = "/var/lib/pygun-load"  # the load client on the host


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

    def release(self, name: str) -> str:
        """Return the release of an app that serves."""
        return Path(self._on_host("readlink", f"/srv/{name}/current")).name

    @contextlib.contextmanager
    def load(self, *options: str) -> Iterator[None]:
        """Send requests of all kinds to the service, without a pause; fail if one of them is lost."""
        self._on_host("sh", "-c", f"rm -rf {LOAD}; mkdir -p {LOAD}")
        for file in sorted((ROOT / "tests" / "load").glob("*.py")):
            run(containers.engine(), "cp", file, f"{self.host.name}:{LOAD}/{file.name}")
        client = subprocess.Popen(
            [
                *self._exec, "python3", f"{LOAD}/client.py", "run", "127.0.0.1:5000", "--stop-file", f"{LOAD}/stop",
                "--out", f"{LOAD}/result.json", "--marks", f"{LOAD}/marks", "--timeout", str(PATIENCE), *options,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            self._on_host("touch", f"{LOAD}/marks")
            time.sleep(WARM_UP)
            yield
            time.sleep(WARM_UP)
            self._on_host("touch", f"{LOAD}/stop")
            said, _nothing = client.communicate(timeout=120)
        finally:
            client.kill()
            client.wait()
        if client.returncode not in (0, 1):
            raise Failed(f"The load client ended with {client.returncode}: {said}")
        self._judge(json.loads(self._on_host("cat", f"{LOAD}/result.json")))

    @contextlib.contextmanager
    def roll(self, label: str) -> Iterator[None]:
        """Count the requests that touch this time separately."""
        mark = ("python3", f"{LOAD}/client.py", "mark", f"{LOAD}/marks")
        self._on_host(*mark, "begin", label)
        yield
        self._on_host(*mark, "end")

    def _judge(self, result: dict) -> None:
        delays = [counts["all"]["delay_ms"] for counts in result["kinds"].values()]
        with self.log.open("a") as lines:
            for each in [*result["rolls"], {**result["totals"], "label": "in all"}]:
                lines.write(f"{each['label']}: {each['sent']} requests, of which failed: {each['failed']}\n")
            lines.write(f"longest wait: {max((delay['max'] for delay in delays if delay), default=0) / 1000:.1f} s\n")
        if result["totals"]["failed"] or not result["totals"]["ok"]:
            errors = {kind: counts["errors"] for kind, counts in result["kinds"].items() if counts["errors"]}
            raise Failed(f"Of {result['totals']['sent']} requests {result['totals']['failed']} failed: {errors}")

    @property
    def _exec(self) -> list[str]:
        return [containers.engine(), "exec", "-i", self.host.name]

    def _on_host(self, *command: str) -> str:
        return output(*self._exec, *command)


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
        with project.load(*HELLO):
            pass


def check_upgrade(log: Path) -> tuple[int, int, int] | None:
    """Deploy with the last release, then with this tree, roll back to what the old one built, and forward again, all under load."""
    commit = os.environ.get("PYGUN_UPGRADE_FROM") or last_release()
    if not commit:
        say(
            "Skipped: the history of this clone does not reach back to the commit that set the version before in galaxy.yml."
            " `git fetch --unshallow` brings it."
        )
        return 0, 0, 1
    # supervisord restarts if its unit or its launcher has changed. That closes a socket of its own, as documented; systemd's stays open.
    options = ["-e", "flask_app_socket=systemd"]
    rollback = ["pygun.stack.rollback", "-e", "flask_app_hosts=all", "-e", "flask_app_name=scoring"]
    with started(log) as project:
        # A collection's own playbook is looked for here, and not in the project.
        project.variables["ANSIBLE_COLLECTIONS_PATH"] = str(PROJECT / "collections")
        shutil.copytree(ROOT / "app", PROJECT / "scoring", ignore=shutil.ignore_patterns("__pycache__", ".*"))
        project.install(released(commit))
        project.play("upgrade.yml", *options)
        old = project.release("scoring")
        project.install(sanity.build())
        with project.load():
            with project.roll(f"deploy over {commit[:9]}"):
                project.play("upgrade.yml", *options)
            new = project.release("scoring")
            if new == old:
                raise Failed(f"The upgrade built no release: {old} of {commit} still serves.")
            with project.roll("deploy again"):
                again = project.play("upgrade.yml", *options)
            forward = [*rollback, "-e", f"flask_app_release={new}"]
            ways = ((f"rollback to {commit[:9]}", rollback, old), ("way forward again", forward, new))
            for label, way, wanted in ways:
                with project.roll(label):
                    project.play(*way)
                if project.release("scoring") != wanted:
                    raise Failed(f"The {label} led to {project.release('scoring')}, not to {wanted}.")
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
