# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the benchmarks count with."""

import subprocess
import sys
import time

import pytest

from benchmarks import measure

# Burns what it is told to on the processor, however long that takes on the clock.
BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


def ready(script: str) -> subprocess.Popen:
    """A process that runs the script, says so and waits for the end of its input."""
    code = f"{script}\nprint('done', flush=True)\nimport sys\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "done\n"
    return process


def test_processor_time_is_what_the_process_burned():
    process = ready(BURN.format(seconds=0.5))
    assert 0.45 <= measure.cpu_seconds([process.pid]) <= 0.9
    process.communicate()


@pytest.mark.parametrize("waits", [True, False], ids=["a child that has ended", "a child that lives"])
def test_processor_time_of_children_counts(waits):
    child = BURN.format(seconds=1.5) + ("" if waits else "print('burned', flush=True)\nimport time\ntime.sleep(60)\n")
    script = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.wait() if {waits} else child.stdout.readline()
"""
    process = ready(script)
    try:
        assert 1.45 <= measure.cpu_seconds([process.pid]) <= 2.5  # counted twice it would be 3
        assert len(measure.tree([process.pid])) == (1 if waits else 2)
    finally:
        for pid in measure.tree([process.pid]):
            if pid != process.pid:
                subprocess.run(["kill", str(pid)], check=True)
        process.communicate()


def test_time_that_is_waited_does_not_count():
    process = ready("import time; time.sleep(3)")
    assert measure.cpu_seconds([process.pid]) < 1.5
    process.communicate()


def test_a_process_that_is_gone_counts_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert measure.cpu_seconds([process.pid]) == 0


def test_memory_of_a_tree_holds_what_was_filled():
    process = ready("filled = bytearray(64 * 2**20)\nfor i in range(0, len(filled), 4096): filled[i] = 1")
    assert 64 * 2**20 < measure.memory([process.pid]) < 110 * 2**20
    process.communicate()


@pytest.mark.parametrize(
    ("rounds", "noisy"),
    [
        ([(1.0, 1.0), (1.1, 1.0), (1.0, 1.05)], False),
        ([(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.6, 1.5)], False),  # one of four
        ([(1.0, 1.0), (1.0, 1.0), (1.6, 1.0)], True),  # slower than it was
        ([(1.0, 1.4), (1.0, 1.4), (1.0, 1.4)], True),  # waits for a processor all the time
    ],
)
def test_a_noisy_machine_is_told_from_a_quiet_one(rounds, noisy):
    assert bool(measure.noise([{"wall": wall, "waited": waited} for wall, waited in rounds])) is noisy


def test_noise_says_how_bad_it_was():
    told = measure.noise([{"wall": 1.0, "waited": 1.0}, {"wall": 2.0, "waited": 1.9}])
    assert told == "the same work took up to 2.0 times as long as it should, in 1 of 2 calibrations"


def test_a_figure_is_the_median_and_the_middle_half():
    found = measure.figure([10, 11, 12, 13, 100])
    assert (found["median"], found["low"], found["high"], found["n"]) == (12, 11, 13, 5)
    assert not found["noisy"]


@pytest.mark.parametrize(("values", "noisy"), [([10], False), ([10, 10.5, 11], False), ([10, 12, 16], True)])
def test_a_figure_knows_whether_it_says_anything(values, noisy):
    assert measure.figure(values)["noisy"] is noisy


def test_what_could_not_be_measured_has_no_figure():
    assert measure.figure([None, None]) is None
    assert measure.figure([None, 3])["median"] == 3


def test_calibration_tells_its_time_on_the_clock_and_how_long_it_waited():
    began = time.monotonic()
    told = measure.calibrate()
    assert 0 < told["wall"] <= time.monotonic() - began
    assert told["waited"] >= 0.9
