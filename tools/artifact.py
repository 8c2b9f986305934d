"""The collection as users get it: built, installed into an empty project, and run with ansible-core alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tools import containers, environment, sanity
from tools.shell import CACHE, ROOT, Failed, logged, output

PROJECT = CACHE / "project"


def check(log: Path) -> None:
    """A deploy by the role's FQCN from a project that holds nothing but a play, an inventory and the installed artifact."""
    core = list(environment.ansible_versions().values())[-1].ensure() / "bin"
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "artifact", PROJECT)
    host = containers.Host(name=f"{containers.prefix()}-artifact-host", network=f"{containers.prefix()}-artifact")
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "VIRTUAL_ENV", "PYTHON"))
    }
    variables["PATH"] = f"{core}{os.pathsep}{variables['PATH']}"
    (PROJECT / "inventory.json").write_text(json.dumps({"all": {"hosts": {"host": connection(host.name)}}}))
    try:
        containers.up([host])
        built = sanity.build()
        logged(
            log,
            core / "ansible-galaxy",
            "collection",
            "install",
            "--offline",
            built,
            "-p",
            "collections",
            cwd=PROJECT,
            env=variables,
        )
        logged(log, core / "ansible-playbook", "-i", "inventory.json", "deploy.yml", cwd=PROJECT, env=variables)
        ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:5000/').read().decode())"
        answer = output(containers.engine(), "exec", host.name, "python3", "-c", ask)
        if answer != "hello from the artifact":
            raise Failed(f"The service answered {answer!r}.")
    finally:
        containers.down([host.name])


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
