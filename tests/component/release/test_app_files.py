# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files from an address come into a release by their digest, fetched as the build account, once for all releases that have them."""

import errno
import grp
import hashlib
import http.server
import io
import json
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account, InstallError
from ansible_collections.pygun.stack.plugins.module_utils.release import app_files, build, contents, fetcher
from ansible_collections.pygun.stack.plugins.module_utils.release.package_lock import PackageLock
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from ansible_collections.pygun.stack.plugins.plugin_utils import app_files as on_control_node
from ansible_collections.pygun.stack.plugins.plugin_utils import pack

FIRST, SECOND = "0123456789abcdef", "123456789abcdef0"
MODEL = os.urandom(3_000_000)
TOKEN = {"Authorization": "Bearer very-secret"}
ACCOUNT = Account("pygun-build-of-the-tests", 61000 + os.getpid() % 3000, 61000 + os.getpid() % 3000)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tarball(**members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            packed.addfile(info, io.BytesIO(content or b""))
    return raw.getvalue()


def zipped(name, content):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as packed:
        packed.writestr(name, content)
    return raw.getvalue()


@pytest.fixture(name="servers")
def servers_fixture():
    """Two servers. The first one wants the token and may redirect to the second; each has `files` and what it was `asked`."""
    made = []
    for wants_token in (True, False):

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server = self.server
                server.asked.append((self.path, self.headers["Authorization"]))
                if self.headers["Authorization"] != TOKEN["Authorization"] and server.wants_token:
                    self.send_error(401)
                    return
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", f"{address(made[1])}/model?signature=x")
                    self.end_headers()
                    return
                content = server.files.get(self.path.partition("?")[0])
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + server.lie))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.wants_token, server.asked, server.files, server.lie = wants_token, [], {"/model": MODEL}, 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        made.append(server)
    yield made
    for server in made:
        server.shutdown()
        server.server_close()


def address(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


class Site:
    """A store in a folder that the account can enter, and releases of a source of one file."""

    def __init__(self, folder):
        self.folder = folder
        self.account = None if os.geteuid() else ACCOUNT
        self.store = ReleaseStore(str(folder))

    def build(self, release, files, is_offline=False, requirements=()):
        """Build a release as the module does, with what the control node sends; only the packages are missing."""
        entries = [pack.entry_from_bytes("src/wsgi.py", f"app = {release!r}\n".encode())]
        entries += on_control_node.entries(files, Path, self.folder, {entry.path for entry in entries})
        told = on_control_node.for_host(files)
        shared = pack.Shared(self.folder / f"run-{release}")
        known = {*contents.known(self.store, release), *app_files.unpacked(told["fetch"], self.store, release)}
        extra = on_control_node.fetched(files, known, shared) if is_offline else ()
        archive = shared.archive(entries, known, extra=extra)
        params = dict.fromkeys(("name", "content", "pygun_py_shown"), "x")
        nothing = dict.fromkeys(("packages", "server_packages", "overrides", "shared_paths", "extra_args"), ())
        params.update(nothing, requirements=requirements, origin={}, service={}, upgrade=())
        params.update(archive=str(archive), group=grp.getgrgid(os.getgid()).gr_name, **told)
        params.update({name: option.get("default") for name, option in python_env.INSTALLER_OPTIONS.items()})
        params.update(python="/usr/bin/python3" if self.account else sys.executable)
        lock = PackageLock(())
        wanted = build.Plan(release, "", lock.digest, lock, build.KEPT)
        build.build(params, wanted, "3.11.2", self.store, self.account)
        return Path(self.store.path(release), "src")


@pytest.fixture(name="site")
def site_fixture(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="pygun-app-files-"))
    folder.chmod(0o755)
    monkeypatch.setattr(build, "_install", lambda *_arguments: "f" * 16)
    monkeypatch.setattr(build, "_compile", lambda *_arguments: None)
    yield Site(folder)
    shutil.rmtree(folder)


def model(server, path="models/m.bin", url="/model", digest=None, **more):
    return {"path": path, "url": address(server) + url, "sha256": digest or sha256(MODEL), "headers": TOKEN, **more}


def test_a_file_is_fetched_once_for_all_releases_and_is_one_file_of_root(site, servers):
    files = [model(servers[0])]
    first = site.build(FIRST, files) / "models" / "m.bin"
    assert first.read_bytes() == MODEL
    second = site.build(SECOND, files) / "models" / "m.bin"
    assert [path for path, _token in servers[0].asked] == ["/model"]
    assert first.samefile(second)
    found = first.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o644)
    assert sorted(path.name for path in Path(site.store.path(SECOND)).iterdir()) == [
        "files.json",
        "lock.txt",
        "manifest.json",
        "release.json",
        "run",
        "src",
        "venv",
    ]
    assert (
        json.loads(Path(site.store.path(FIRST), "manifest.json").read_text())["src/models/m.bin"]
        == f"file:{sha256(MODEL)}"
    )
    site.store.remove(FIRST)
    assert second.read_bytes() == MODEL


def test_a_file_system_without_links_takes_copies(site, servers, monkeypatch):
    def refuse(*_arguments, **_more):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    files = [model(servers[0])]
    assert {(site.build(release, files) / "models" / "m.bin").read_bytes() for release in (FIRST, SECOND)} == {MODEL}


def test_a_damaged_file_of_a_former_release_is_not_taken(site, servers):
    files = [model(servers[0])]
    with (site.build(FIRST, files) / "models" / "m.bin").open("r+b") as stream:
        stream.write(b"damaged")
    assert (site.build(SECOND, files) / "models" / "m.bin").read_bytes() == MODEL
    assert len(servers[0].asked) == 2


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_becomes_a_directory_which_the_next_release_shares(site, servers, kind):
    content = tarball(a=b"1", sub__b=b"2") if kind == "tar" else zipped("sub/b", b"2")
    servers[0].files["/archive"] = content
    files = [model(servers[0], "models", "/archive", sha256(content), unarchive=True)]
    first = site.build(FIRST, files) / "models" / "sub" / "b"
    first.with_name("shared").symlink_to("/etc")
    second = site.build(SECOND, files) / "models" / "sub" / "b"
    assert first.read_bytes() == b"2"
    assert not second.with_name("shared").exists()
    assert first.samefile(second)
    assert len(servers[0].asked) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (tarball(**{"..__..__evil": b"x"}), "leads out of its folder"),
        (tarball(**{"__etc__cron.d__evil": b"x"}), "leads out of its folder"),
        (zipped("../evil", b"x"), "leads out of its folder"),
        (tarball(link=None), "a link or a device"),
        (b"no archive at all", "cannot be unpacked"),
    ],
)
def test_an_archive_that_is_none_or_would_lead_elsewhere_is_refused(site, servers, content, says):
    servers[0].files["/archive"] = content
    with pytest.raises(InstallError, match=says):
        site.build(FIRST, [model(servers[0], "models", "/archive", sha256(content), unarchive=True)])
    assert not site.store.is_complete(FIRST)


def test_another_content_is_refused_with_both_digests(site, servers):
    servers[0].files["/model"] = b"another"
    with pytest.raises(InstallError) as refused:
        site.build(FIRST, [model(servers[0])])
    assert sha256(b"another") in str(refused.value)
    assert sha256(MODEL) in str(refused.value)
    assert "models/m.bin" in str(refused.value)


def test_a_pointer_of_git_lfs_is_refused_though_it_has_the_digest(site, servers):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
    servers[0].files["/raw"] = pointer
    with pytest.raises(InstallError, match=r"/raw is not the file .*models/m\.bin.*a pointer of Git LFS"):
        site.build(FIRST, [model(servers[0], url="/raw", digest=sha256(pointer))])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"headers": {}}, "answers 401 Unauthorized. A header with a token may be missing"),
        ({"url": "http://127.0.0.1:1/model?signature=very-secret"}, "/model cannot be fetched: "),
    ],
)
def test_what_cannot_be_fetched_is_named_without_its_secrets(site, servers, change, says):
    with pytest.raises(InstallError) as refused:
        site.build(FIRST, [{**model(servers[0]), **change}])
    assert says in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_an_answer_that_is_cut_off_is_refused(site, servers):
    servers[0].lie = 10
    with pytest.raises(InstallError, match="ended after 3000000 of 3000010 bytes"):
        site.build(FIRST, [model(servers[0])])


def test_another_server_that_an_address_leads_to_does_not_get_the_token(site, servers):
    assert (site.build(FIRST, [model(servers[0], url="/moved")]) / "models" / "m.bin").read_bytes() == MODEL
    assert servers[0].asked == [("/moved", TOKEN["Authorization"])]
    assert servers[1].asked == [("/model?signature=x", None)]


def test_no_token_is_in_a_list_of_processes_and_root_fetches_nothing(site, servers, monkeypatch):
    seen = []
    run = app_files.build_account.run

    def watched(command, account, environment, *arguments, **options):
        seen.append((str(command), account))
        return run(command, account, environment, *arguments, **options)

    monkeypatch.setattr(app_files.build_account, "run", watched)
    site.build(FIRST, [model(servers[0])])
    assert [account for _command, account in seen] == [site.account]
    assert "very-secret" not in seen[0][0]


def test_a_link_that_a_package_has_put_there_is_not_followed(site, servers, monkeypatch, tmp_path):
    def install(_params, _lock, needed, _store, _account):
        (Path(needed.source) / "models").symlink_to(tmp_path)
        os.lchown(Path(needed.source) / "models", *((ACCOUNT.uid, ACCOUNT.gid) if site.account else (-1, -1)))
        return "f" * 16

    monkeypatch.setattr(build, "_install", install)
    with pytest.raises(InstallError, match="is no directory"):
        site.build(FIRST, [model(servers[0])])
    assert list(tmp_path.iterdir()) == []


def test_a_host_without_a_network_gets_it_from_the_control_node(site, servers):
    content = tarball(a=b"1")
    servers[0].files["/archive"] = content
    files = [model(servers[0]), model(servers[0], "more", "/archive", sha256(content), unarchive=True)]
    source = site.build(FIRST, files, is_offline=True)
    assert len(servers[0].asked) == 2
    assert (source / "models" / "m.bin").read_bytes() == MODEL
    assert (source / "more" / "a").read_bytes() == b"1"
    second = site.build(SECOND, files, is_offline=True)
    assert len(servers[0].asked) == 2
    assert (second / "more" / "a").samefile(source / "more" / "a")
    # What is built again in its place lends nothing to itself.
    shutil.rmtree(source.parent)
    assert (site.build(SECOND, files, is_offline=True) / "models" / "m.bin").read_bytes() == MODEL
    assert len(servers[0].asked) == 4


@pytest.mark.parametrize("requirements", [(), ("requirements/folders.txt",)], ids=["packages", "a project"])
def test_no_package_is_built_with_it_though_a_former_release_has_it(site, servers, monkeypatch, requirements):
    seen = []

    def install(_params, _lock, needed, _store, _account):
        seen.append(sorted(os.listdir(needed.source)))
        return "f" * 16

    monkeypatch.setattr(build, "_install", install)
    files = [model(servers[0])]
    first = site.build(FIRST, files, requirements=requirements)
    second = site.build(SECOND, files, requirements=requirements)
    assert seen == [["wsgi.py"], ["wsgi.py"]]
    assert (first / "models" / "m.bin").samefile(second / "models" / "m.bin")
    assert len(servers[0].asked) == 1


def test_an_address_of_a_file_is_not_followed(tmp_path, servers):
    handler = fetcher._Redirects({})
    request = fetcher.urllib.request.Request("http://127.0.0.1/a")
    with pytest.raises(fetcher.FetchError, match="leads to an address of file"):
        handler.redirect_request(request, None, 302, "", {}, "file:///etc/passwd")
