"""Lines in a file that is renamed, that other processes write to, and whose volume is full."""

import json
import os
import subprocess
import threading
import time

import pytest

from pygun_runtime.log_file import LogFile, VolumeEvents

MEBIBYTE = 1 << 20


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "x.log"
    made.touch()
    return made


class Events(VolumeEvents):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def full(self, path, why):
        self.told.append(("full", why))

    def report(self, _path, lost, since, now):
        return b"lost %d\n" % lost

    def room(self):
        self.told.append(("room",))


def test_a_renamed_file_is_written_to_until_there_is_a_new_one(path):
    log = LogFile(str(path))
    log.write(b"one\n", 10.0)
    renamed = path.rename(path.with_suffix(".1"))
    log.write(b"two\n", 12.0)
    path.touch()
    log.write(b"three\n", 12.5)  # not a second since the last look
    log.write(b"four\n", 13.1)
    assert renamed.read_bytes() == b"one\ntwo\nthree\n"
    assert path.read_bytes() == b"four\n"


def test_a_clock_that_is_put_back_does_not_hide_a_rename(path):
    log = LogFile(str(path))
    log.write(b"one\n", 1000.0)
    path.rename(path.with_suffix(".1"))
    path.touch()
    log.write(b"two\n", 10.0)
    assert path.read_bytes() == b"two\n"


def test_a_link_in_place_of_the_log_is_not_followed(path, tmp_path, capfd):
    other = tmp_path / "other"
    other.touch()
    path.unlink()
    path.symlink_to(other)
    LogFile(str(path)).write(b"one\n", 10.0)
    assert other.read_bytes() == b""
    assert capfd.readouterr().err == "one\n"


def test_a_descriptor_that_the_app_has_closed_is_replaced(path, capfd):
    log = LogFile(str(path))
    log.write(b"one\n", 10.0)
    os.close(log._descriptor)
    log.write(b"two\n", 10.1)
    log.write(b"three\n", 10.2)
    assert path.read_bytes() == b"one\nthree\n"
    assert capfd.readouterr().err == "two\n"


def test_a_descriptor_whose_number_now_means_something_else_is_left_alone(path, tmp_path):
    log = LogFile(str(path))
    log.write(b"one\n", 10.0)
    number = log._descriptor
    os.close(number)
    stranger = os.open(tmp_path / "stranger", os.O_RDWR | os.O_CREAT)
    assert stranger == number
    log.write(b"two\n", 12.0)
    assert (tmp_path / "stranger").read_bytes() == b""
    assert path.read_bytes() == b"one\ntwo\n"
    os.close(stranger)


def test_lines_of_many_threads_survive_renames(path):
    log = LogFile(str(path))
    done = threading.Event()

    def rotate():
        number = 0
        while not done.wait(0.01):
            number += 1
            os.rename(path, f"{path}.{number}")
            path.touch()
            log.reopen()

    rotating = threading.Thread(target=rotate)
    rotating.start()
    writers = [
        threading.Thread(target=lambda n=n: [log.write(b"%d-%d\n" % (n, i), time.time()) for i in range(3000)])
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    rotating.join()
    found = b"".join(file.read_bytes() for file in path.parent.glob("x.log*")).split(b"\n")
    assert sorted(found) == sorted([b""] + [b"%d-%d" % (n, i) for n in range(4) for i in range(3000)])


# -- a full volume -----------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path):
    """A file system of one mebibyte."""
    folder = tmp_path / "volume"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("nobody may mount a file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_volume_costs_lines_that_are_counted_and_no_half_ones(volume):
    path = volume / "x.log"
    path.touch()
    events = Events()
    log = LogFile(str(path), events=events)
    ballast = volume / "ballast"
    ballast.write_bytes(b"x" * (MEBIBYTE - 16 * 4096))
    line = b"y" * 999 + b"\n"
    for number in range(100):
        log.write(line, 10.0 + number / 1000)
    written = path.read_bytes()
    assert written and len(written) % 1000 == 0
    assert log.lost == 100 - len(written) // 1000
    assert events.told == [("full", "No space left on device")]

    log.write(b"tiny\n", 12.0)  # would fit into the last block
    assert path.read_bytes() == written
    lost = log.lost
    ballast.unlink()
    log.write(b"soon\n", 12.1)  # a second has not passed
    log.write(b"again\n", 13.2)
    assert path.read_bytes() == written + b"lost %d\nagain\n" % (lost + 1)
    assert events.told == [("full", "No space left on device"), ("room",)]
    assert log.lost == 0


def test_processes_that_fill_a_volume_together_leave_no_half_line(volume):
    path = volume / "x.log"
    path.touch()
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                log = LogFile(str(path))
                line = b"%d" % number * 2999 + b"\n"
                for turn in range(400):
                    log.write(line, 10.0 + turn)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    lines = path.read_bytes().split(b"\n")
    assert lines[-1] == b""
    assert len(lines) > 250
    assert {(len(line), len(set(line))) for line in lines[:-1]} == {(2999, 1)}


def test_a_service_goes_on_while_its_log_volume_is_full_and_says_so_once(host, volume, eventually):
    """The whole way: two workers, a marker, a report when there is room."""
    from tests.component.logs.conftest import Service  # noqa: PLC0415

    service = Service(host)
    service.folder, service.path = volume, volume / "app-0.log"
    service.path.touch()
    service.start(workers=2)
    ballast = (volume / "ballast").open("wb", buffering=0)
    with pytest.raises(OSError):
        while True:
            ballast.write(b"x" * 4096)
    sent = 0
    for _ in range(30):  # two at a time: one worker alone could take all that come one by one
        clients = [service.host.connect() for _ in range(4)]
        for client in clients:
            client.send("/id", headers=["Connection: close"])
        assert [client.receive()[0] for client in clients] == [200] * 4
        sent += 4
    before = len(service.access())
    assert before < sent
    marker = service.instance.run / "app-0.log-full"
    assert marker.exists()
    os.unlink(volume / "ballast")
    ballast.close()

    def all_say_so():
        service.get("/id")
        reports = [line for line in service.lines() if line["log.logger"] == "pygun"]
        return len({line["process.pid"] for line in reports}) == 2 and reports

    reports = eventually(all_say_so, 20, service.text)
    service.instance.stop()
    assert not marker.exists()
    assert all(line["message"].startswith(f"{line['labels.lost']} lines") for line in reports)
    assert service.instance.log() == ""
    assert json.loads(service.path.read_text().splitlines()[-1])
