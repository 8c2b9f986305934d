"""The phrases that the doctor looks for in the log of an instance are those that gunicorn and the interpreter print."""

import inspect
import subprocess
import sys

import gunicorn.arbiter
import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import phrases
from ansible_collections.pygun.stack.plugins.module_utils.doctor import logs

GUNICORN = {
    logs.STARTING: ['"Starting gunicorn %s"'],
    logs.SHUTTING_DOWN: ['"Shutting down: %s", self.master_name', 'master_name = "Master"'],
    logs.WORKER_TIMEOUT: ['"WORKER TIMEOUT (pid:%s)"'],
    logs.KILLED: ['"Worker (pid:%s) was sent %s!"', '" Perhaps out of memory?"'],
}


def plain(words):
    """Some words of a source, without what is filled in."""
    return words.split('"')[1].replace("%s!", "SIGKILL!").replace(" %s", "")


@pytest.mark.parametrize("phrase", GUNICORN)
def test_gunicorn_prints_it(phrase):
    source = inspect.getsource(gunicorn.arbiter)
    for words in GUNICORN[phrase]:
        assert words in source
        assert plain(words) in phrase


def test_faulthandler_prints_it():
    hang = "import faulthandler, time; faulthandler.dump_traceback_later(0.1); time.sleep(0.4)"
    text = subprocess.run([sys.executable, "-c", hang], capture_output=True, text=True, timeout=60, check=True).stderr
    assert text.startswith(f"{phrases.STACKS}0:00:0") and logs.NEWEST_FIRST in text
