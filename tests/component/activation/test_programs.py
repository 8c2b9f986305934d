"""The programs of an app's release: they follow the instances to a new release, and back."""

import json
import os
import textwrap

import pytest

#: Notes its release, its environment and its beginning; finishes its task when it is asked to stop.
WORKER = """
    import os, signal, sys, time
    notes = os.path.join({notes!r}, sys.argv[1])
    def note(text):
        with open(notes, "a") as stream:
            stream.write(f"{{text}} {{VERSION}} {{os.environ.get('COLOUR')}} {{os.getpid()}}\\n")
    def stop(*_):
        time.sleep({task!r})
        note("end")
        sys.exit()
    signal.signal(signal.SIGTERM, stop)
    note("begin")
    print("at work in", os.getcwd(), flush=True)
    while True:
        time.sleep(0.05)
"""


class Site:
    """An app with workers in its releases."""

    def __init__(self, app):
        self.app = app
        self.notes = app.folder / "notes"
        self.notes.mkdir()
        (app.root / "shared").mkdir()
        self.declared = [{"name": "worker", "command": "python work.py worker"}]

    def release(self, work=None, task=0.0, **more):
        """A release with a worker in it, `work.py`."""
        release = self.app.release(**more)
        folder = self.app.root / "releases" / release
        text = textwrap.dedent(WORKER).format(notes=str(self.notes), task=task) if work is None else work
        (folder / "src" / "work.py").write_text(f"VERSION = {release!r}\n{text}")
        return release

    def deploy(self, release, **more):
        more.setdefault("programs", self.app.programs(*self.declared))
        return self.app.deploy(release, **more)

    def lines(self, name="worker"):
        path = self.notes / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def running(self, group="worker"):
        found = self.app.host.status().processes(f"{self.app.name}.{group}")
        return {process.name.removeprefix(f"{self.app.name}."): process for process in found}

    def release_of(self, process):
        return json.loads((self.app.run / f"{self.app.name}.{process}.json").read_text())["release"]


@pytest.fixture
def site(app):
    return Site(app)


def ok(result):
    assert not result.get("failed"), result["msg"]
    return result


def test_a_new_release_restarts_the_program_on_its_code_after_the_instances(site):
    first, second = site.release(task=0.5), site.release()
    result = ok(site.deploy(first))
    assert [(one["action"], one["release"]) for one in result["programs"]] == [("started", first)]
    assert not ok(site.deploy(first))["changed"]
    site.app.env_content = "COLOUR=green\n"
    trace = site.app.folder / "trace"
    result = ok(site.deploy(second, trace=trace))
    assert [(one["action"], one["release"]) for one in result["programs"]] == [("restarted", second)]
    told = [line[:3] for line in site.lines()]
    assert told == [["begin", first, "red"], ["end", first, "red"], ["begin", second, "green"]], "its task was finished"
    passed = trace.read_text().splitlines()
    group = f"{site.app.name}.worker"
    assert passed.index(f"gated {site.app.name}-1") < passed.index(f"before {group}") < passed.index("rolled")
    process = site.running()["worker"]
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(site.app.root / "releases" / second / "src")
    assert (site.app.log / f"{group}.log").read_text().count("at work in") == 2
    assert site.app.leftovers() == []
    assert not ok(site.deploy(second))["changed"]
