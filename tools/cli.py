"""The commands of `./dev`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time

from benchmarks.bench import PARTS
from benchmarks.bench import bench as run_benchmarks
from tools import checks, containers, demo, docsite, environment
from tools.shell import CACHE, ROOT, Failed, become_root, give_back, prepare_path, run

# What sudo must not drop.
KEPT = (
    "CI", "CONTAINER_ENGINE", "CONTAINERS_CONF", "PYGUN_PREFIX", "PYGUN_FULL", "PYGUN_SUITE", "PYGUN_SCREENSHOT", "PYGUN_DEBIAN_MIRROR", "PYGUN_PULL_TIMEOUT",
    "PIP_INDEX_URL", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "LANG",
)  # fmt: skip


def main() -> int:
    prepare_path()
    arguments = parser().parse_args()
    started = time.monotonic()
    try:
        if arguments.containers:
            if containers.needs_root():
                become_root(KEPT)
            offer_host_settings()
        environment.ensure()
        if arguments.containers:
            containers.engine()
        return arguments.action(arguments, started) or 0
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.containers:
            give_back()


def offer_host_settings() -> None:
    """What an inventory reads to give the machine's own CA bundle to the container hosts."""
    os.environ.setdefault("PYGUN_PREFIX", containers.prefix())
    os.environ["PYGUN_CONTAINER_CA_BUNDLE"] = containers.CA_BUNDLE if environment.host_ca_bundle() else ""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="./dev", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name, action, help_text, needs_containers=False):
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(action=action, containers=needs_containers)
        return added

    command("env", lambda *_: None, "make the development environment in .cache/venv")
    anything = command("run", run_anything, "run a program in the environment: ./dev run ansible-playbook ...")
    anything.add_argument("program", nargs=argparse.REMAINDER)
    command(
        "demo",
        lambda _, started: demo.demo(started),
        "the sample service in a container: start it, deploy, ask it",
        True,
    )
    command("demo-down", lambda *_: demo.demo_down(), "remove what demo made", True)
    command("test", test, "everything: lint, unit tests, sanity, demo, all Molecule scenarios", True)
    command("test-full", test_full, "the same with the long variants of the scenarios", True)
    command("lint", group(checks.lint), "ruff, yamllint, ansible-lint, changelog, galaxy-importer, documentation site")
    command(
        "unit",
        group(checks.unit),
        "unit tests on the oldest and the newest ansible-core that the machine's Pythons can run; PYGUN_FULL=1: on all",
    )
    command("sanity", group(checks.sanity_checks), "ansible-test sanity on the newest; PYGUN_FULL=1: on all")
    command("docs", docs, "write what is written from other files: READMEs of the roles, tables, troubleshooting page")
    command("docs-site", docs_site, "build the documentation site in .cache/docs-site/html")
    command("lock", lambda *_: environment.lock(), "resolve requirements/*.in into the locks")
    command("clean", clean, "remove .cache, and this checkout's containers, networks and images", True)
    scenario = command("molecule", molecule, "run one Molecule scenario, or another Molecule command on it", True)
    scenario.add_argument("scenario")
    scenario.add_argument("step", nargs=argparse.REMAINDER, help="a Molecule command and its options (default: test)")
    measured = command(
        "bench", bench, "measure serving, logging, deploying, changing and a model; tables go to docs/", True
    )
    measured.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: all)")
    size = measured.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="see only that each benchmark works, in under 3 minutes")
    size.add_argument(
        "--headline", action="store_true", help="measure only what the table of the README needs, in about 5 minutes"
    )
    size.add_argument("--full", action="store_true", help="every combination, more rounds, more hosts: hours")
    hosts = command("hosts", manage_hosts, "start, restart, save or remove container hosts (Molecule calls it)", True)
    hosts.add_argument("what", choices=["up", "keep", "restart", "down", "save", "image"])
    hosts.add_argument(
        "values", nargs="*", help="up, keep: hosts as JSON; restart, down: names; save: NAME SNAPSHOT; image: suites"
    )
    return top


def run_anything(arguments: argparse.Namespace, _) -> int:
    if not arguments.program:
        raise Failed("Which program? For example: ./dev run ansible-playbook --version")
    containers.remember_engine()
    offer_host_settings()
    os.execvp(arguments.program[0], arguments.program)


def group(checks_of_group):
    """A command that runs one group of the checks."""

    def action(*_) -> int:
        tally = checks.Tally()
        checks_of_group(tally)
        return tally.end()

    return action


def test(*_) -> int:
    checks.have_needs("unit")
    tally = checks.Tally()
    for run_checks in (checks.lint, checks.unit_first, checks.in_lanes):
        run_checks(tally)
    return tally.end()


def test_full(*_) -> int:
    os.environ["PYGUN_FULL"] = "1"
    return test()


def bench(arguments: argparse.Namespace, _) -> int:
    modes = [mode for mode in ("quick", "headline", "full") if getattr(arguments, mode)]
    return run_benchmarks(arguments.parts, *modes or ["short"])


def docs(*_) -> None:
    run(environment.VENV / "bin" / "python", "-m", "tools.documents", cwd=ROOT)


def docs_site(*_) -> int:
    code = group(lambda tally: tally.step("documentation site", docsite.build))()
    if code == 0:
        print(docsite.SITE / "html" / "index.html")
    return code


def clean(*_) -> None:
    containers.remove_everything()
    shutil.rmtree(CACHE)


def molecule(arguments: argparse.Namespace, _) -> None:
    step, *options = arguments.step or ["test"]
    checks.have_needs(arguments.scenario)
    run("molecule", step, "--no-command-borders", "--scenario-name", arguments.scenario, *options, cwd=ROOT)


def manage_hosts(arguments: argparse.Namespace, _) -> None:
    values = arguments.values
    if arguments.what in ("up", "keep"):
        wanted = [containers.Host.from_dict(host) for value in values for host in json.loads(value)]
        containers.up(wanted, keep=arguments.what == "keep")
    elif arguments.what == "restart":
        containers.restart(values)
    elif arguments.what == "down":
        containers.down(values)
    elif arguments.what == "save":
        containers.save(*values)
    else:
        print("\n".join(containers.image(suite) for suite in values))
