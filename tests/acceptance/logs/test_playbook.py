# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""logs.yml, as a person and as a program reads it."""

from __future__ import annotations

import json

import pytest
from rig.host import ROOT


@pytest.fixture(scope="module")
def talked(host):
    """A request that fails, one that warns, one that is fine."""
    host.ask_talker("POST", "/log/info", "all is fine", request_id="tale-1")
    host.ask_talker("POST", "/warn", "\x1b[31mbeware", request_id="tale-2")
    host.ask_talker("POST", "/raise", "it broke", request_id="tale-3")


@pytest.fixture
def second(tmp_path):
    """An inventory with the same host under another name: a fleet of two."""
    path = tmp_path / "second.yml"
    variables = {
        "ansible_host": "{{ container_network }}-host",
        "ansible_ssh_executable": str(ROOT / "molecule" / "shared" / "pexec"),
    }
    path.write_text(json.dumps({"containers": {"hosts": {"second": variables}}}))
    return path


def test_a_request_is_found_by_its_id_readable_with_its_trace(host, talked):
    lines = host.shown(flask_app_name="talker", request_id="tale-3")
    head, *trace, access = lines
    assert " ERROR wsgi " in head
    assert head.endswith("id=tale-3")
    assert trace[0] == "    Traceback (most recent call last):"
    assert trace[-1] == "    RuntimeError: it broke"
    assert " ERROR access POST /raise 500 " in access
    assert access.endswith(" ms  id=tale-3")


def test_a_level_leaves_out_what_is_below(host, talked):
    text = "\n".join(host.shown(flask_app_name="talker", level="warning", since="10m", regex="tale-[123]"))
    assert "\\x1b[31mbeware" in text
    assert "it broke" in text
    assert "all is fine" not in text
    assert "\x1b" not in text


def test_programs_get_json_of_every_app_and_host_in_the_order_of_time(host, talked, second):
    lines = host.shown(second, format="json", lines=300)
    found = [json.loads(line) for line in lines if line.startswith('{"@timestamp"')]
    assert len(found) == 300
    assert [fields["@timestamp"] for fields in found] == sorted(fields["@timestamp"] for fields in found)
    assert {fields["host.name"] for fields in found} == {"host", "second"}
    assert "talker" in {fields["service.name"] for fields in found}


def test_it_goes_back_into_compressed_files(host, talked):
    """Every line of the app under load, whose logs were rotated many times, as far as one run shows them."""
    counted, most = host.read("ids", "sample", "load"), 100_000
    lines = host.shown(flask_app_name="sample", format="json", lines=most)
    assert len(lines) == min(counted["lines"], most)


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"since": "yesterday"}, ["since is 'yesterday'", "10m"]),
        ({"format": "xml"}, ["format is 'xml'", "text, json"]),
    ],
    ids=str,
)
def test_a_wrong_filter_is_an_error_that_says_what_to_write(host, filters, says):
    done = host.playbook("logs", {f"logs_{name}": value for name, value in filters.items()})
    assert not done.ok
    for words in says:
        assert words in done.message
