# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A full log volume costs lines, not requests; that is said once, and they are counted."""

from __future__ import annotations

import time

import pytest

FOLDER = "/var/log/talker"
MARKERS = "/run/talker/*.log-full"


@pytest.fixture
def volume(host):
    """The app's logs on a small file system of their own, as if it had been mounted there from the start."""
    host.run("sh", "-ec", f"""
        mount -t tmpfs -o size=2m,mode=0750 tmpfs {FOLDER}
        chown root:talker {FOLDER}
        for number in 0 1; do
            install -o talker -g talker -m 0640 /dev/null {FOLDER}/talker-$number.log
        done""")  # fmt: skip
    noticed()
    yield
    host.run("umount", "--lazy", FOLDER)
    noticed()


def noticed() -> None:
    """Until the instances have opened the logs that are there now: they look once a second."""
    time.sleep(1.5)


def ask(host, count: int) -> None:
    assert host.read("ask", "talker", str(count)) == {"statuses": {"200": count}}


def said(host) -> list[str]:
    return [
        entry["MESSAGE"]
        for entry in host.journal("SYSLOG_IDENTIFIER=talker")
        if "cannot be written" in entry["MESSAGE"]
    ]


def test_a_full_log_volume_does_not_stop_the_service_is_said_once_and_the_lost_lines_are_counted(
    host, volume, measured
):
    before = len(said(host))
    ask(host, 20)
    host.run("sh", "-c", f"cat /dev/zero > {FOLDER}/filler 2>/dev/null", check=False)
    sent = 20
    for _second in range(4):
        ask(host, 50)
        sent += 50
        time.sleep(0.6)
    assert host.run("sh", "-c", f"ls {MARKERS} | wc -l").strip() == "2"
    told = said(host)[before:]
    assert len(told) == 2, told  # once for each instance, however many requests there were
    assert {instance for instance in ("talker-0", "talker-1") for text in told if instance in text} == {
        "talker-0",
        "talker-1",
    }
    assert "No space left on device" in told[0]

    host.run("rm", f"{FOLDER}/filler")
    time.sleep(1.2)  # room is looked for once a second
    for _try in range(40):  # until each worker has had something to write
        ask(host, 40)
        sent += 40
        lines = host.read("lines", "talker")  # none of them half
        kept = [fields for fields in lines if fields["log.logger"] == "access"]
        lost = [fields for fields in lines if "labels.lost" in fields]
        if len(kept) + sum(fields["labels.lost"] for fields in lost) == sent:
            break
    assert lost
    assert len(kept) + sum(fields["labels.lost"] for fields in lost) == sent, "every line is there or counted"
    assert len({fields["process.pid"] for fields in lost}) == len(lost), "each process tells it once"
    assert all(fields["log.level"] == "error" and "were lost" in fields["message"] for fields in lost)
    assert len(kept) >= 20 + 40
    assert host.run("sh", "-c", f"ls {MARKERS} 2>/dev/null | wc -l").strip() == "0"
    assert len(said(host)) == before + 2
    measured.append(
        f"full volume: {sent} requests, all answered; {len(kept)} lines kept, {sent - len(kept)} counted as lost"
    )
