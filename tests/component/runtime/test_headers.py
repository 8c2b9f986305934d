# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app believes of a caller that gunicorn trusts: 127.0.0.1 by default, and every unix socket."""

import pytest

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(environ["SCRIPT_NAME"] + environ["PATH_INFO"]) + 1))])
    return [(environ["SCRIPT_NAME"] + " " + environ["PATH_INFO"]).encode()]
"""


@pytest.mark.parametrize(
    "settings, believed",
    [({}, " /admin/users"), ({"forwarder_headers": "SCRIPT_NAME"}, "/admin /users")],
    ids=["by default", "if it is told to"],
)
def test_a_caller_says_where_the_app_is_served(host, settings, believed):
    instance = host.start(app=APP, **settings).wait_ready()
    for address in (host.address, instance.private):
        client = host.connect(address)
        client.send("/admin/users", headers=["SCRIPT_NAME: /admin", "PATH_INFO: /public"])
        status, _headers, body = client.receive()
        assert (status, body) == (200, believed)
