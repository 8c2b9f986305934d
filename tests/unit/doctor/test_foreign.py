"""Whatever an app writes into its directories: an answer in bounded time and memory, and never a traceback."""

import contextlib
import gzip
import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.log_tail import last_text, plain_lines
from ansible_collections.pygun.stack.plugins.module_utils.host import foreign
from ansible_collections.pygun.stack.plugins.module_utils.instance import discovery, readiness
from ansible_collections.pygun.stack.plugins.module_utils.instance.candidates import Candidates
from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import ask, ask_bind
from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory
from ansible_collections.pygun.stack.plugins.module_utils.log_reader import Log, Query
from ansible_collections.pygun.stack.plugins.module_utils.log_text import for_people, for_programs, merged
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Process, UnixHTTPConnection
from ansible_collections.pygun.stack.plugins.module_utils.uninstall.footprint import Thing

NAME = "app-0"
PID = os.getpid()
PROCESS = Process("app", NAME, "RUNNING", PID, "", 0, "")
GOOD = {"pid": PID, "workers": 1, "release": "0123456789abcdef", "started": 1.5, "lossless": True, "gunicorn": "27.0.1"}


@pytest.fixture
def run():
    """A run directory; its path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="pygun-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def app_in(folder):
    return discovery.App("app", str(folder), "", str(folder), "nobody", "", 1, str(folder), False)


def everything(folder):
    """All that root makes of an app's files: it must be fit to be printed and sent."""
    directory = RunDirectory(str(folder))
    log = folder / f"{NAME}.log"
    query = Query(lines=20)
    entries = [entry.as_dict() for entry in Log(str(log), "app", NAME).last(query)]
    told = {
        "record": directory.record(NAME),
        "wrong": directory.wrong(NAME),
        "ready": readiness.is_ready(app_in(folder), PROCESS),
        "workers": directory.ready_records(NAME, PID),
        "requests": directory.requests(NAME, PID),
        "candidate": Candidates(str(folder), str(folder)).release_of(NAME),
        "answer": directory.ask(NAME, PID, "/", 1).text,
        "lines": plain_lines(last_text(str(log))),
        "people": for_people(merged({"host": entries})),
        "programs": for_programs(merged({"host": entries})),
    }
    json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    for text in (*told["lines"], told["wrong"], *map(str, told["record"].values())):
        assert foreign.printable(text, 10**6) == text, "a terminal acts on that"
    return told


# -- records ---------------------------------------------------------------------------------------------------------

NASTY = [
    b"[" * 60_000,
    b'{"pid":' * 9_000 + b"1" + b"}" * 9_000,
    b'{"pid": ' + b"9" * 60_000 + b"}",
    b'{"pid": 1e400}',
    b'{"pid": NaN, "workers": Infinity}',
    b'{"pid": {}, "workers": "x", "release": []}',
    b'{"pid": true}',
    b'{"pid": 1, "release": "../../../etc"}',
    b'{"pid": -1}',
    b'{"pid": ' + str(10**30).encode() + b"}",
    b'{"release": "\\ud800\\u001b[2J\\n\\u202e"}',
    b'{"gunicorn": "\\u001b]0;x\\u0007\\nERROR forged (host)"}',
    b'{"\\ud800": 1, "health": "failed: \\ud800"}',
    b'"' + b"\\" * 60_001,
    b"\xff\xfe\x00",
    b"",
    b"null",
    b"x" * 70_000,
]

contents = st.one_of(st.binary(max_size=300), st.sampled_from(NASTY), st.from_type(dict).map(repr).map(str.encode))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
records = st.dictionaries(
    st.sampled_from([*GOOD, "health", "requests", "env_digest", "worker_class", "@timestamp", "message", "log.level"]),
    values,
).map(lambda found: json.dumps(found).encode())


def write_all(folder, content):
    for name in (f"{NAME}.json", f"{NAME}.{PID}.7.ready", f"{NAME}.{PID}.7.requests", f"{NAME}.log", f"{NAME}.next"):
        (folder / name).write_bytes(content)


@settings(
    max_examples=60 if os.environ.get("PYGUN_FULL") else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.one_of(contents, records, st.lists(records, max_size=3).map(b"\n".join)))
def test_any_bytes_are_answered(run, content):
    write_all(run, content)
    everything(run)


@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
def test_a_record_that_is_none_is_named_or_as_good_as_none(run, content):
    write_all(run, content)
    told = everything(run)
    assert not told["ready"]
    assert told["wrong"].startswith(str(run / f"{NAME}.json")) or "pid" not in told["record"]


def test_a_record_of_an_instance_is_read(run):
    (run / f"{NAME}.json").write_text(json.dumps({**GOOD, "more": [1]}))
    (run / f"{NAME}.{PID}.7.ready").write_text('{"pid": 7, "health": "200 OK"}')
    (run / f"{NAME}.{PID}.requests").write_text('{"requests": 30}')
    told = everything(run)
    assert (told["record"], told["ready"], told["wrong"], told["requests"]) == (GOOD, True, "", 30)


def make_directory(path):
    (path / "full").mkdir(parents=True)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def make_large(path):
    with path.open("wb") as stream:
        stream.truncate(200 * 1024**3)


KINDS = {
    "directory": make_directory,
    "pipe": os.mkfifo,
    "link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "socket": make_socket,
    "200 GB of nothing": make_large,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_any_kind_of_file_is_answered(run, make):
    for name in (".json", f".{PID}.7.ready", f".{PID}.7.requests", ".log", ".next", ".sock"):
        make(run / f"{NAME}{name}")
    begun = time.monotonic()
    told = everything(run)
    assert time.monotonic() - begun < 10
    assert not told["record"] and told["wrong"].startswith(str(run / f"{NAME}.json"))
    assert told["answer"], "nobody is asked"


def test_a_flood_of_names_is_told(run, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_NAMES", 50)
    for number in range(60):
        (run / f"x{number}").touch()
    assert "holds 50 files or more" in RunDirectory(str(run)).wrong(NAME)
    assert len(foreign.names(str(run), "x", 50)) == 50


# -- logs ------------------------------------------------------------------------------------------------------------


def test_the_lines_around_a_hole_are_read(run):
    line = '{"@timestamp": "2026-01-31T14:30:00.000Z", "log.level": "info", "message": "%s"}\n'
    with (run / f"{NAME}.log").open("w") as stream:
        stream.write(line % "before")
        stream.truncate(200 * 1024**3)
        stream.seek(200 * 1024**3)
        stream.write(line % "after")
    begun = time.monotonic()
    entries = Log(str(run / f"{NAME}.log"), "app", NAME).last(Query())
    assert time.monotonic() - begun < 10
    assert [entry.fields["message"] for entry in entries] == ["before", "after"]


def test_a_compressed_file_of_nothing_takes_no_memory(run):
    with gzip.open(run / f"{NAME}.log.1.gz", "wb", compresslevel=1) as stream:
        for _ in range(256):
            stream.write(bytes(1024 * 1024))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Log(str(run / f"{NAME}.log"), "app", NAME).last(Query())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_nobody_can_show_is_none(run, at):
    (run / f"{NAME}.log").write_text(json.dumps({"@timestamp": at, "message": "x"}) + "\n")
    os.utime(run / f"{NAME}.log", (2**33, 2**33))
    everything(run)


# -- answers ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder, answer):
    """A private socket behind which somebody answers like that."""
    path, ended = folder / f"{NAME}.sock", threading.Event()

    def serve():
        while not ended.is_set():
            with contextlib.suppress(OSError), listener.accept()[0] as client:
                client.settimeout(5)
                for piece in answer(client):
                    client.sendall(piece)
                    if ended.is_set():
                        break

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            ended.set()
            thread.join()


def slowly(pieces):
    for piece in pieces:
        yield piece
        time.sleep(0.1)


HEAD = b"HTTP/1.1 200 OK\r\n"
TRICKLES = {
    "a byte now and then": lambda _client: slowly([b"H", *[b"T"] * 200]),
    "headers without an end": lambda _client: slowly([HEAD, *[b"A: b\r\n"] * 90]),
    "informational answers": lambda _client: slowly([b"HTTP/1.1 100 Continue\r\n\r\n"] * 200),
    "a body in pieces": lambda _client: slowly([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 200]),
    "a body that does not come": lambda _client: slowly([HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 200]),
    "a refusal first": lambda client: slowly(
        [b"nonsense\r\n\r\n"] if client.recv(4096)[:1] == b"G" else [b"\x16"] * 200
    ),
}


@pytest.mark.parametrize("answer", TRICKLES.values(), ids=TRICKLES)
def test_an_answer_that_trickles_has_the_time_of_one_answer(run, answer):
    with serving(run, answer):
        begun = time.monotonic()
        found = RunDirectory(str(run)).ask(NAME, PID, "/", 1)
        assert time.monotonic() - begun < 3
    assert found.status == 0 and found.text


def test_an_answer_is_fit_to_be_printed(run):
    with serving(run, lambda client: [client.recv(4096)[:0] + HEAD + b"\r\n\x1b[2J\n\xe2\x80\xaeforged"]):
        found = RunDirectory(str(run)).ask(NAME, PID, "/", 5)
    assert (found.status, found.text) == (200, r"\x1b[2J\n\u202eforged")


@pytest.mark.parametrize("public", [False, True])
def test_a_socket_that_is_a_link_to_another_is_not_asked(run, public):
    other = run / "other"
    other.mkdir()
    with serving(other, lambda client: [client.recv(4096)[:0] + HEAD + b"\r\nsecret"]) as path:
        assert ask(UnixHTTPConnection(str(path), 5), "/", "localhost").text == "secret"
        (run / f"{NAME}.sock").symlink_to(path)
        found = ask_bind(f"unix:{run}/{NAME}.sock", "/", 2) if public else RunDirectory(str(run)).ask(NAME, PID, "/", 2)
    assert found.status == 0 and "not a socket" in found.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_socket_of_another_user_is_not_asked(run):
    with subprocess.Popen(["sleep", "30"], user=65534, group=65534) as master:
        with serving(run, lambda client: [client.recv(4096)[:0] + HEAD + b"\r\nsecret"]):
            found = RunDirectory(str(run)).ask(NAME, master.pid, "/", 2)
        master.kill()
    assert found.status == 0 and "of another user" in found.text


# -- removal ---------------------------------------------------------------------------------------------------------


def test_folders_within_folders_are_removed(run):
    """Deeper than Python's own removal goes, and deeper than a path can be long."""
    here = os.open(".", os.O_RDONLY)
    top = run / "deep"
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("x")
            os.chdir("x")
    finally:
        os.chdir(here)
        os.close(here)
    Thing(str(top), "tree").remove()
    assert not top.exists()


def test_a_link_in_the_place_of_a_folder_is_removed_alone(run):
    (run / "kept").mkdir()
    (run / "link").symlink_to(run / "kept")
    Thing(str(run / "link"), "tree").remove()
    assert not (run / "link").is_symlink() and (run / "kept").is_dir()


def test_the_context_of_an_unchecked_answer_checks_nobody():
    from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import _unchecked

    assert _unchecked().verify_mode == ssl.CERT_NONE


# -- candidates ------------------------------------------------------------------------------------------------------

LAUNCH = Path(__file__).parents[3] / "roles" / "flask_app" / "files" / "pygun_runtime" / "launch.py"


@pytest.mark.skipif(os.geteuid() != 0, reason="a candidate is root's word, and read by another user")
def test_a_candidate_is_read_by_the_app_and_written_by_root_alone(run):
    """Whatever root's umask; and the launcher finds what the activation put."""
    run.chmod(0o755)
    (run / "app").mkdir()
    release = run / "release"
    release.mkdir()
    (release / "pygun.py").touch()
    mask = os.umask(0o077)
    try:
        Candidates(str(run / "app"), str(run)).put(NAME, str(release))
    finally:
        os.umask(mask)
    found = "import sys; sys.path.insert(0, sys.argv[1]); import launch; print(launch.candidate(*sys.argv[2:]))"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", found, str(LAUNCH.parent), str(run / "app"), NAME],
        user=65534, group=65534, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(release), done.stderr
    assert not any(place.stat().st_mode & 0o022 for place in (run / "pygun", run / "pygun" / "app"))


@pytest.mark.parametrize(
    "value", [["x" * 1000] * 4000, {str(number): "y" * 50 for number in range(60_000)}], ids=["long", "many"]
)
def test_of_a_long_line_no_more_is_kept_than_of_others(run, value):
    """Root keeps as many lines as are asked for, and each may have megabytes."""
    fields = value if isinstance(value, dict) else {"message": "".join(value)}
    line = json.dumps({"@timestamp": "2026-01-31T14:30:00.000Z", "log.level": "info", **fields})
    (run / f"{NAME}.log").write_text(f"{line}\n" * 2)
    entries = Log(str(run / f"{NAME}.log"), "app", NAME).last(Query())
    assert len(entries) == 2
    for entry in entries:
        assert len(json.dumps(entry.fields)) < 100_000
        assert entry.fields["log.level"] == "info"
        assert entry.as_dict()["fields"] == entry.fields


@pytest.mark.parametrize("sign", "\xad\u180e\u200b\u200d\u200f\u2060\u2064\u206a\ufeff")
def test_what_nobody_sees_is_shown(sign):
    """A name with it passes for the name without."""
    assert foreign.printable(f"app{sign}") == "app" + sign.encode("unicode_escape").decode()
