"""How a real supervisord under the role's launcher stops its programs."""

import sys
import time

from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Supervisor
from tests.component.supervised import eventually
from tests.component.supervisor.test_sockets import host  # noqa: F401  (a fixture)

#: At SIGTERM it waits until its companions are told to stop as well, and notes who has ended by then.
PATIENT = """
import os, signal, sys, time
folder, name, companions = sys.argv[1], sys.argv[2], int(sys.argv[3])
def count(kind):
    return sum(one.endswith(kind) for one in os.listdir(folder))
def stop(*_signal):
    open(f"{folder}/{name}.told", "w").close()
    while count(".told") < companions:
        time.sleep(0.02)
    with open(f"{folder}/{name}.order", "w") as order:
        order.write(str(count(".ended")))
    open(f"{folder}/{name}.ended", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
open(f"{folder}/{name}.ready", "w").close()
while True:
    signal.pause()
"""

TRIES = 20
#: Seconds after which supervisord kills what has not heeded its signal.
STOP_TIMEOUT = 20
EARLY = f"[program:early]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\nstopwaitsecs={STOP_TIMEOUT}\n"


def test_programs_stop_together_and_those_of_a_lower_priority_after_them(host):  # noqa: F811
    (host.folder / "patient.py").write_text(PATIENT)
    names = ["first", "one", "two", "three"]
    for name in names:
        priority, companions = (1, 4) if name == "first" else (999, 3)
        command = f"{host.folder}/patient.py {host.folder} {name} {companions}"
        lines = [f"[program:{name}]", f"command={sys.executable} {command}", f"priority={priority}", "stopwaitsecs=20"]
        (host.folder / "conf.d" / f"{name}.conf").write_text("\n".join(lines) + "\n")
    host.boot()
    eventually(lambda: len(list(host.folder.glob("*.ready"))) == 4, 60)
    host.shut_down(120)
    log = (host.folder / "supervisord.log").read_text()
    for name in names:
        assert f"stopped: {name} (exit status 0)" in log
    assert (host.folder / "first.order").read_text() == "3"


def test_a_process_that_is_stopped_before_its_program_runs_heeds_the_signal(host):  # noqa: F811
    """The fork has supervisord's own handlers until its program replaces it. They would note the signal and lose it."""
    calls = [
        {"methodName": "supervisor.startProcess", "params": ["early", False]},
        {"methodName": "supervisor.stopProcess", "params": ["early"]},
    ]
    (host.folder / "conf.d" / "early.conf").write_text(EARLY)
    host.boot()
    supervisor = Supervisor(str(host.folder / "supervisor.sock"), timeout=60)
    for _ in range(TRIES):
        begun = time.monotonic()
        assert supervisor.call("system.multicall", calls) == [True, True]
        assert time.monotonic() - begun < STOP_TIMEOUT, "the signal was lost"
