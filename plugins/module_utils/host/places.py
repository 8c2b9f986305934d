# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The default places on a host."""

from __future__ import annotations

#: The folder of all apps.
BASE_DIR = "/srv"
#: The folder of supervisor's configuration.
CONF_DIR = "/etc/supervisor"
#: Where supervisord listens.
SUPERVISOR_SOCKET = "/run/supervisor/supervisor.sock"
#: The folder of supervisor's own logs.
SUPERVISOR_LOG_DIR = "/var/log/supervisor"
#: The folder of uv, supervisor and our own tools.
TOOLS_DIR = "/opt/pygun"
#: The folder of downloads of builds.
CACHE_DIR = "/var/cache/pygun"
#: The folder of environment files, and of the configuration of logrotate.
ETC = "/etc/pygun"
LOGROTATE_DIR = f"{ETC}/logrotate.d"
#: The folder of logs.
LOGS = "/var/log"
#: The socket of HAProxy.
HAPROXY_SOCKET = "/run/haproxy/admin.sock"


def root(app: str) -> str:
    """The directory of an app."""
    return f"{BASE_DIR}/{app}"


def run_dir(app: str) -> str:
    """The run directory of an app."""
    return f"/run/{app}"


def log_dir(app: str) -> str:
    """The folder of an app's logs."""
    return f"{LOGS}/{app}"


def env_file(app: str) -> str:
    """The environment file of an app."""
    return f"{ETC}/{app}.env"


def tmpfiles(app: str) -> str:
    """The file by which systemd makes an app's run directory at boot."""
    return f"/etc/tmpfiles.d/pygun-{app}.conf"


def program_conf(app: str) -> str:
    """The configuration of an app's program."""
    return f"{CONF_DIR}/conf.d/{app}.conf"
