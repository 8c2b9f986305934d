"""What a diff lists of a release."""

import json

from ansible_collections.pygun.stack.plugins.module_utils.release.differences import shown
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore


def test_a_path_that_begins_or_ceases_to_outlive_releases_is_listed(tmp_path):
    store = ReleaseStore(str(tmp_path))
    release = tmp_path / "releases" / "0123456789abcdef"
    release.mkdir(parents=True)
    (release / "release.json").write_text(json.dumps({"shared_paths": ["app.db", "uploads/"]}))
    files = {"src/wsgi.py": "file:00"}
    diff = shown(store, files, files, release.name, "new", ["pkg/instance/", "uploads/"])["diff"]
    assert diff["before"] == "src/app.db -> shared/app.db\n"
    assert diff["after"] == "src/pkg/instance/ -> shared/pkg/instance/\n"
    first = shown(store, {}, files, None, "new", ["uploads/"])["diff"]
    assert (first["before"], first["after"]) == ("", "src/wsgi.py file:00\nsrc/uploads/ -> shared/uploads/\n")
