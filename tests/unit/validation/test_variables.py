# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A variable changes what gunicorn reads: one line for each that no other test sets."""

from __future__ import annotations

import pytest
import yaml
from gunicorn.config import Config
from supervisor.options import ServerOptions

from ansible_collections.pygun.stack.plugins.module_utils.python_env import Installer
from tests.unit.validation.test_rendering import BASE, ROOT, environment, executed, parsed, render

GTHREAD = {"flask_app_worker_class": "gthread"}
#: Variable, a value, the setting of gunicorn, what that becomes, and what has to be set besides.
SETTINGS = [
    ("flask_app_backlog", 99, "backlog", 99, {}),
    ("flask_app_timeout", 77, "timeout", 77, {}),
    ("flask_app_workers_max", 3, "workers", 3, {}),
    ("flask_app_worker_connections", 12, "worker_connections", 12, {}),
    ("flask_app_threads", 5, "threads", 5, GTHREAD),
    ("flask_app_max_requests", 500, "max_requests", 500, {}),
    ("flask_app_max_requests_jitter", 50, "max_requests_jitter", 50, {}),
    ("flask_app_log_access", False, "accesslog", None, {}),
    ("flask_app_log_level", "debug", "loglevel", "debug", {}),
    ("flask_app_preload", True, "preload_app", True, {}),
]
#: Variable, a value, and the parameter of the runtime that gets it. tests/component/logs shows what each of them does.
TOLD = [
    ("flask_app_log_format", "text", "log_format"),
    ("flask_app_log_query", False, "log_query"),
    ("flask_app_log_redact", ["TOKEN"], "log_redact"),
    ("flask_app_log_to", "journal", "log_to"),
]


@pytest.mark.parametrize("name, value, setting, becomes, besides", SETTINGS, ids=[line[0] for line in SETTINGS])
def test_a_variable_is_the_setting_that_gunicorn_reads(name, value, setting, becomes, besides):
    def read(**given):
        config = Config()
        config.set(setting, executed(**{**besides, **given})[setting])
        return config.settings[setting].get()

    assert read(**{name: value}) == becomes
    assert BASE[name] != value and read() != becomes, "the default does the same"


@pytest.mark.parametrize("name, value, parameter", TOLD, ids=[line[0] for line in TOLD])
def test_a_variable_is_what_the_runtime_is_told(name, value, parameter):
    assert executed(**{name: value})["told"][parameter] == value
    assert executed()["told"][parameter] != value, "the default does the same"


def test_the_holder_of_the_socket_has_the_backlog_of_gunicorn():
    conf = parsed(render("etc/supervisor/conf.d/app.conf.j2", flask_app_backlog=99))
    assert conf["fcgi-program:scoring"]["socket_backlog"] == "99"


#: Variable, a value, and the option of [supervisord] that it is, as supervisor itself converts it.
SUPERVISORD = [
    ("supervisor_log_maxbytes", "3MB", "logfile_maxbytes", 3 * 1024 * 1024),
    ("supervisor_log_backups", 4, "logfile_backups", 4),
    ("supervisor_log_level", "debug", "loglevel", 10),
    ("supervisor_minfds", 4096, "minfds", 4096),
]


@pytest.mark.parametrize("name, value, option, becomes", SUPERVISORD, ids=[line[0] for line in SUPERVISORD])
def test_a_variable_is_the_option_that_supervisord_reads(tmp_path, name, value, option, becomes):
    def read(**given):
        text = render("etc/supervisor/supervisord.conf.j2", "supervisor", supervisor_log_dir=str(tmp_path), **given)
        file = tmp_path / "supervisord.conf"
        file.write_text(text.replace("/run/supervisor/", f"{tmp_path}/"))
        options = ServerOptions()
        options.realize(["-c", str(file)])
        return getattr(options, option)

    assert read(**{name: value}) == becomes
    assert read() != becomes, "the default does the same"


def test_the_web_page_has_its_port_and_systemd_the_patience():
    page = {
        "supervisor_http_enabled": True,
        "supervisor_http_user": "u",
        "supervisor_http_password": "long enough for SHA-1",
    }
    conf = parsed(render("etc/supervisor/supervisord.conf.j2", "supervisor", supervisor_http_port=9100, **page))
    assert conf["inet_http_server"]["port"] == "127.0.0.1:9100"
    unit = render("etc/systemd/system/supervisord.service.j2", "supervisor", supervisor_stop_timeout=77)
    assert "\nTimeoutStopSec=77\n" in unit


DEPLOY, BUILD = "flask_app/tasks/deploy.yml", "pygun.stack.release"
TARGET = "3.11-manylinux_2_36_x86_64"
#: Variable, a value, the tasks of a role, the module there, its parameter, and what that becomes.
PARAMETERS = [
    ("flask_app_exclude", ["notebooks"], DEPLOY, BUILD, "exclude", "['notebooks']"),
    (
        "flask_app_exclude",
        ["notebooks"],
        "flask_app/tasks/wheels.yml",
        "pygun.stack.collect_wheels",
        "exclude",
        "['notebooks']",
    ),
    ("flask_app_preflight", False, DEPLOY, BUILD, "activation.preflight", "False"),
    ("flask_app_preflight", False, DEPLOY, "pygun.stack.activate", "preflight", "False"),
    ("flask_app_keep_releases", 9, DEPLOY, "pygun.stack.activate", "keep", "9"),
    ("python_tools_dir", "/opt/x", DEPLOY, BUILD, "uv", "/opt/x/uv/bin/uv"),
    ("python_tools_dir", "/opt/x", "supervisor/tasks/install.yml", "pygun.stack.venv", "uv", "/opt/x/uv/bin/uv"),
    ("python_tools_dir", "/opt/x", "python/vars/main.yml", "__python_uv", "path", "/opt/x/uv"),
    ("python_tools_dir", "/opt/x", "supervisor/vars/main.yml", "__supervisor_venv", "path", "/opt/x/supervisor"),
    ("python_cache_dir", "/var/x", DEPLOY, BUILD, "cache_dir", "/var/x"),
    ("python_cache_dir", "/var/x", "python/tasks/install.yml", "pygun.stack.venv", "cache_dir", "/var/x"),
    ("python_cache_dir", "/var/x", "supervisor/tasks/install.yml", "pygun.stack.venv", "cache_dir", "/var/x"),
    *(
        ("python_wheelhouse_target", TARGET, f"{role}/tasks/wheels.yml", "pygun.stack.collect_wheels", "target", TARGET)
        for role in ("python", "supervisor", "flask_app")
    ),
]


@pytest.mark.parametrize(
    "name, value, file, module, parameter, becomes", PARAMETERS, ids=[f"{line[0]}-{line[2]}" for line in PARAMETERS]
)
def test_a_variable_is_the_parameter_that_a_module_gets(name, value, file, module, parameter, becomes):
    """What the modules do with these, their own tests show."""
    text = yaml.safe_load((ROOT / "roles" / file).read_text())
    given = text[module] if isinstance(text, dict) else next(task[module] for task in text if module in task)
    for part in parameter.split("."):
        given = given[part]

    def read(**variables):
        return environment("flask_app").from_string(given).render({**BASE, **variables})

    assert read(**{name: value}) == becomes
    assert read() != becomes, "the default does the same"


def test_uv_keeps_what_it_downloads_in_python_cache_dir(tmp_path):
    installer = Installer(uv="uv", cache_dir=str(tmp_path / "downloads"))
    assert installer.environment["UV_CACHE_DIR"].startswith(str(tmp_path / "downloads"))
