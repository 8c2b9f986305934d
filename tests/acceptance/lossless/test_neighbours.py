# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two apps on one host: what is done to one does not touch the other."""

from __future__ import annotations

import pytest
from rig.load import HTTPBIN, Load


def processes(host, app: str) -> list:
    return [(one["name"], one["pid"], one["workers"]) for one in host.observe(app)["instances"]]


def test_a_deploy_of_one_app_leaves_the_other_ones_processes_and_requests_alone(host, sample, report):
    sample.source.reset().version("6.0.0")
    before = processes(host, "httpbin")
    with Load(host, "sample") as own, Load(host, "httpbin", "127.0.0.1:5001", HTTPBIN) as other, other.roll("deploy"):
        sample.deploy()
    report.figure("a deploy, the app itself", own)
    report.figure("a deploy, the other app on the host", other)
    assert processes(host, "httpbin") == before
    assert other.totals["failed"] == 0
    assert own.totals["failed"] == 0


@pytest.mark.full
def test_a_new_program_of_one_app_leaves_the_other_ones_processes_and_requests_alone(host, httpbin, report):
    before = processes(host, "sample")
    with Load(host, "other") as other, other.roll("new program"):
        done = httpbin.deploy(log_backups=9)
        assert "conf.d/httpbin.conf" in done.text or done.ok
    report.figure("a changed program of another app", other)
    assert processes(host, "sample") == before
    assert other.totals["failed"] == 0
