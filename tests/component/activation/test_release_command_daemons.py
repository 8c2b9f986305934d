"""What a release command leaves running: it would be outside of supervisord's unit, where nothing finds it when the app stops."""

from tests.component.supervised import has_ended


def test_a_daemon_of_the_release_command_ends_with_it(served):
    pid = served.folder / "daemon"
    code = f"import os, sys, time; os.setsid(); os.fork() and sys.exit(); open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    command = ["sh", "-c", f'/usr/bin/python3 -c "{code}"; while [ ! -s {pid} ]; do sleep 0.1; done']
    result = served.deploy(served.release(), release_command=command)
    assert not result.get("failed"), result["msg"]
    assert has_ended(int(pid.read_text()))
