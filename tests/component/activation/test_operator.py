"""An operator uses supervisorctl while an activation waits: what he does is not the release's fault."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.errors import StepFailure
from ansible_collections.pygun.stack.plugins.module_utils.activation.gate import Gate
from ansible_collections.pygun.stack.plugins.module_utils.activation.program_gate import ProgramGate
from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.release_programs import ReleaseProgram


def test_a_stop_by_hand_is_not_the_releases_fault(single):
    """supervisord gives a stopped process no pid: it looks like one that has ended by itself, and another has taken its place."""
    supervisor, run_dir = single.host.status(), RunDirectory(str(single.run))
    process = supervisor.process(f"{single.name}:{single.name}-0")
    gate = Gate(ReleaseStore(str(single.root)), supervisor, run_dir, program=None)
    waits = (
        lambda: gate.wait(process.full_name, single.current, process.pid),
        lambda: ProgramGate(supervisor, run_dir).wait(
            ReleaseProgram(single.name), process, single.current, fresh=False
        ),
    )
    for wait in waits:
        wait()
    supervisor.call("supervisor.stopProcess", process.full_name, True)
    for wait in waits:
        with pytest.raises(StepFailure, match="another operator stopped it meanwhile") as failure:
            wait()
        assert not failure.value.blames_release
