# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The activation takes what a release says from the release, and what its program says from supervisor's configuration."""

import dataclasses
import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation import gate
from ansible_collections.pygun.stack.plugins.module_utils.activation.errors import StepFailure
from ansible_collections.pygun.stack.plugins.module_utils.activation.files import ManagedFile
from ansible_collections.pygun.stack.plugins.module_utils.activation.instances import Instances
from ansible_collections.pygun.stack.plugins.module_utils.activation.options import ARGUMENT_SPEC, Options
from ansible_collections.pygun.stack.plugins.module_utils.release.record import Service
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore

RELEASE = "0123456789abcdef"
PROGRAM = """[fcgi-program:sample]
command=/srv/sample/current/venv/bin/python -I /srv/sample/current/lib/pygun_runtime/launch.py
socket = unix:///run/sample/x.sock ; where callers come in
user = alice : staff
environment = HOME="/srv, PYGUN_INSTANCES=7", PYGUN_INSTANCES="3"
stopwaitsecs = 55
"""


@pytest.fixture
def instances(tmp_path):
    """The instances of an app whose program has this text on disk, and is to have that one."""

    def make(on_disk, content=None):
        conf = tmp_path / "sample.conf"
        if on_disk is not None:
            conf.write_text(on_disk)
        return Instances(
            Options(
                name="sample",
                release=RELEASE,
                root=str(tmp_path),
                run_dir=str(tmp_path / "run"),
                supervisor_socket=str(tmp_path / "none.sock"),
                program_conf=ManagedFile(str(conf), content and content.encode(), 0o644),
            ),
            ReleaseStore(str(tmp_path)),
        )

    return make


def release(tmp_path, **service):
    folder = tmp_path / "releases" / RELEASE
    folder.mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"service": service}))


def test_the_program_is_read_as_supervisor_reads_it(instances):
    program = instances(PROGRAM).program
    assert (program.user(), program.bind()) == ("alice", "unix:/run/sample/x.sock")
    assert (program.on_disk().instances, program.stop_timeout()) == (3, 55.0)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "\xff",
        "no section",
        "[fcgi-program:other]\n" + PROGRAM.partition("\n")[2],
        "[eventlistener:sample]\nuser=alice\nstopwaitsecs=55\n",
    ],
)
def test_a_program_that_is_not_there_says_nothing(instances, text):
    program = instances(text).program
    assert (program.user(), program.bind(), program.on_disk().instances, program.stop_timeout()) == ("", "", 0, 10.0)


def test_before_the_first_deploy_the_program_is_the_one_that_is_to_be(instances):
    found = instances(None, PROGRAM)
    assert found.program.user() == "alice"
    assert found.configured() == 3
    assert found.program.stop_timeout() == 55.0


def test_a_process_has_the_longest_time_to_stop_that_any_configuration_of_the_run_gives(instances, tmp_path):
    program = instances(PROGRAM, PROGRAM.replace("55", "20")).program
    assert program.stop_timeout() == 55.0
    (tmp_path / "sample.conf").write_text(PROGRAM.replace("55", "20"))
    assert program.stop_timeout() == 55.0  # those that run were started with it


def test_the_gate_waits_as_long_as_the_release_gives_a_boot(instances, tmp_path, monkeypatch):
    release(tmp_path, boot_timeout=0.2)
    monkeypatch.setattr(gate, "BOOT_MARGIN", 0.1)
    found = instances(PROGRAM).gate
    monkeypatch.setattr(found, "_refuse_ended", lambda *_: None)
    monkeypatch.setattr(found.supervisor, "process", lambda name: None)
    with pytest.raises(StepFailure, match=r"it did not become ready within 0\.3 s"):
        found.wait("sample:sample-0", RELEASE, 7)


def test_the_public_address_is_the_programs(instances, tmp_path, monkeypatch):
    release(tmp_path, health_path="/up", bind="127.0.0.1:1")
    monkeypatch.setattr(gate, "VERIFY_TIMEOUT", 0.1)
    with pytest.raises(StepFailure, match="the public address unix:/run/sample/x.sock does not answer"):
        instances(PROGRAM).gate.wait_for_public_address(RELEASE)
    instances("").gate.wait_for_public_address(RELEASE)  # there is none


def test_nobody_passes_along_what_a_release_or_a_program_says():
    known = {field.name for field in dataclasses.fields(Service)} | {"user", "instances", "stop_timeout"}
    assert known & set(ARGUMENT_SPEC) == {"run_dir", "log_dir", "env_file"}  # places, and the content of a file
