"""supervisord's answers and refusals, from a real one."""

import socket
import threading

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor import rpc


def test_a_refusal_has_a_name(served):
    supervisor = served.host.status()
    name = f"{served.name}:{served.name}-0"
    with pytest.raises(rpc.AlreadyStarted):
        supervisor.start(name)
    with pytest.raises(rpc.BadName):
        supervisor.process("nobody:nobody-0")
    with pytest.raises(rpc.StillRunning):
        supervisor.remove_group(served.name)
    with pytest.raises(rpc.AlreadyAdded):
        supervisor.add_group(served.name)
    with pytest.raises(rpc.SupervisorError, match="UNKNOWN_METHOD"):
        supervisor.call("supervisor.noSuchMethod")


def test_processes_come_in_the_order_of_their_numbers(make_app):
    app = make_app(instances=11)
    app.conf.write_text(app.conf_content().replace("autorestart=true", "autostart=false"))
    supervisor = app.host.status()
    supervisor.reload_config()
    supervisor.add_group(app.name)
    assert [process.number for process in supervisor.processes(app.name)] == list(range(12))


@pytest.mark.parametrize(
    ("name", "number"),
    [("scoring-12", 12), ("scoring", 0), ("scoring-x²", 0), ("scoring-²", 0), ("a-" + "9" * 5000, 0)],
)
def test_the_number_of_a_process_is_the_end_of_its_name(name, number):
    """Also of one that is nobody's app: all commands list all processes."""
    assert rpc.Process("a group", name, "RUNNING", 1, "", 0, "").number == number


def test_reading_the_configuration_touches_no_process(served):
    pids = served.pids()
    served.conf.write_text(served.conf_content() + "priority=1\n")
    added, changed, removed = served.host.status().reload_config()
    assert (served.name in added, served.name in changed, served.name in removed) == (False, True, False)
    served.conf.unlink()
    assert served.name in served.host.status().reload_config()[2]
    assert served.pids() == pids
    assert served.get()[0] == 200


def test_nobody_there_is_said(tmp_path):
    with pytest.raises(rpc.Unreachable, match="there is no"):
        rpc.Supervisor(str(tmp_path / "none")).processes("x")
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        with pytest.raises(rpc.Unreachable, match="no process listens"):
            rpc.Supervisor(path).processes("x")
        silent.listen()
        with pytest.raises(rpc.Unreachable, match="did not answer within 0.2 s"):
            rpc.Supervisor(path, timeout=0.2).processes("x")


def test_somebody_else_on_the_socket_is_said(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(path)
        stranger.listen()

        def answer():
            connection, _address = stranger.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(rpc.SupervisorError):
            rpc.Supervisor(path).processes("x")
        thread.join()
