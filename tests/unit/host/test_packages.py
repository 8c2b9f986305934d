# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which packages of the distribution are installed, as the real dpkg says."""

import shutil

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host.inspection import installed_packages

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs a Debian")


def test_an_installed_package_and_what_it_provides_are_there_and_others_are_not():
    # mawk or gawk provides awk on every Debian; no package has that name.
    assert installed_packages(["dpkg", "no-such-package", "awk"]) == ["dpkg", "awk"]
    assert installed_packages([]) == []
