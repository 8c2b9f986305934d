"""A Python program of the release says in its log what an instance would, in the same format; others print as they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[3] / "roles" / "flask_app" / "files" / "pygun_runtime"
PYGUN = """
import pygun_runtime
runtime = pygun_runtime.Runtime(__file__, app="shop", log_format={0!r}, log_redact=["TOKEN"])
loglevel = "info"
raise SystemExit("this file takes the sockets of an instance")
"""
WORK = """
import logging, os, sys, threading
import handy
log = logging.getLogger("work")
log.info("at work as %s with %s", __name__, sys.argv[1:], extra={"order": 7})
print("printed", os.environ["TOKEN"])
try:
    {}["missing"]
except KeyError:
    log.exception("failed")
handler = logging.StreamHandler(sys.__stderr__)
handler.setFormatter(type("ColorFormatter", (logging.Formatter,), {"__module__": "celery.utils.log"})("[%(asctime)s] %(message)s"))
log.propagate = False
log.addHandler(handler)
log.warning("a handler of its own")
assert "ssl" not in sys.modules and "gunicorn" not in sys.modules and "gevent" not in sys.modules
assert [path for path in sys.path if "pygun" in path] == []
os.write(1, b"native\\n")
threading.Thread(target=lambda: print("late in", os.path.basename(sys.modules["__main__"].__file__))).start()
sys.exit(3)
"""


class Release:
    """A release with a program in it, as far as `run.py` needs one."""

    def __init__(self, folder):
        self.folder = folder / "srv" / "releases" / "0123"
        self.run_dir = str(folder / "run")
        (folder / "run").mkdir()
        (self.folder / "venv" / "bin").mkdir(parents=True)
        (self.folder / "src").mkdir()
        (self.folder / "venv" / "bin" / "python").symlink_to(sys.executable)
        shutil.copytree(RUNTIME, self.folder / "lib" / "pygun_runtime", ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "release.json").write_text(json.dumps({"service": {"run_dir": self.run_dir}}))
        (self.folder / "src" / "handy.py").touch()
        self.pygun("json")
        self.write("src/work.py", WORK)

    def pygun(self, log_format):
        (self.folder / "pygun.py").write_text(PYGUN.format(log_format))

    def write(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run(self, *command, name="shop.worker"):
        """The lines of the program, as supervisor would start it, and its exit status."""
        supervised = {"SUPERVISOR_PROCESS_NAME": name, "PYGUN_RUN_DIR": self.run_dir} if name else {}
        record = (
            'echo "{\\"pid\\": $$}" > "$PYGUN_RUN_DIR/$SUPERVISOR_PROCESS_NAME.json"; ' if name else ""
        )  # as launch.py
        done = subprocess.run(
            ["sh", "-c", f'{record}exec "$@"', "sh", sys.executable, "-IS", str(self.folder / "lib" / "pygun_runtime" / "run.py"), *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
            env={"PATH": os.environ["PATH"], "TOKEN": "only-for-this-test", **supervised},
        )  # fmt: skip
        return done.stdout.splitlines(), done.returncode


@pytest.fixture
def release(tmp_path):
    return Release(tmp_path)


#: The second is how uv writes a script whose interpreter has a long path.
SCRIPTS = ["#!{python}\n", "#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n"]


@pytest.mark.parametrize("command", ["python work.py", "python -u work.py", "python -m work", "uv-made", "pip-made"])
def test_what_a_python_program_logs_and_prints_has_the_fields_of_the_apps_log(release, command):
    python = release.folder / "venv" / "bin" / "python"
    for name, head in zip(("pip-made", "uv-made"), SCRIPTS, strict=True):
        release.write(
            f"venv/bin/{name}",
            head.format(python=python) + f"import sys; sys.path.insert(0, {str(release.folder / 'src')!r})\n" + WORK,
        )
    lines, status = release.run(*command.split(), "one", "two words")
    assert status == 3, lines
    assert lines.count("native") == 1
    found = [json.loads(line) for line in lines if line != "native"]
    messages = [line["message"] for line in found]
    ends_in = command.split()[-1].removesuffix(".py")
    ends_in += "" if ends_in.endswith("-made") else ".py"
    assert messages == [
        "at work as __main__ with ['one', 'two words']", "printed [redacted]", "failed", "a handler of its own", f"late in {ends_in}",
    ]  # fmt: skip
    first, printed, failed, own, _late = found
    assert (first["log.level"], first["log.logger"], first["labels.order"]) == ("info", "work", 7)
    assert (first["service.name"], first["service.version"], first["service.node.name"]) == (
        "shop",
        "0123",
        "shop.worker",
    )
    assert (printed["log.logger"], own["log.level"]) == ("stdout", "warning")
    assert failed["error.type"] == "KeyError"
    assert failed["error.stack_trace"].startswith("Traceback")


def test_the_text_format_is_one_line_for_each_record(release):
    release.pygun("text")
    lines, _status = release.run("python", "work.py")
    assert len(lines) == 6
    assert any("ERROR" in line and "shop.worker[" in line and "KeyError" in line for line in lines)


def test_what_is_not_a_program_of_supervisors_or_not_python_prints_as_it_is(release):
    assert "printed only-for-this-test" in release.run("python", "work.py", name="")[0], "what a person runs"
    assert "printed only-for-this-test" in release.run("python", "work.py", name="other")[0], (
        "a program of supervisor_programs"
    )
    release.write("venv/bin/consumer", "#!/bin/sh\n# in place of python -m consumer\necho $0 $1; exit 4\n")
    assert release.run("consumer", "x") == ([f"{release.folder}/venv/bin/consumer x"], 4)
    assert release.run("python", "-c", "print('short')") == (["short"], 0)
    run = [sys.executable, "-IS", str(release.folder / "lib" / "pygun_runtime" / "run.py")]
    release.write("src/child.py", "print('for my parent')\n")
    release.write("src/parent.py", f"import subprocess\nsubprocess.run([*{run!r}, 'python', 'child.py'], check=True)\n")
    assert release.run("python", "parent.py") == (["for my parent"], 0)


def test_python_runs_each_form_as_it_would_by_itself(release):
    release.write("src/typed.py", "def job(count: int): ...\nprint(job.__annotations__)\n")
    (release.folder / "src" / "folder").mkdir()
    release.write("src/folder/__main__.py", "import sys, near\nprint(near.NAME, __name__, sys.argv[1:])\n")
    release.write("src/folder/near.py", "NAME = 'near'\n")
    shutil.make_archive(str(release.folder / "src" / "packed"), "zip", release.folder / "src" / "folder")
    said = [
        json.loads(release.run("python", name, "one")[0][-1])["message"]
        for name in ("typed.py", "folder", "packed.zip")
    ]
    assert said == ["{'count': <class 'int'>}", *["near __main__ ['one']"] * 2]


def test_a_program_runs_also_when_its_log_cannot_be_made(release):
    (release.folder / "pygun.py").write_text("no python\n")
    lines, status = release.run("python", "work.py")
    assert status == 3
    assert lines[0].startswith("pygun: the log of this program is plain text: SyntaxError")
    assert "printed only-for-this-test" in lines
