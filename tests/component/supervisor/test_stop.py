"""supervisord stops its programs at the same time when it ends, in the order of their priorities."""

import sys

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
