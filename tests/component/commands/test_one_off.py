"""Commands in a release: the real run.py of a release, as another user where the tests run as root."""

import json
import os
import pty
import pwd
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import one_off
from ansible_collections.pygun.stack.plugins.plugin_utils import command_archive
from tests.component.compiled import runtime_folder
from tests.component.supervised import eventually, has_ended, outcome, start_module

RUNTIME = runtime_folder() / "pygun_runtime"
MODULE = Path(__file__).parents[1] / "run_module.py"
#: Another user can execute the distribution's Python, if there is one; not the one of root's home.
AS_ANOTHER = os.geteuid() == 0 and os.access("/usr/bin/python3", os.X_OK)
PYTHON = "/usr/bin/python3" if AS_ANOTHER else sys.executable
USER = "nobody" if AS_ANOTHER else pwd.getpwuid(os.getuid()).pw_name
OLD, NEW = "a" * 16, "b" * 16
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="it becomes another user")


@pytest.fixture
def tmp_path():
    """A folder that other users can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def host(tmp_path):
    """A host with one app in two releases."""
    conf_dir, root = tmp_path / "etc", tmp_path / "srv" / "app"
    env_file = tmp_path / "app.env"
    env_file.write_text('SECRET="hunter2 `id`"\nSERVES="{release}"\n')
    for release in (OLD, NEW):
        folder = root / "releases" / release
        (folder / "src").mkdir(parents=True)
        (folder / "venv" / "bin").mkdir(parents=True)
        (folder / "venv" / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\nversion = 3.11\n")
        (folder / "venv" / "bin" / "python").symlink_to(os.path.realpath(PYTHON))
        shutil.copytree(RUNTIME, folder / "lib" / "pygun_runtime")
        (folder / "pygun.py").write_text("")
        service = {"env_file": str(env_file), "bind": "127.0.0.1:1"}
        (folder / "release.json").write_text(json.dumps({"built_at": release, "service": service}))
    (root / "shared").mkdir()
    (root / "current").symlink_to(f"releases/{NEW}")
    (conf_dir / "conf.d").mkdir(parents=True)
    (conf_dir / "supervisord.conf").write_text(f"[unix_http_server]\nfile={tmp_path}/nobody.sock\n")
    (conf_dir / "conf.d" / "app.conf").write_text(
        f"[fcgi-program:app]\nuser={USER}\nsocket=tcp://127.0.0.1:1\nnumprocs=2\n"
        f"command={root}/current/venv/bin/python -I {root}/current/lib/pygun_runtime/launch.py\n"
    )
    return {"base_dir": str(tmp_path / "srv"), "conf_dir": str(conf_dir)}


def run(host, words, release="", seconds=30.0):
    return one_off.prepare(name="app", release=release, words=words, **host).collect(seconds)


def test_it_has_the_apps_user_environment_and_folder(host):
    found = run(
        host, ["sh", "-c", 'id -un; pwd; echo "$SECRET"; echo "$SERVES $HOME $(umask)"; echo wrong >&2; exit 3']
    )
    folder = f"{host['base_dir']}/app/releases/{NEW}"
    lines = [USER, f"{folder}/src", "hunter2 `id`", f"{folder} {host['base_dir']}/app/shared 0022", "wrong"]
    assert found == one_off.Outcome(3, "\n".join(lines) + "\n")


def test_a_shell_finds_the_programs_of_the_release(host):
    folder = f"{host['base_dir']}/app/releases/{NEW}/venv/bin"
    assert run(host, ["sh", "-c", 'command -v python; echo "$PATH"']).output.splitlines() == [
        f"{folder}/python",
        f"{folder}:/usr/local/bin:/usr/bin:/bin",
    ]


def test_another_release_by_the_beginning_of_its_id(host):
    assert run(host, ["pwd"], OLD[:6]).output.strip() == f"{host['base_dir']}/app/releases/{OLD}/src"


def test_the_environment_stands_in_no_process_list(host):
    found = run(host, ["sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline; ps -ww -o args= -p $PPID"])
    assert "hunter2" not in found.output


def test_a_late_command_is_ended_with_what_it_has_started(host):
    begun = time.monotonic()
    found = run(host, ["sh", "-c", "sleep 77 & echo $!; wait"], seconds=0.5)
    assert found.timed_out and found.status == 128 + 15 and time.monotonic() - begun < 5
    assert eventually(lambda: has_ended(int(found.output)), 5)


def test_only_the_end_of_a_long_output_is_kept(host, monkeypatch):
    monkeypatch.setattr(one_off, "LARGEST_OUTPUT", 1000)
    found = run(host, ["sh", "-c", "yes | head -c 100000; echo end"])
    assert len(found.output) == 1000 and found.output.endswith("end\n")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"name": "ap"}, "There is no app 'ap' on this host. Apps: app."),
        ({"words": []}, "Name the command"),
        ({"release": "c" * 16}, "is no release of app. Releases: "),
        ({"release": "../../etc"}, "is no release of app."),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused_with_the_reason(host, asked, says):
    with pytest.raises(one_off.Refused, match="Nothing was run.") as error:
        one_off.prepare(**{"name": "app", "release": "", "words": ["id"], **host, **asked})
    assert says in str(error.value)


def test_a_release_of_an_older_version_is_refused(host):
    os.unlink(f"{host['base_dir']}/app/releases/{OLD}/lib/pygun_runtime/run.py")
    with pytest.raises(one_off.Refused, match="Deploy app again"):
        run(host, ["id"], OLD)


def test_the_module_returns_output_and_status(host):
    given = {"name": "app", "command": "sh -c 'echo so; exit 4'", **host}
    command = [sys.executable, str(MODULE), "run"]
    found = outcome(start_module(command, given))
    assert (found["rc"], found["output"], found["release"], found["failed"]) == (4, "so\n", NEW, False)
    assert found["text"] == f"sh -c 'echo so; exit 4' in release {NEW} of app ended with status 4.\nso"
    found = outcome(start_module(command, {**given, "_ansible_check_mode": True}))
    assert (found["rc"], found["output"]) == (0, "") and "would be run" in found["text"]
    assert outcome(start_module(command, {**given, "command": "echo 'x"}))["failed"]


# -- the command pygun -----------------------------------------------------------------------------------------------


@pytest.fixture
def pygun(host, tmp_path):
    """The command as it is on a host: nothing but the archive and the standard library."""
    archive, script = tmp_path / "pygun.zip", tmp_path / "pygun"
    archive.write_bytes(command_archive.archive())
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(archive)!r})\nfrom pygun_tools.command_line import main\nsys.exit(main())\n"
    )
    return [PYTHON, "-ISB", str(script), "--base-dir", host["base_dir"], "--conf-dir", host["conf_dir"]]


def test_the_archive_is_the_same_for_the_same_code_and_needs_no_ansible(tmp_path):
    archive = tmp_path / "pygun.zip"
    archive.write_bytes(command_archive.archive())
    assert archive.read_bytes() == command_archive.archive() and archive.read_bytes().endswith(
        command_archive.digest().encode()
    )
    with zipfile.ZipFile(archive) as stream:
        assert not [name for name in stream.namelist() if b"import ansible" in stream.read(name)]
        assert not [name for name in stream.namelist() if b"from ansible" in stream.read(name)]


@ROOT_ONLY
@pytest.mark.parametrize("before", [[], ["--release", OLD[:8], "--"], ["--"]], ids=str)
def test_run_keeps_the_exit_status(pygun, before):
    words = [*before, "sh", *(["-c", "exit 7"] if "--" in before else ["/dev/null"])]
    done = subprocess.run(
        [*pygun, "run", "app", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (7 if "--" in before else 0, "")


@ROOT_ONLY
def test_run_in_a_terminal_gives_the_command_another_terminal(pygun):
    """What it types into its terminal (TIOCSTI) must not come to the shell of root."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(pygun[0], [*pygun, "run", "app", "--", "sh", "-c", "tty; id -un; read line; echo got $line; exit 5"])
    said, sent = b"", False
    while select.select([terminal], [], [], 20)[0]:
        try:
            said += os.read(terminal, 1024)
        except OSError:
            break
        if USER.encode() in said and not sent:
            sent = os.write(terminal, b"hello\n")
    _pid, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    lines = said.decode().split()
    assert lines[0].startswith("/dev/pts/") and lines[0] != os.ttyname(terminal) and "got hello" in said.decode()
    assert lines[0] != os.readlink(f"/proc/self/fd/{terminal}")


@ROOT_ONLY
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["status"], 1, "Not as it should be:"),
        (["doctor", "app"], 1, "ERROR "),
        (["logs"], 0, "No line in the logs of "),
        (["restart", "other"], 1, "pygun: There is no app other that supervisord could start"),
        (["run", "app"], 1, "pygun: Name the command"),
        (["run", "other", "--", "id"], 1, "pygun: There is no app 'other' on this host. Apps: app."),
    ],
    ids=str,
)
def test_it_says_what_the_modules_say(pygun, words, status, says):
    done = subprocess.run([*pygun, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stdout + done.stderr) == (status, True), done


@pytest.mark.skipif(not AS_ANOTHER, reason="it becomes nobody")
def test_without_root_it_says_that_it_needs_root(pygun):
    done = subprocess.run([*pygun, "status"], capture_output=True, text=True, check=False, user="nobody")
    assert done.returncode == 1 and done.stderr.startswith("pygun status needs root: sudo pygun status")
