"""`./dev test`: every check of the repository, quick ones first, counted at the end."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tools import artifact, browser, containers, docsite, environment, sanity
from tools.shell import CACHE, ROOT, Failed, install, logged, output, say

LOGS = CACHE / "logs"

# Tests that can tell one ansible-core from another: they run its programs, load its plugins, or import it.
MEET_ANSIBLE = (
    "tests/component/activation/test_settled.py",
    "tests/component/balancer/test_haproxy.py",
    "tests/component/host",
    "tests/component/rollout",
    "tests/component/show",
    "tests/component/test_modules.py",
    "tests/component/upgrade/test_upgrade_playbook.py",
    "tests/component/validation",
    "tests/unit/balancer/test_fleet_example.py",
    "tests/unit/filter",
    "tests/unit/logs/test_log_text.py",
    "tests/unit/release/test_app_files.py",
    "tests/unit/release/test_own_settings.py",
    "tests/unit/status/test_status_table.py",
    "tests/unit/test_documents.py",
    "tests/unit/validation",
)
# They wait for real processes more than they compute. Beside other steps they leave them room.
PROCESSES = "6"
PROCESSES_IN_A_LANE = "3"
# Most steps wait more than they compute, or compute in one process: two at a time leave a part of two processors idle.
LANES = 3


@dataclass
class Tally:
    """What passed and what failed. A step is one, or as many as the tests that it counted itself."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, name: str, action: Callable[[Path], tuple[int, int, int] | None]) -> None:
        """Run one step with its output in a log; show the log's end when it fails. The others run all the same."""
        log = LOGS / f"{re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        say(name)
        started = time.monotonic()
        try:
            counted = action(log)
            error = ""
        except Failed as failure:
            counted, error = None, str(failure)
        passed, failed, skipped = counted or ((0, 1, 0) if error else (1, 0, 0))
        seconds = time.monotonic() - started
        with self.lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped
            self.seconds[name] = seconds
            if failed:
                self.failures.append((name, failed_tests(log)))
                print("\n".join(log.read_text(errors="replace").splitlines()[-120:]))
                print(error)
            counts = f"{passed} passed, {failed} failed, {skipped} skipped: " if counted else ""
            print(f"    {'FAILED' if failed else 'ok'}  {name}: {counts}{seconds:.0f} s", flush=True)

    def end(self) -> int:
        if len(self.seconds) > 1:
            print("\nSeconds, the longest first:")
            for name, seconds in sorted(self.seconds.items(), key=lambda step: -step[1]):
                print(f"  {seconds:6.0f}  {name}")
        if self.failures:
            print(f"\nFailed (logs are in {LOGS.relative_to(ROOT)}/):")
            for name, tests in self.failures:
                print("\n    ".join([f"  {name}", *tests]))
        print(
            f"\n{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else ""),
            flush=True,
        )
        return 1 if self.failed or not self.passed else 0


def failed_tests(log: Path) -> list[str]:
    """What pytest's summary in a log names, wherever in another program's output it stands; the first of many."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    return re.findall(r"^\s*((?:FAILED|ERROR) \S+\.py(?:::.*)?)$", text, re.MULTILINE)[:20]


# --- the groups that have a command of their own ----------------------------------------------------------------


def lint(tally: Tally) -> None:
    programs = {
        "ansible-lint": ["ansible-lint", "--profile", "production", "--offline", "-q"],
        "ruff check": ["ruff", "check", "--quiet"],
        "ruff format": ["ruff", "format", "--check"],
        "yamllint": ["yamllint", "--strict", "."],
        "antsibull-changelog lint": ["antsibull-changelog", "lint"],
    }
    actions = {name: lambda log, command=command: logged(log, *command) for name, command in programs.items()}
    actions |= {"galaxy-importer": import_artifact, "documentation site": docsite.build}
    with ThreadPoolExecutor(LANES) as lanes:
        for step in [lanes.submit(tally.step, name, action) for name, action in actions.items()]:
            step.result()


def ansible_versions() -> list[tuple[str, environment.Environment]]:
    """The oldest and the newest ansible-core: what passes on both passes on those between. PYGUN_FULL=1 takes them all."""
    found = list(environment.ansible_versions().items())
    return found if os.environ.get("PYGUN_FULL") else found[:1] + found[1:][-1:]


def unit(tally: Tally) -> None:
    unit_first(tally)
    unit_others(tally)


def unit_first(tally: Tally) -> None:
    """All of them on the first ansible-core."""
    version, versioned = ansible_versions()[0]
    tally.step(f"unit tests, ansible-core {version}", lambda log: pytest(log, versioned, version, PROCESSES))


def unit_others(tally: Tally) -> None:
    """On the other versions those that can tell one from another."""
    tests = () if os.environ.get("PYGUN_FULL") else MEET_ANSIBLE
    for version, versioned in ansible_versions()[1:]:
        tally.step(
            f"unit tests, ansible-core {version}",
            lambda log, versioned=versioned, version=version: pytest(
                log, versioned, version, PROCESSES_IN_A_LANE, tests
            ),
        )


def sanity_checks(tally: Tally) -> None:
    """On the newest ansible-core, which knows the most; on all with PYGUN_FULL=1."""
    sanity.unpack(sanity.build())
    versions = ansible_versions()
    for version, versioned in versions if os.environ.get("PYGUN_FULL") else versions[-1:]:
        tally.step(f"sanity, ansible-core {version}", lambda log, versioned=versioned: sanity.sanity(versioned, log))


def demo(tally: Tally) -> None:
    tally.step("the artifact in an empty project, with ansible-core alone", artifact.check)
    tally.step("the upgrade from the last release", artifact.check_upgrade)
    tally.step("the demo, twice, and its end", run_demo)


def benchmarks(tally: Tally) -> None:
    """Whether they work; what they measure here is worth nothing."""
    tally.step("the benchmarks, quick", lambda log: logged(log, ROOT / "dev", "bench", "--quick"))


def scenarios() -> list[str]:
    """Those that `test` runs, the default one first: it leaves the snapshot that others start from."""
    names = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    return sorted(names, key=lambda name: name != "default")


# The longest ones begin, so that the lanes end together.
LONGEST = ("lossless", "whole", "doctor", "offline", "many")


def starts_from_snapshot(scenario: str) -> bool:
    """Whether its hosts are copies of those that the default scenario saves."""
    return "container_snapshot" in (ROOT / "molecule" / "inventories" / f"{scenario}.yml").read_text()


def in_lanes(tally: Tally) -> None:
    """The scenarios, and beside them what uses the artifact and what waits: the benchmarks, whose figures are worth nothing here.

    All that uses the artifact is one step of a lane, as each builds it in the same folder. So is the default scenario with
    those that start from its snapshot.
    """
    first, *others = scenarios()
    copies = list(filter(starts_from_snapshot, others))
    others = [name for name in others if name not in copies]
    others.sort(key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))

    def run(*names: str) -> None:
        for name in names:
            tally.step(f"molecule {name}", lambda log, name=name: run_scenario(log, name))

    def use_artifact() -> None:
        for checks in (unit_others, sanity_checks, demo):
            checks(tally)

    with ThreadPoolExecutor(LANES) as lanes:
        steps = [lanes.submit(run, first, *copies), lanes.submit(use_artifact)]
        steps += [lanes.submit(run, name) for name in others[: len(LONGEST)]]
        steps.append(lanes.submit(benchmarks, tally))
        steps += [lanes.submit(run, name) for name in others[len(LONGEST) :]]
        for step in steps:
            step.result()


# --- single steps -----------------------------------------------------------------------------------------------


def pytest(
    log: Path, versioned: environment.Environment, version: str, processes: str, tests: tuple[str, ...] = ()
) -> tuple[int, int, int]:
    """Tests with one ansible-core; all of them if none is named.

    A process that has none left takes half of what another one still has: neighbours stay together, and with them what they share.
    """
    folder = versioned.ensure()
    report = LOGS / f"unit-{version}.xml"
    report.unlink(missing_ok=True)
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        "VIRTUAL_ENV": str(folder),
    }
    try:
        logged(
            log, folder / "bin" / "python", "-m", "pytest", "-q", "-n", processes, "--dist", "worksteal", f"--junitxml={report}",
            *tests, env=variables,
        )  # fmt: skip
    except Failed:
        if not report.exists():
            raise
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  (written by pytest a moment ago)
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    if not total:
        raise Failed("pytest found no test.")
    return total - failed - skipped, failed, skipped


def import_artifact(log: Path) -> None:
    """Galaxy's own checks. ansible-lint and ansible-test have steps of their own here."""
    built = sanity.build()
    config = CACHE / "galaxy-importer.cfg"
    config.write_text("[galaxy-importer]\nRUN_ANSIBLE_TEST = False\nRUN_ANSIBLE_LINT = False\n")
    variables = {**os.environ, "GALAXY_IMPORTER_CONFIG": str(config)}
    logged(log, "python", "-m", "galaxy_importer.main", built, env=variables, cwd=built.parent)
    # It tells of what it does not take in its text alone.
    text = log.read_text()
    if "Importer processing completed successfully" not in text or re.search(r"^(ERROR|CRITICAL)", text, re.MULTILINE):
        raise Failed("galaxy-importer does not take the collection.")


def run_demo(log: Path) -> None:
    """The first command as a person gives it, under another name than the demo that may be running."""
    before = output("git", "status", "--porcelain", cwd=ROOT)
    variables = {**os.environ, "PYGUN_PREFIX": f"{containers.prefix()}-test"}
    try:
        logged(log, ROOT / "dev", "demo", env=variables)
        first = log.stat().st_size
        logged(log, ROOT / "dev", "demo", env=variables)
        second = log.read_bytes()[first:].decode()
        if (
            not re.search(r"^demo .* changed=0 .* failed=0 ", second, re.MULTILINE)
            or "GET http://127.0.0.1:" not in second
        ):
            raise Failed("The second demo changed something, or showed no answer.")
    finally:
        logged(log, ROOT / "dev", "demo-down", env=variables)
    if containers.inspect(f"{containers.prefix()}-test-demo"):
        raise Failed("demo-down left the container.")
    after = output("git", "status", "--porcelain", cwd=ROOT)
    if after != before:
        raise Failed(f"`git status` was\n{before}\nand is now\n{after}")


def ensure_haproxy() -> None:
    """Without it, what the role load_balancer promises is shown by nobody: those tests are skipped."""
    if not shutil.which("haproxy"):
        install(["haproxy"], "the configuration of the role load_balancer is tried under load")


# What the unit tests in `test`, or a scenario, need on the machine that runs them, beside a container engine.
NEEDS = {"unit": ensure_haproxy, "many": browser.ensure}


def have_needs(name: str) -> None:
    """Install what a group of tests or a scenario needs and this machine lacks."""
    if name in NEEDS:
        NEEDS[name]()


def run_scenario(log: Path, name: str) -> None:
    """One scenario. A playbook that is missing passes with Molecule; not here."""
    have_needs(name)
    logged(log, "molecule", "test", "--no-command-borders", "--scenario-name", name)
    if not re.search(r"missing=0", re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))):
        raise Failed("Molecule passed over a playbook that is not there.")
