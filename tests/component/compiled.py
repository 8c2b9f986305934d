"""Bytecode, so that processes do not compile everything anew: the runtime has it as the build of a release leaves it."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: In the environment of a module that a test runs: it keeps its bytecode where pytest does (tests/conftest.py).
KEEP_BYTECODE = {"PYTHONPYCACHEPREFIX": sys.pycache_prefix or "", "PYTHONDONTWRITEBYTECODE": ""}
FILES = Path(__file__).parents[2] / "roles" / "flask_app" / "files"


@functools.cache
def runtime_folder():
    """A folder with `pygun_runtime` in it, for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="pygun-runtime-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    shutil.copytree(
        FILES / "pygun_runtime", folder / "pygun_runtime", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
    return folder
