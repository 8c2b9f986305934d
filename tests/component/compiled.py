"""The runtime with its bytecode, as the build of a release leaves it: each start of an instance would compile it anew."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
