"""`ansible-test sanity` on what users install, in a home of its own.

On the unpacked artifact: that is what must be right, and ansible-test insists on a real folder
`ansible_collections/NAMESPACE/NAME`, where a link to the checkout is none.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import textwrap
from pathlib import Path

from tools.environment import VENV, Environment
from tools.shell import CACHE, ROOT, Failed, logged, output, run

HOME = CACHE / "ansible-test"
#: As in tests/config.yml.
OLDEST_PYTHON = 9
UNPACKED = CACHE / "sanity" / "ansible_collections" / "pygun" / "stack"

# ansible-test downloads a script from a host of its own to put pip into its virtual environments. Every Python that can
# make virtual environments carries pip along already, so this takes that script's place and needs no host.
PIP_SCRIPT = textwrap.dedent(
    """\
    import subprocess
    import sys

    packages = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    """
)


def build() -> Path:
    """The artifact, from the files that git tracks or would track and nothing else that lies about."""
    tree, folder = CACHE / "tree", CACHE / "artifact"
    for old in (tree, folder):
        shutil.rmtree(old, ignore_errors=True)
    listed = output("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, tree / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    output(VENV / "bin" / "ansible-galaxy", "collection", "build", "--output-path", folder, tree)
    (built,) = folder.glob("pygun-stack-*.tar.gz")
    return built


def unpack(artifact: Path) -> None:
    """Where ansible-test wants it."""
    shutil.rmtree(UNPACKED, ignore_errors=True)
    with tarfile.open(artifact) as archive:
        archive.extractall(UNPACKED, filter="data")
    # Or ansible-test would ask the outer repository, which ignores this folder.
    run("git", "init", "--quiet", UNPACKED)


def provide_pip(ansible_test: Path) -> None:
    """Put the script where the given ansible-test looks before it downloads."""
    (source,) = ansible_test.parent.parent.glob(
        "lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py"
    )
    version = re.search(r"pip='([0-9.]+)'", source.read_text())
    if not version:
        raise Failed(f"{source} names no version of pip: look how this ansible-test makes its virtual environments.")
    script = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.group(1).replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(PIP_SCRIPT)


def sanity(environment: Environment, log: Path) -> None:
    """Run it with one version of ansible-core, on that version's own Python for what runs on the control node."""
    ansible_test = environment.ensure() / "bin" / "ansible-test"
    provide_pip(ansible_test)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "VIRTUAL_ENV"))}
    variables |= {"HOME": str(HOME), "PATH": path_of_pythons()}
    logged(log, ansible_test, "sanity", "--color", "no", cwd=UNPACKED, env=variables)


def path_of_pythons() -> str:
    """A PATH on which a python3.N that is there can be started: ansible-test tries all of them, to see that modules import there.

    pyenv's shims cannot (each refuses unless that version is chosen), so the versions behind them are linked instead: the oldest
    and the newest that a host may have, as what imports on both imports on those between. PYGUN_FULL=1 takes them all.
    """
    links = CACHE / "pythons"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir(parents=True)
    found: dict[int, Path] = {}
    for python in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3.*")):
        if match := re.fullmatch(r"python3\.(\d+)", python.name):
            found.setdefault(int(match[1]), python)
    supported = [minor for minor in sorted(found) if minor >= OLDEST_PYTHON]
    for minor in found if os.environ.get("PYGUN_FULL") else {*supported[:1], *supported[-1:]}:
        (links / f"python3.{minor}").symlink_to(found[minor])
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    usable = [folder for folder in folders if folder.parent.name != ".pyenv" and VENV not in folder.parents]
    return os.pathsep.join(map(str, [links, *(folder for folder in usable if folder.name != "shims")]))
