# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The remedy for an app that writes into its source names the folder."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.symptoms import diagnose

SOURCE = "/srv/scoring/releases/0123456789abcdef/src"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (f"PermissionError: [Errno 13] Permission denied: '{SOURCE}/app/../.data'", ".data"),
        (f"PermissionError: [Errno 13] Permission denied: '{SOURCE}/instance/app.db'", "instance"),
        (f"PermissionError: [Errno 13] Permission denied: '{SOURCE}/app.db'", "app.db"),
        (f"OSError: [Errno 30] Read-only file system: '{SOURCE}/app/uploads'", "app/uploads"),
        ("unable to open database file: " + SOURCE + "/data/app.db", "data"),
        (f"PermissionError: [Errno 13] Permission denied: '{SOURCE}/../venv/x'", "instance"),
        ("PermissionError: [Errno 13] Permission denied: '/var/lib/x'", "instance"),
        ("PermissionError: [Errno 13] Permission denied: 'logs'", "logs"),
        ("PermissionError: [Errno 13] Permission denied: 'uploads/a.png'", "uploads"),
    ],
)
def test_the_folder_is_named(error, named):
    assert f"flask_app_shared_paths, such as [{named}];" in diagnose(error).remedy
