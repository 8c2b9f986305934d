"""What the roles render, its readers read back as it was given, whatever the text; or the text is refused before.

The readers are the real ones: supervisor's own parser and options, gunicorn's Config, the runtime's parser. systemd's
quoting has one of ours, which a test compares with systemd itself where there is one.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from ansible.plugins.filter.core import comment, get_hash
from gunicorn.config import Config
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from supervisor.options import ServerOptions, UnhosedConfigParser

from ansible_collections.pygun.stack.plugins.filter.python_literal import FilterModule
from ansible_collections.pygun.stack.plugins.module_utils.supervisor import program_settings
from ansible_collections.pygun.stack.plugins.plugin_utils import gunicorn_settings
from ansible_collections.pygun.stack.plugins.plugin_utils.systemd_service import DIRECTIVES
from ansible_collections.pygun.stack.plugins.plugin_utils.validation import check, gunicorn
from pygun_runtime import env_file
from tests.unit.role_vars import told_by_pygun_py

ROOT = Path(__file__).parents[3]
ROLES = ("flask_app", "supervisor", "python")
OPTIONS = {
    name: option
    for role in ROLES
    for name, option in yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())[
        "argument_specs"
    ]["main"]["options"].items()
}
BASE = {
    **{name: option["default"] for name, option in OPTIONS.items() if "default" in option},
    "flask_app_name": "scoring",
    "flask_app_src": "/srv/code",
    "flask_app_user": "scoring",
    "flask_app_group": "scoring",
    "flask_app_log_dir": "/var/log/scoring",
    "flask_app_deployed_by": "me",
    "__flask_app_root": "/srv/scoring",
    "__supervisor_unit_options": yaml.safe_load((ROOT / "roles/supervisor/vars/main.yml").read_text())[
        "__supervisor_unit_options"
    ],
}

#: Templates are rendered here by jinja2 alone, and by each ansible-core in tests/unit/release/test_own_settings.py.
pytestmark = pytest.mark.first_core

FULL = bool(os.environ.get("PYGUN_FULL"))
quick = settings(
    max_examples=150 if FULL else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Characters that some reader or other gives a meaning, each more likely than all the rest of Unicode together.
SPECIAL = "%\"'`,;:#=\\ \t\n\r\0$&{}[]()|<>*?!~@+-/._0aZé漢\u00a0\u200b\ufeff\u3000\u2028\x85\x7f\x1b"
texts = st.text(st.sampled_from(SPECIAL) | st.characters(), max_size=40) | st.sampled_from(
    [
        "",
        "%(here)s",
        "%%",
        "a ; b",
        "a #b",
        "x\n[program:evil]\ncommand=id",
        '"',
        "'",
        "\\",
        "\\n",
        "true.",
        "None",
        "ü" * 100,
    ]
)
words = st.text("abz09._+@-/%; #\"'\\\n", min_size=1, max_size=30).map(lambda text: "/" + text) | texts


def options_of(**given):
    values = {**BASE, **given}
    return {name: value for name, value in values.items() if name in OPTIONS}


def refused(**given) -> bool:
    return bool(check.check(OPTIONS, options_of(**given)).problems)


def literal_bool(value):
    return value if isinstance(value, bool) else str(value).lower() in ("yes", "on", "1", "true")


@functools.cache
def environment(role: str) -> Environment:
    """As Ansible's template lookup makes it."""
    made = Environment(  # noqa: S701  (not HTML)
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(ROOT / "roles" / role / "templates"),
    )
    made.filters |= {
        "bool": literal_bool,
        "combine": lambda one, other: {**one, **other},
        "comment": comment,
        "hash": get_hash,
        "pygun.stack.python_literal": FilterModule().filters()["python_literal"],
        "regex_replace": lambda text, pattern, new: __import__("re").sub(pattern, new, text),
    }
    return made


def render(template: str, role: str = "flask_app", **given) -> str:
    values = {**BASE, **given}
    values |= told_by_pygun_py(environment("flask_app"), values)
    return environment(role).get_template(template).render(values)


def one_of_them(**strategies):
    """A single variable at a time, or one that is refused would hide what becomes of the others."""
    return st.one_of(*(st.fixed_dictionaries({name: strategy}) for name, strategy in strategies.items()))


env_names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


# --- the environment file -------------------------------------------------------------------------------------------


@quick
@given(st.dictionaries(env_names | texts, texts | st.integers() | st.floats(allow_nan=False), max_size=2))
@example({"A": "x" * 65536})
@example({"A": "a\r\n\t\\\"'#$`%;\u2028\x85 z"})
@example({"A": "a\0z"})
@example({"A": "line\n\n# not a comment\nB=c"})
def test_the_app_reads_the_environment_that_was_given(variables):
    if not refused(flask_app_env=variables):
        text = render("etc/pygun/app.env.j2", flask_app_env=variables)
        assert env_file.parse(text.encode().decode()) == {name: str(value) for name, value in variables.items()}


@quick
@given(st.dictionaries(env_names, st.text(max_size=200), max_size=4))
def test_nearly_every_text_can_be_the_value_of_a_variable(variables):
    """Refused are only what no environment can hold, and edges that nobody can see."""
    if refused(flask_app_env=variables):
        problems = " ".join(text for _name, text in check.check(OPTIONS, options_of(flask_app_env=variables)).problems)
        assert any(word in problems for word in ("NUL", "surrogate", "cannot be seen", "gunicorn"))


# --- pygun.py -------------------------------------------------------------------------------------------------------


class Runtime:
    """Stands in for the runtime: keeps what pygun.py tells it."""

    source, worker_class, control_socket, logger_class = "/src", "gevent", "/run/scoring/x.ctl", "logger"

    def __init__(self, file, **told):
        self.told = told

    def workers(self, maximum):
        return maximum

    def per_instance(self, path):
        return path

    def attach(self, names):
        names["told"] = self.told


def executed(**given) -> dict:
    """The names that pygun.py defines, read from a file as gunicorn does."""
    text = render("pygun.py.j2", **given)
    names = {
        "__file__": "pygun.py",
        "__name__": "__config__",
        "pygun_runtime": type("module", (), {"Runtime": Runtime}),
    }
    exec(compile(text.replace("import pygun_runtime\n", "").encode(), "pygun.py", "exec"), names)
    return names


setting_names = st.sampled_from(sorted(set(gunicorn_settings.SETTINGS) - set(gunicorn._NOT_YOURS)))
setting_values = st.one_of(
    texts, st.booleans(), st.integers(-2, 2**40), st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=2)
)


@quick
@given(st.dictionaries(setting_names | texts, setting_values, max_size=2))
@example({"access_log_format": "%(h)s \"%(r)s\" 'x' \\n ; # é"})
@example({"raw_env": ["A=%; #\"'\\"], "proc_name": "x" * 65536})
def test_gunicorn_reads_the_settings_that_were_given(given_settings):
    if not refused(flask_app_gunicorn=given_settings):
        names = executed(flask_app_gunicorn=given_settings)
        for name, value in given_settings.items():
            assert names[name] == value
            directly, through_the_file = Config(), Config()
            try:
                directly.set(name, value)
            except Exception:  # the preflight will say so
                continue
            through_the_file.set(name, names[name])
            assert through_the_file.settings[name].get() == directly.settings[name].get()


@quick
@given(one_of_them(flask_app_wsgi=words, flask_app_health_path=words, flask_app_bind=words))
@example({"flask_app_wsgi": 'wsgi:create_app("""a""", \'b\\\\\')'})
@example({"flask_app_health_path": '/a"""b\\'})
def test_pygun_py_holds_the_texts_that_were_given(variables):
    if not refused(**variables):
        names = executed(**variables)
        wanted = {**BASE, **variables}
        assert names["wsgi_app"] == wanted["flask_app_wsgi"]
        assert names["told"]["health_path"] == wanted["flask_app_health_path"]
        assert names["told"]["bind"] == wanted["flask_app_bind"]


@quick
@given(texts)
@example("x = '''\r\n'''\r\n")
def test_python_of_the_users_is_put_in_as_it_is_or_refused(text):
    if not refused(flask_app_pygun_extra=text):
        expected: dict = {}
        try:
            exec(compile(text.replace("\r\n", "\n"), "extra", "exec"), {}, expected)  # noqa: S102
        except Exception:  # text that happens to be Python, and fails when it is run
            return
        names = executed(flask_app_pygun_extra=text)
        assert {name: names[name] for name in expected} == expected


@pytest.mark.parametrize("number", ["2", 2])
def test_a_number_from_the_command_line_is_a_number_in_every_file(number):
    """-e name=2 gives a text."""
    names = executed(flask_app_workers=number, flask_app_boot_timeout=number, flask_app_keepalive=number)
    assert (names["workers"], names["told"]["boot_timeout"], names["keepalive"]) == (2, 2, 2)
    conf = render("etc/supervisor/conf.d/app.conf.j2", flask_app_instances=number, flask_app_graceful_timeout=number)
    assert "numprocs=3\n" in conf  # one more holds the socket
    assert "stopwaitsecs=12\n" in conf


# --- supervisor -----------------------------------------------------------------------------------------------------


def parsed(text: str) -> UnhosedConfigParser:
    parser = UnhosedConfigParser()
    parser.expansions = {}
    parser.read_string(text)
    return parser


@quick
@given(
    one_of_them(
        flask_app_name=st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True) | texts,
        flask_app_user=texts,
        flask_app_group=texts,
        flask_app_base_dir=words,
        flask_app_log_dir=words,
        flask_app_log_maxbytes=texts | st.from_regex(r"[0-9]{1,3}(KB|mb|GB)?", fullmatch=True),
        flask_app_socket_mode=texts | st.from_regex(r"0?[0-7]{3}", fullmatch=True),
        flask_app_bind=texts | st.ip_addresses(v=4).map(lambda ip: f"{ip}:5000"),
        flask_app_socket=st.sampled_from(["supervisor", "systemd"]),
    )
)
@example({"flask_app_base_dir": "/srv/100%"})
@example({"flask_app_bind": "unix:/run/scoring/a%b.sock"})
def test_supervisor_reads_the_program_that_was_given(variables):
    if refused(**variables):
        return
    wanted = {**BASE, **variables}
    name = wanted["flask_app_name"]
    wanted["__flask_app_root"] = root = f"{wanted['flask_app_base_dir']}/{name}"
    program = program_of(render("etc/supervisor/conf.d/app.conf.j2", **wanted), wanted["flask_app_user"])
    assert program.name == name
    assert len(program.process_configs) == (3 if wanted["flask_app_socket"] == "supervisor" else 2)
    process = program.process_configs[1]
    assert process.name == f"{name}-1"
    assert process.command.startswith(f"{root}/current/venv/bin/python ")
    assert process.directory == f"{root}/shared"
    assert process.stdout_logfile == f"{wanted['flask_app_log_dir']}/{name}-1.log"
    assert process.stdout_logfile_maxbytes == 0, "two would rotate one file"
    assert process.stderr_logfile == f"{wanted['flask_app_log_dir']}/{name}-1.raw.log"
    assert not process.redirect_stderr
    assert process.environment["HOME"] == f"{root}/shared"
    assert process.environment["USER"] == wanted["flask_app_user"]
    assert process.environment["PYGUN_RUN_DIR"] == f"/run/{name}"
    assert process.stopwaitsecs == 40
    if wanted["flask_app_socket"] == "supervisor":
        bind = wanted["flask_app_bind"]
        url = program.socket_config.url
        assert url == (f"unix://{bind[5:]}" if bind.startswith("unix:") else f"tcp://{bind}")
        if bind.startswith("unix:"):
            assert program.socket_config.mode == int(wanted["flask_app_socket_mode"], 8)


def program_of(text: str, user: str):
    """The program as supervisord itself reads it: from a file, with checks of users and directories."""
    options = ServerOptions()
    options.expansions = {}
    options.environ_expansions = {}
    real = pwd.getpwuid(os.getuid()).pw_name
    parser = parsed(
        text.replace(f"\nuser={user}\n", f"\nuser={real}\n")
        .replace(f"={user}:", f"={real}:")
        .replace(f"socket_owner={real}:", "#")
    )
    parser.mysection = "supervisord"
    options.existing_dirpath = options.existing_directory = lambda value: value
    from supervisor import options as module

    checks = {name: getattr(module, name) for name in ("existing_dirpath", "existing_directory", "logfile_name")}
    module.existing_dirpath = module.existing_directory = module.logfile_name = str  # these directories are not here
    try:
        groups = options.process_groups_from_parser(parser)
    finally:
        for check, function in checks.items():
            setattr(module, check, function)
    [group] = groups
    return group


@quick
@given(
    one_of_them(
        supervisor_http_user=texts,
        supervisor_http_password=texts,
        supervisor_http_bind=texts | st.ip_addresses(v=4).map(str),
        supervisor_log_dir=words,
        supervisor_conf_dir=words,
        supervisor_socket=texts,
        supervisor_umask=texts,
        supervisor_log_maxbytes=texts,
        ansible_managed=texts,
    )
)
@example({"ansible_managed": "Managed by us\n[evil]\nx=%(y)s"})
@example({"supervisor_http_user": ";x"})
@example({"supervisor_http_user": '"x"'})
def test_supervisor_reads_its_own_settings_as_they_were_given(variables):
    variables = {"supervisor_http_user": "ops", "supervisor_http_password": "long enough for SHA-1", **variables}
    variables |= {"supervisor_http_enabled": True, "supervisor_http_public": True}
    if refused(**{name: value for name, value in variables.items() if name in OPTIONS}):
        return
    wanted = {**BASE, **variables}
    text = render("etc/supervisor/supervisord.conf.j2", "supervisor", **wanted)
    parser = parsed(text)
    assert set(parser.sections()) == {
        "supervisord", "unix_http_server", "rpcinterface:supervisor", "supervisorctl", "inet_http_server", "include"
    }  # fmt: skip
    told = {
        ("supervisord", "logfile"): f"{wanted['supervisor_log_dir']}/supervisord.log",
        ("supervisord", "umask"): wanted["supervisor_umask"],
        ("unix_http_server", "file"): wanted["supervisor_socket"],
        ("inet_http_server", "port"): f"{wanted['supervisor_http_bind']}:9001",
        ("inet_http_server", "username"): wanted["supervisor_http_user"],
        ("inet_http_server", "password"): "{SHA}" + get_hash(wanted["supervisor_http_password"], "sha1"),
    }
    for (section, name), value in told.items():
        assert parser.saneget(section, name) == value


# --- systemd --------------------------------------------------------------------------------------------------------


def assignments(text: str) -> list[tuple[str, str]]:
    """Lines NAME=VALUE as systemd reads a unit: comments, sections, and a backslash that joins lines."""
    found = []
    for line in text.replace("\\\n", " ").split("\n"):
        if line.strip() and not line.startswith(("#", ";", "[")):
            name, equals, value = line.partition("=")
            assert equals, line
            found.append((name.strip(), value.strip()))
    return found


directives = st.sampled_from(sorted(DIRECTIVES)) | texts


@quick
@given(st.dictionaries(directives, texts | st.booleans() | st.integers(), max_size=2), texts)
@example({"MemoryMax": "4G\\"}, "")
@example({"Environment": '"A=b c" %h ; # x'}, "")
@example({}, "Managed\nUser=evil")
def test_systemd_reads_the_directives_that_were_given_and_no_other(directives_given, managed):
    if refused(supervisor_unit_options=directives_given):
        return
    wanted = {**BASE, "supervisor_unit_options": directives_given}
    if "\\\n" in managed + "\n":  # a comment that ends so would take the next line along
        managed = ""
    text = render("etc/systemd/system/supervisord.service.j2", "supervisor", **wanted, ansible_managed=managed)
    read = assignments(text)
    expected = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in directives_given.items()
    }
    for name, value in expected.items():
        if value:
            assert (name, value.strip()) in read
        else:
            assert name not in [known for known, _value in read]
    assert len(read) == len(assignments(render("etc/systemd/system/supervisord.service.j2", "supervisor"))) + sum(
        (1 if value else 0) - (name in BASE["__supervisor_unit_options"]) for name, value in expected.items()
    )


@quick
@given(texts | st.from_regex(r"[1-9][0-9]{0,4}([KMGkmg][Bb]?|%)", fullmatch=True))
@example("4gb")
@example("80%")
def test_systemd_reads_the_memory_that_was_given(most):
    if not refused(supervisor_memory_max=most):
        read = assignments(
            render("etc/systemd/system/supervisord.service.j2", "supervisor", supervisor_memory_max=most)
        )
        found = [value for name, value in read if name == "MemoryMax"]
        assert found == ([most.upper().removesuffix("B")] if most else [])
        assert not found or re.fullmatch(r"[0-9]+[KMG%]", found[0])  # what systemd.resource-control(5) takes


@quick
@given(words | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]:5000"), texts)
def test_systemd_reads_the_socket_that_was_given(bind, managed):
    variables = {"flask_app_bind": bind, "flask_app_socket": "systemd"}
    if not refused(**variables):
        text = render("etc/systemd/system/app.socket.j2", **variables, ansible_managed=managed.replace("\\", ""))
        assert ("ListenStream", bind.removeprefix("unix:")) in assignments(text)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
@pytest.mark.parametrize("bind", ["127.0.0.1:5000", "[::1]:5000", "unix:/run/scoring/scoring.sock"])
def test_systemd_itself_takes_the_socket_units(bind):
    variables = {
        "flask_app_bind": bind,
        "flask_app_socket": "systemd",
        "flask_app_user": "daemon",
        "flask_app_group": "daemon",
    }
    with tempfile.TemporaryDirectory() as folder:
        for template, unit in (
            ("app.socket", "pygun-scoring.socket"),
            ("app-keeper.socket", "pygun-scoring-keeper.socket"),
        ):
            Path(folder, unit).write_text(render(f"etc/systemd/system/{template}.j2", **variables))
        Path(folder, "pygun-scoring.service").write_text(
            render("etc/systemd/system/app.service.j2", **variables).replace(BASE["python_interpreter"], "/bin/true")
        )
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *Path(folder).iterdir()],
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if "pygun-" in line]
        assert said == [], done.stderr


# --- the validators themselves --------------------------------------------------------------------------------------

anything = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(quick, max_examples=1500 if FULL else 400)
@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)), anything, min_size=1, max_size=4))
def test_no_value_of_any_type_is_more_than_the_rules_can_take(variables):
    """They answer, always; and every problem names its variable, on one line, in characters that can be printed."""
    report = check.check(OPTIONS, options_of(**variables), memory_mb=1000)
    for name, text in report.problems + report.warnings:
        assert name.partition(".")[0] in OPTIONS
        assert "\n" not in text
        assert (name + text).isprintable()
        (name + text).encode()
    assert report.text("flask_app").endswith("\nNothing was changed.")


@quick
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(sorted({*program_settings.PROGRAM, *program_settings.LISTENER})) | texts, anything
        )
    ),
    st.sampled_from(["flask_app_programs", "supervisor_programs", "supervisor_listeners"]),
)
@example([{"name": "x", "command": "/bin/true", "user": "x", "environment": {1: 2}}], "supervisor_programs")
@example([{"name": "x", "command": "/bin/true", "user": "x", "stopwaitsecs": True}], "supervisor_programs")
def test_no_program_of_any_shape_is_more_than_the_rules_can_take(entries, variable):
    entries = [{"name": "x", "command": "/bin/true", "user": "x", "events": ["TICK_5"], **entry} for entry in entries]
    if variable != "supervisor_listeners":
        entries = [{name: value for name, value in entry.items() if name != "events"} for entry in entries]
    if variable == "flask_app_programs":
        entries = [{name: value for name, value in entry.items() if name != "user"} for entry in entries]
    for _name, text in check.check(OPTIONS, options_of(**{variable: entries})).problems:
        assert "\n" not in text
        assert text.isprintable()
        text.encode()


@quick
@given(st.text(min_size=12).filter(lambda text: text.strip()))
def test_no_message_holds_a_secret(secret):
    def messages(secret):
        for variables in (
            {"flask_app_env": {"TOKEN": secret + "\0"}},
            {"flask_app_env": {"TOKEN": secret + "\u200b"}},
            {"supervisor_http_enabled": True, "supervisor_http_user": "", "supervisor_http_password": secret + "\r"},
        ):
            report = check.check(OPTIONS, options_of(**variables))
            assert report.problems
            yield report.text("flask_app")

    # A "secret" such as `Nothing was` stands in every message.
    assume(not any(secret in text for text in messages("another one, 12 long")))
    assert not any(secret in text for text in messages(secret))
