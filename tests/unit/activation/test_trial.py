"""What a path in an app's error means."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.trial import through_links


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("instance/app.db", "shared/instance/app.db"),
        ("data/uploads/../uploads/x", "shared/data/uploads/x"),
        ("wsgi.py", "releases/1/src/wsgi.py"),
        ("{root}/releases/1/src/instance/x", "shared/instance/x"),
        ("{root}/shared/made", "shared/made"),
        ("../../../../etc/hosts", "../etc/hosts"),
    ],
)
def test_a_path_is_followed_through_the_links_of_the_release(tmp_path, name, means):
    root = tmp_path / "app"
    source = root / "releases" / "1" / "src"
    (source / "data").mkdir(parents=True)
    (source / "instance").symlink_to(root / "shared" / "instance")
    (source / "data" / "uploads").symlink_to("../../../../shared/data/uploads")
    found = through_links(str(source), name.replace("{root}", str(root)))
    assert found == str((tmp_path / "app" / means) if not means.startswith("../") else tmp_path / means[3:])
