"""Bad variables are refused with a text that says which, why and what to do; good ones are taken."""

import getopt
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from gunicorn.workers import SUPPORTED_WORKERS

from ansible_collections.pygun.stack.plugins.plugin_utils import balancer, gunicorn_settings, text
from ansible_collections.pygun.stack.plugins.plugin_utils.validation import app_files, check, gunicorn, load_balancer
from tools import gunicorn_settings as generator

ROOT = Path(__file__).parents[3]
ROLES = ("flask_app", "supervisor", "python", "load_balancer")
OPTIONS = {
    role: yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    for role in ROLES
}
EVERY_OPTION = {name: option for options in OPTIONS.values() for name, option in options.items()}
BASE = {
    "flask_app_name": "scoring",
    "flask_app_src": "/srv/code/scoring/",
    "load_balancer_services": [{"name": "scoring", "bind": "0.0.0.0:443"}],
}
ROWS = yaml.safe_load(Path(__file__).with_name("bad_inputs.yml").read_text())
SECRETS = ("s3cret-value",)


def role_of(row):
    first = next(iter(row["vars"]))
    return next(role for role in ROLES if first.startswith(f"{role}_"))


def with_defaults(given):
    name = given.get("flask_app_name", "scoring")
    values = {name: option["default"] for name, option in EVERY_OPTION.items() if "default" in option}
    values |= {"flask_app_user": name, "flask_app_log_dir": f"/var/log/{name}", "flask_app_deployed_by": "me"}
    values |= {**BASE, **given}
    return {"flask_app_group": values["flask_app_user"], **values} | (
        {} if "flask_app_group" in given else {"flask_app_group": values["flask_app_user"]}
    )


def report_on(given, **options):
    return check.check(EVERY_OPTION, with_defaults(given), **options)


def refusal(role, given):
    """The message that a play with these variables ends with."""
    return check.check(EVERY_OPTION, with_defaults(given)).text(role)


def refused_by_ansible(given):
    """What Ansible's own check, which comes after ours, has against variables."""
    spec = {
        name: {key: option[key] for key in option if key not in ("description", "default")}
        for name, option in EVERY_OPTION.items()
        if name in given
    }
    return ArgumentSpecValidator(spec).validate(given).error_messages


def label(row):
    return ", ".join(f"{name}={value!r}" for name, value in row["vars"].items())[:90]


IN_PROCESS = [row for row in ROWS if not row.get("playbook")]


@pytest.mark.parametrize("row", IN_PROCESS, ids=label)
def test_a_bad_input_is_refused_by_name_with_what_to_do(row):
    said = refusal(role_of(row), row["vars"])
    for phrase in row["says"]:
        assert phrase.lower() in said.lower(), f"{phrase!r} is not in:\n{said}"
    assert not any(secret in said for secret in SECRETS), said
    assert said.endswith("\nNothing was changed.")


#: How a remedy begins.
TELLS = re.compile(
    r"\b(begin|change|choose|compare|correct|divide|encode|end|give|join|keep|leave|lower|make|move|name|put|raise|remove|save|set|shorten"
    r"|spell|take|type|use|write)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("row", IN_PROCESS, ids=label)
def test_each_line_of_a_refusal_says_what_to_do(row):
    lines = refusal(role_of(row), row["vars"]).split("\n- ")[1:]
    assert lines
    for line in lines:
        text = re.sub(r"'[^' ]*'|(flask_app|load_balancer|supervisor|python)_\w+", "", line)
        assert TELLS.search(text), line


ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "1",
    " 2 ",
    "1.0",
    "2.0",
    "1e3",
    "yes",
    "TRUE",
    "t",
    [],
    ["x"],
    [1],
    {},
    {"a": 1},
    "a=b",
    "[1]",
    "{}",
]


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_what_our_check_takes_ansibles_own_takes_too(name):
    """So that nobody ever gets to read Ansible's text, which does not say what to do."""
    for value in [*ODD, *EVERY_OPTION[name].get("choices", ())]:
        if not [one for one, _text in report_on({name: value}).problems if one == name]:
            assert refused_by_ansible({name: value}) == [], (name, value)


def test_the_table_is_long_and_has_no_row_twice():
    assert len(ROWS) >= 150
    assert len({str(row["vars"]) for row in ROWS}) == len(ROWS)


def test_every_variable_that_can_be_wrong_has_a_row():
    harmless = set()
    in_rows = {name for row in ROWS for name in row["vars"]}
    assert set(EVERY_OPTION) - in_rows == harmless


def test_the_table_proves_that_it_can_fail():
    """The base that every row stands on is itself taken."""
    assert report_on({}).problems == []
    assert report_on({}).warnings == []


GOOD = [
    {"flask_app_boot_timeout": 300, "flask_app_timeout": 30},  # a timeout begins with the first heartbeat
    {"flask_app_name": "a"},
    {"flask_app_programs": [{"name": "beat", "command": "celery -A app beat", "singleton": True}]},
    {
        "flask_app_programs": [
            {"name": "consumer", "command": "bin/consumer {release}", "numprocs": "2", "umask": "027"}
        ]
    },
    {"flask_app_programs": [{"name": "worker", "command": ["sh", "-c", "cd x && rq worker"]}]},
    {
        "flask_app_env": {"API_TOKEN_FILE": "/srv/scoring/token", "TOKEN_URL": "https://sso.example/token"},
        "flask_app_programs": [
            {"name": "worker", "command": "work --token-file /srv/scoring/token --from https://sso.example/token"}
        ],
    },
    {"flask_app_accelerators": [0, "GPU-5a3c"], "supervisor_unit_options": {"PrivateDevices": "false"}},
    {"flask_app_name": "scoring-api_2"},
    {"flask_app_instances": "3", "flask_app_preload": "yes"},
    {"flask_app_bind": "0.0.0.0:80"},
    {"flask_app_bind": "[::1]:5000", "flask_app_socket": "systemd"},
    {"flask_app_bind": "[::]:5000", "flask_app_socket": "systemd"},
    {"flask_app_bind": "unix:/run/scoring/scoring.sock", "flask_app_socket_mode": "0666"},
    {"flask_app_wsgi": "scoring.web:create_app('production', debug=False)"},
    {"flask_app_wsgi": "httpbin:app", "flask_app_src": "", "flask_app_packages": ["httpbin==0.10.4"]},
    {
        "flask_app_packages": [
            "a[b,c]>=1,<2; python_version < '3.13'",
            "x @ https://example.com/x.whl",
            "y~=1.0",
            "/opt/w.whl",
        ]
    },
    {"flask_app_src": "", "flask_app_git_repo": "git@git.example.com:team/app.git", "flask_app_git_ref": "feature/x-1"},
    {"flask_app_src": "service", "flask_app_git_repo": "https://git.example.com/a.git", "flask_app_git_ref": "0a1b2c3"},
    {"flask_app_requirements": ["requirements/prod.txt", "/etc/hostname"], "flask_app_overrides": ["greenlet>=3.2.2"]},
    {"flask_app_env": {"A": "", "B": 1, "C": "a\nb\n", "D": "ünï 漢字 👩‍🔬", "E": "x" * 65536, "F": '"%s";#'}},
    {
        "flask_app_gunicorn": {
            "limit_request_line": 8190,
            "forwarded_allow_ips": "*",
            "raw_env": ["A=b"],
            "workers": "0x4",
        }
    },
    {
        "flask_app_gunicorn": {
            "secure_scheme_headers": {"X-PROTO": "https"},
            "capture_output": "True",
            "sendfile": False,
        }
    },
    {"flask_app_gunicorn": {"worker_class": "sync", "access_log_format": "%(h)s “quoted” é"}},
    {"flask_app_pygun_extra": "def when_ready(server):\r\n    server.log.info('up')\r\n"},
    {"flask_app_graceful_timeout": 300, "supervisor_stop_timeout": 400},
    {"flask_app_timeout": 0, "flask_app_boot_timeout": 300},
    {"flask_app_boot_timeout": 300, "flask_app_preload": True},
    {"flask_app_worker_class": "mypackage.workers.Special"},
    {"flask_app_keepalive": 75},
    {"flask_app_gunicorn": {"keepalive": 75}},
    {"flask_app_pid_file": "/run/scoring/scoring.pid"},
    {"flask_app_health_path": "/healthz?deep=1"},
    {"flask_app_health_host": "api.example.com:8443"},
    {
        "flask_app_env": {
            "PYTHONPATH": "/x",
            "TZ": "Asia/Shanghai",
            "SCRIPT_NAME": "/a/b",
            "CONFIG": "{release}/src/x.cfg",
        }
    },
    {"flask_app_env": {"CONFIG": "/srv/scoring/currently/x", "OTHER": "/srv/other/current/x"}},
    {"flask_app_group": "www-data"},
    {"flask_app_log_maxbytes": "100mb"},
    {"flask_app_base_dir": "/home/apps", "supervisor_unit_options": {"ProtectHome": "false"}},
    {"flask_app_base_dir": "/data/apps_2+x@y"},
    {"supervisor_unit_options": {"MemoryMax": "4G", "Nice": 5, "ProtectClock": "", "PrivateTmp": False}},
    {
        "supervisor_http_enabled": True,
        "supervisor_http_user": "ops",
        "supervisor_http_password": "pässwort %;# zu lang",
        "supervisor_http_bind": "0.0.0.0",
        "supervisor_http_public": True,
    },
    {"python_index_url": "https://me:pw@packages.example.com/simple", "python_extra_args": ["--only-binary", ":all:"]},
    {"supervisor_ctl_link": "", "supervisor_umask": "027", "supervisor_version": "4.3.0"},
    {"supervisor_memory_max": "4GB", "flask_app_memory_max": "500MB", "flask_app_workers": 4},
    {"supervisor_memory_max": "80%", "flask_app_memory_max": "1gb"},
    {
        "supervisor_programs": [
            {
                "name": "mailer",
                "command": "/opt/mailer/bin/mailer --tag '100% of it ;' --port 80%(process_num)02d",
                "user": "mail",
                "numprocs": 2,
                "autorestart": True,
                "exitcodes": [0, 2],
                "stopsignal": "int",
                "environment": {"A": "", "B": 1, "C": "ünï ;# % 'q' x", "D": 1.5},
                "stdout_logfile_maxbytes": 0,
                "stdout_logfile": "/var/log/mailer-%(process_num)d.log",
                "group": "post",
            },
            {"name": "postman", "command": "postman", "user": "1000", "group": "post", "redirect_stderr": False},
        ],
        "supervisor_listeners": [
            {"name": "ears", "command": "/usr/bin/ears", "user": "root", "events": ["tick_60"], "buffer_size": "20"}
        ],
    },
]


@pytest.mark.parametrize("given", GOOD, ids=lambda given: ", ".join(given))
def test_a_good_input_is_taken(given):
    assert report_on(given).problems == []


@pytest.mark.parametrize("worker_class", sorted(set(SUPPORTED_WORKERS) - {"gevent_wsgi", "gevent_pywsgi", "asgi"}))
def test_every_worker_class_of_gunicorn_is_known(worker_class):
    assert report_on({"flask_app_worker_class": worker_class}).problems == []


def test_everything_wrong_is_told_at_once():
    said = refusal(
        "flask_app",
        {
            "flask_app_bind": "5000",
            "flask_app_wsgi": "wsgi.py",
            "flask_app_keepalive": 99,
            "flask_app_worker_class": "sync",
        },
    )
    assert said.startswith("3 variables of pygun.stack.flask_app cannot be used:\n")
    assert said.count("\n- flask_app_") == 3


def test_what_follows_from_a_wrong_name_is_not_told_again():
    assert [name for name, _text in report_on({"flask_app_name": "My App"}).problems] == ["flask_app_name"]


@pytest.mark.parametrize(
    ("given", "variable", "phrase"),
    [
        ({"flask_app_env": {"TOKEN": "s3cret\u200bvalue"}}, "flask_app_env", "U+200B ZERO WIDTH SPACE"),
        ({"flask_app_log_maxbytes": "0"}, "flask_app_log_maxbytes", "never rotated"),
        ({"flask_app_log_backups": 0}, "flask_app_log_backups", "thrown away"),
        (
            {"flask_app_bind": "unix:/run/scoring/scoring.sock", "flask_app_socket_mode": "0666"},
            "flask_app_socket_mode",
            "is '0666', and others cannot reach the socket all the same: /run/scoring is for root and flask_app_group (scoring)"
            " alone. Put callers into that group.",
        ),
    ],
)
def test_what_is_seldom_meant_gives_a_warning(given, variable, phrase):
    report = report_on(given)
    assert report.problems == []
    [(name, said)] = report.warnings
    assert name == variable
    assert phrase in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "given",
    [
        {"flask_app_bind": "unix:/run/scoring/scoring.sock"},
        {"flask_app_bind": "unix:/run/scoring/scoring.sock", "flask_app_socket_mode": "0770"},
        {"flask_app_socket_mode": "0666"},
    ],
)
def test_a_socket_for_its_group_gives_no_warning(given):
    assert report_on(given).warnings == []


def example_of(role):
    """What the README of a role sets in group_vars."""
    readme = (ROOT / "roles" / role / "README.md").read_text()
    block = re.search(r"^In `group_vars/api.yml`.*?^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[1]
    return yaml.safe_load(block)


@pytest.mark.parametrize("role", ["supervisor", "python"])
def test_the_example_of_a_role_is_taken(role):
    report = report_on(example_of(role))
    assert (report.problems, report.warnings) == ([], [])


def test_the_example_sends_mail_with_a_program_that_needs_no_privileges():
    """Under NoNewPrivileges sendmail does not get the group of its queue; msmtp with --host needs no file of anybody's."""
    [listener] = example_of("supervisor")["supervisor_listeners"]
    options, rest = getopt.getopt(shlex.split(listener["command"])[1:], "hp:ao:s:m:")  # superlance's crashmail
    assert rest == []
    sender, *arguments = shlex.split(dict(options)["-s"])
    assert (sender, arguments[:2]) == ("/usr/bin/msmtp", ["-t", "--host=mail.example.com"])


def test_workers_that_cannot_fit_into_the_hosts_memory_give_a_warning():
    many = {"flask_app_workers": 64}
    assert "2000 MB" in report_on(many, memory_mb=2000).warnings[0][1]
    assert report_on(many).warnings == report_on(many, memory_mb=64000).warnings == []


def test_the_settings_are_those_of_the_pinned_gunicorn():
    assert generator.TARGET.read_text() == generator.render(), "run `./dev run python -m tools.gunicorn_settings`"
    pinned = OPTIONS["flask_app"]["flask_app_server_packages"]["default"]
    assert f"gunicorn[gevent]=={gunicorn_settings.VERSION}" in pinned


def test_settings_that_are_not_taken_exist():
    """When gunicorn drops one, its row here goes too."""
    assert set(gunicorn._NOT_YOURS) <= set(gunicorn_settings.SETTINGS)
    assert not set(gunicorn._OF_SUPERVISOR) & set(gunicorn_settings.SETTINGS)


def test_gunicorn_itself_agrees_about_the_values_of_its_settings():
    from gunicorn.config import Config

    tried = 0
    values = [
        "x",
        "",
        3,
        -1,
        "3",
        "0x3",
        "012",
        "30s",
        True,
        "true.",
        "TRUE ",
        1.5,
        ["a"],
        [1],
        {"a": "b"},
        "127.0.0.1",
        "10.0.0.300",
    ]
    kinds = {"pos_int", "bool", "dict", "list_string", "string", "string_to_addr_list"}
    for name, kind in gunicorn_settings.SETTINGS.items():
        if kind not in kinds or name in gunicorn._NOT_YOURS or name == "raw_env":
            continue
        for value in values:
            try:
                Config().set(name, value)
                taken = True
            except Exception:
                taken = False
            ours = not list(gunicorn._setting(name, kind, value))
            assert taken or not ours, f"{name} = {value!r}: gunicorn takes it: {taken}, we: {ours}"
            tried += 1
    assert tried > 300


def test_characters_are_named_where_they_stand():
    assert text.unseen("ab\n c\u200bd", "\n") == ["line 2, column 3: U+200B ZERO WIDTH SPACE"]
    assert text.unseen("a\tb") == ["line 1, column 2: U+0009 TAB"]
    assert text.unseen("plain text") == []
    assert text.foreign("a：b").startswith("column 2: U+FF1A FULLWIDTH COLON (in place of :)")


def test_the_rules_run_without_ansible():
    """They are plain Python."""
    code = (
        "import sys, types\n"
        "for name in ('', '.pygun', '.pygun.stack', '.pygun.stack.plugins'):\n"
        "    module = types.ModuleType('ansible_collections' + name)\n"
        "    module.__path__ = [sys.argv[1]]\n"
        "    sys.modules['ansible_collections' + name] = module\n"
        "import ansible_collections.pygun.stack.plugins.plugin_utils.validation.check\n"
        "assert 'ansible' not in sys.modules\n"
    )
    folder = ROOT / "plugins"
    subprocess.run([sys.executable, "-I", "-c", code, folder], check=True)


def test_a_file_of_an_app_is_what_the_argument_spec_says():
    options = OPTIONS["flask_app"]["flask_app_files"]["options"]
    assert {name: option["type"] for name, option in options.items()} == app_files.FILE


def test_a_service_of_the_balancer_is_what_the_argument_spec_says():
    options = OPTIONS["load_balancer"]["load_balancer_services"]["options"]
    assert {name: option["type"] for name, option in options.items()} == load_balancer.SERVICE
    assert {name: option["default"] for name, option in options.items() if "default" in option} == balancer.DEFAULTS
