# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Download a file, or unpack an archive, as a program of its own.

A host runs the text of this file as its build account (see `app_files.py`), the control node calls the functions. So it needs the
standard library alone. Its parameters come in a variable of its environment, since headers may be secret.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import stat
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile

#: The variable with the parameters, as JSON.
VARIABLE = "PYGUN_FETCH"
#: Seconds for which a server may send nothing.
_SILENCE = 60
_BLOCK = 1 << 20
#: Bytes that stay free on a disk.
_SPARE = 256 << 20
_MEMBERS_AT_MOST = 100_000


class FetchError(Exception):
    """A file cannot be fetched; the message says why and what to do."""


def shown(url):
    """An address without its query, which may be a signature."""
    return url.partition("?")[0]


def _begin(path):
    with open(path, "rb") as stream:
        return stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def is_pointer(path):
    """Whether a file is a pointer of Git LFS."""
    return _begin(path).startswith(b"version https://git-lfs.github.com/spec/")


def looks_like(path):
    """What a server has sent in place of a file, as a sentence; empty if nothing is known of it."""
    if _begin(path).startswith((b"<!doctype html", b"<html")):
        return "What came is a web page: the address is one for people (such as .../blob/...), or it asks for a login."
    if is_pointer(path):
        return "What came is a pointer of Git LFS: write the address of the file itself (such as .../resolve/... in place of .../raw/...)."
    return ""


def sha256_of(path):
    """The digest of a file's content."""
    digest = hashlib.sha256()
    # Without a buffer, and in small blocks: most files are small, and to reserve more takes longer than to read them.
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow to http and https only; the headers of the user are for the server that he named."""

    def __init__(self, secret):
        self.secret = {name.lower() for name in secret}

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https"):
            raise FetchError(f"{shown(req.full_url)} leads to an address of {new.scheme}. Write one of http or https.")
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in [name for name in request.headers if name.lower() in self.secret]:
                del request.headers[name]
        return request


def download(url, target, headers):
    """Download to a new file."""
    request = urllib.request.Request(url, headers={"User-Agent": "pygun.stack", **headers})  # noqa: S310
    opener = urllib.request.build_opener(_Redirects(headers))
    try:
        with opener.open(request, timeout=_SILENCE) as answer, open(target, "xb") as stream:
            size = answer.headers.get("Content-Length") or ""
            _refuse_without_space(int(size) if size.isdigit() else 0, target, shown(url))
            shutil.copyfileobj(answer, stream, _BLOCK)
            if size.isdigit() and stream.tell() != int(size):
                raise FetchError(f"{shown(url)} ended after {stream.tell()} of {size} bytes. Run this again.")
    except urllib.error.HTTPError as error:
        why = " A header with a token may be missing (headers)." if error.code in (401, 403, 404) else ""
        raise FetchError(f"{shown(url)} answers {error.code} {error.reason}.{why}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{shown(url)} cannot be fetched: {reason}") from None


def extract(archive, folder):
    """Unpack a tar or zip archive into a new folder: files and folders only, none of them outside."""
    os.mkdir(folder, 0o755)
    try:
        if _is_zip(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        why = (str(error).splitlines() or ["it ends too early"])[0]
        raise FetchError(f"it cannot be unpacked as tar or zip: {why}") from None


def _is_zip(archive):
    """Whether a file begins as a zip archive. A tar archive may end with one: many models are zip archives."""
    with open(archive, "rb") as stream:
        begin = stream.read(4)
    return begin in (b"PK\3\4", b"PK\5\6") or (zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive))


def _extract_tar(archive, folder):
    with tarfile.open(archive) as packed:
        members = _last_of_each(packed.getmembers(), lambda member: member.name)
        _check([(member.name, member.size, member.isreg() or member.isdir()) for member in members], folder)
        for member in members:
            if member.isreg():
                with packed.extractfile(member) as content:
                    _write(content, folder, member.name, member.mode)


def _extract_zip(archive, folder):
    with zipfile.ZipFile(archive) as packed:
        members = _last_of_each(packed.infolist(), lambda member: member.filename)
        for member in members:
            member.filename = member.filename.replace("\\", "/")  # as old programs of Windows write it
        _check([(one.filename, one.file_size, not stat.S_ISLNK(one.external_attr >> 16)) for one in members], folder)
        for member in members:
            if not member.is_dir():
                with packed.open(member) as content:
                    _write(content, folder, member.filename, member.external_attr >> 16)


def _last_of_each(members, name_of):
    """Members of which none has the name of another: an archive that was added to holds the older ones too."""
    found = {}
    for member in members:
        found.pop(name_of(member), None)
        found[name_of(member)] = member
    return list(found.values())


def _check(members, folder):
    """Refuse members that lead out of the folder, are not files, or do not fit on the disk."""
    if len(members) > _MEMBERS_AT_MOST:
        raise FetchError(f"it holds more than {_MEMBERS_AT_MOST} files.")
    for name, _size, usable in members:
        if not usable:
            raise FetchError(f"it holds {name!r}, which is a link or a device. Pack the file that it means.")
        if name.startswith("/") or ".." in name.split("/"):
            raise FetchError(f"it holds {name!r}, which leads out of its folder. Pack the archive again without it.")
    _refuse_without_space(sum(size for _name, size, _usable in members), folder, "unpacked, it")


def _write(content, folder, name, mode):
    path = os.path.join(folder, *[part for part in name.split("/") if part not in ("", ".")])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as stream:
        shutil.copyfileobj(content, stream, _BLOCK)
    os.chmod(path, 0o755 if mode & 0o100 else 0o644)


def _refuse_without_space(size, target, subject):
    folder = os.path.dirname(target)
    free = shutil.disk_usage(folder).free
    if size + _SPARE > free:
        raise FetchError(f"{subject} takes {size >> 20} MB, and the disk of {folder} has {free >> 20} MB left.")


def main():
    """Fetch the files that the variable names; on failure, exit with a message."""
    told = json.loads(os.environ.pop(VARIABLE))
    try:
        if "archive" in told:
            extract(told["archive"], told["target"])
        else:
            download(told["url"], told["target"], told["headers"])
    except (FetchError, OSError) as error:
        sys.exit(str(error))  # pylint: disable=ansible-bad-function


if __name__ == "__main__":
    main()
