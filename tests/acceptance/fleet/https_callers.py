# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the balancer: an app that tells which headers it got, and callers who speak TLS. Standard library only.

https_callers.py serve PORT            answer every request with its headers, as JSON
https_callers.py call SECONDS CA       four callers for so long, each request checked; prints what came of it
"""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import sys
import threading
import time
from collections import Counter

NAME = "scoring.example.com"


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Verified(http.client.HTTPSConnection):
    """To this machine, but to the name that the certificate has."""

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=NAME)


def call(until: float, context: ssl.SSLContext, number: int, found: Counter[str], last: dict) -> None:
    connection, kept = None, number % 2
    while time.monotonic() < until:
        try:
            connection = connection or Verified("127.0.0.1", 443, timeout=20, context=context)
            connection.request("GET", "/", headers={"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "gopher"})
            answer = connection.getresponse()
            last.update(json.loads(answer.read()))
            found["ok" if answer.status == 200 else f"status {answer.status}"] += 1
            if not kept or answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            found[type(error).__name__] += 1
            connection = None
        time.sleep(0.02)


def main() -> None:
    if sys.argv[1] == "serve":
        http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), Echo).serve_forever()  # noqa: S104
    context = ssl.create_default_context(cafile=sys.argv[3])
    found: Counter[str] = Counter()
    last: dict = {}
    until = time.monotonic() + float(sys.argv[2])
    callers = [threading.Thread(target=call, args=(until, context, number, found, last)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    plain = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
    plain.request("GET", "/a?b=c", headers={"Host": NAME})
    redirected = plain.getresponse()
    print(
        json.dumps(
            {
                "answers": found,
                "headers": last,
                "redirect": [redirected.status, redirected.getheader("Location")],
            }
        )
    )


if __name__ == "__main__":
    main()
