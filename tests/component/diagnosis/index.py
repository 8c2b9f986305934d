# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A package index on this machine, in its good days and its bad ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def wheel(
    folder: Path,
    name: str,
    tag: str = "py3-none-any",
    metadata: str = "",
    version: str = "1.0",
    files: Iterable[str] = (),
) -> None:
    """The smallest wheel that an installer takes, and further empty files."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        for file in (f"{name}.py", *files):
            archive.writestr(file, "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


def source_that_does_not_build(folder: Path, name: str) -> None:
    """A source distribution whose build fails: it says what CPATH is, and a lot after that, as real ones do."""
    _archive(
        folder,
        name,
        "import os\ndef build_wheel(*arguments):\n    print(os.environ.get('CPATH', ''))\n"
        "    for number in range(60):\n        print('and line', number)\n    raise SystemExit('it does not build')\n",
    )


def _archive(folder: Path, name: str, backend: str) -> None:
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": backend,
    }
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def source(folder: Path, name: str) -> None:
    """A source distribution that builds, with a backend of its own."""
    backend = f"""
import os, zipfile
def build_wheel(folder, *arguments, **more):
    path, info = "{name}-1.0-py3-none-any.whl", "{name}-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, path), "w") as archive:
        archive.writestr("{name}.py", "")
        archive.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        archive.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{{info}}/RECORD", "")
    return path
"""
    _archive(folder, name, backend)


def house(folder: Path) -> Path:
    """A directory of packages, each with a trouble of its own."""
    folder.mkdir()
    wheel(folder, "plain")
    wheel(folder, "other")
    wheel(folder, "oldpython", "cp27-cp27m-win32")
    wheel(folder, "newpython", metadata="Requires-Python: >=3.99\n")
    source_that_does_not_build(folder, "fromsource")
    return folder


def _link(file: Path) -> str:
    return f'<a href="/files/{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'


@contextlib.contextmanager
def served(packages: Path, status: int = 200, tls: Path | None = None, query: str = "") -> Iterator[str]:
    """The address of an index of these packages, or of one that answers everything with one status.

    :param query: what an address of a file has to end with
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def do_CONNECT(self) -> None:
            self.send_error(status)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path, _mark, asked = self.path.partition("?")
            name = path.rstrip("/").rpartition("/")[2]
            file = packages / name
            if file.is_file() and asked != query:
                self.send_error(403)
                return
            if status != 200:
                self.send_error(status)
                return
            if file.is_file():
                body, kind = file.read_bytes(), "application/octet-stream"
            else:
                found = sorted(path.name for path in packages.iterdir() if path.name.startswith(f"{name}-"))
                if not found:
                    self.send_error(404)
                    return
                body, kind = "".join(_link(packages / one) for one in found).encode(), "text/html"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        key, certificate = tls / "key.pem", tls / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        # A name where TLS is: the pip that comes with Python 3.13.0 fails on an address before it looks at a certificate.
        yield f"https://localhost:{server.server_port}" if tls else f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
