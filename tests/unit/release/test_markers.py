# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment markers: what is known of every host is put in, and what is left holds where the original does."""

from __future__ import annotations

import itertools

import pytest
from packaging.markers import Marker, default_environment

from ansible_collections.pygun.stack.plugins.plugin_utils.locks import markers


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("", ""),
        ("sys_platform == 'win32' or python_version < '3.9'", "python_version < '3.9'"),
        ("'linux' in sys_platform and os_name != 'nt'", ""),
        ("python_version < '3.9' or (python_version < '3.9' and platform_machine == 'x86_64')", "python_version < '3.9'"),
        ('os_name == "posix" and ("a" == platform_machine or python_version not in "3.8 3.9")', "'a' == platform_machine or python_version not in '3.8 3.9'"),
        ("extra == 'Cache' or extra == 'other'", ""),
        ("extra != 'cache'", None),
    ],
)  # fmt: skip
def test_a_marker_says_what_depends_on_the_host(text, simple):
    found = markers.parse(text, markers.Chosen(["cache"]))
    assert (markers.text_of(found) if found else None) == simple


@pytest.mark.parametrize("text", ["x", "a ==", "(a == 'b'", "a == 'b' c", "a = 'b'", "a == 'b' and", "a not b"])
def test_a_text_that_is_no_marker_is_refused(text):
    with pytest.raises(markers.MarkerError):
        markers.parse(text)


def test_a_marker_holds_where_the_original_holds():
    atoms = [
        "python_version < '3.12'",
        "platform_machine == 'x86_64'",
        "sys_platform == 'win32'",
        "python_full_version >= '3.11.5'",
    ]
    texts = [
        f"({a} {one} {b}) {two} ({c} {three} {a})"
        for a, b, c in itertools.permutations(atoms, 3)
        for one, two, three in itertools.product(["and", "or"], repeat=3)
    ]
    for text in texts:
        ours = markers.parse(text)
        for version, machine in itertools.product(["3.11.2", "3.12.1"], ["x86_64", "aarch64"]):
            host = {
                **default_environment(),
                "sys_platform": "linux",
                "python_version": version[:4],
                "python_full_version": version,
            }
            host["platform_machine"] = machine
            holds = Marker(markers.text_of(ours) or "os_name == 'posix'").evaluate(host) if ours else False
            assert holds == Marker(text).evaluate(host), (text, host)
