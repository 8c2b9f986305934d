# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two apps on one host: a changed program of one does not touch the other. Deploys are in test_rolls.py."""

from __future__ import annotations

import pytest
from rig.load import Load
from test_rolls import processes


@pytest.mark.full
def test_a_new_program_of_one_app_leaves_the_other_ones_processes_and_requests_alone(host, httpbin, report):
    before = processes(host, "sample")
    with Load(host, "other") as other, other.roll("new program"):
        done = httpbin.deploy(log_backups=9)
        assert "conf.d/httpbin.conf" in done.text or done.ok
    report.figure("a changed program of another app", other)
    assert processes(host, "sample") == before
    assert other.totals["failed"] == 0
