"""What is written, supervisor's own parser reads back as it was given, whatever the text; or the text is refused."""

import os
import pwd
import shlex
import signal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from supervisor import datatypes, events
from supervisor.options import ServerOptions, UnhosedConfigParser

from ansible_collections.pygun.stack.plugins.module_utils.supervisor import (
    program_files,
    program_scope,
    program_settings,
)
from ansible_collections.pygun.stack.plugins.modules import programs

ME = pwd.getpwuid(os.getuid()).pw_name
LOGS = "/var/log/supervisor"
quick = settings(
    max_examples=300 if os.environ.get("PYGUN_FULL") else 80,
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
        "100%s",
        "a ; b",
        "a #b",
        "%(process_num)02d",
        "%(ENV_HOME)s",
        "x\n[program:evil]",
        "a\\",
        " %;",
    ]
)
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: "QJX" not in name)
secrets = st.tuples(texts, texts).map("QJX".join)


def groups_of(text):
    """The groups as supervisord makes them of a file; log directories need not exist here."""
    options = ServerOptions()
    options.expansions = options.environ_expansions = {}
    parser = UnhosedConfigParser()
    parser.expansions = {}
    parser.read_string(text)
    parser.mysection = "supervisord"
    check = datatypes.existing_dirpath
    datatypes.existing_dirpath = str
    try:
        return {group.name: group for group in options.process_groups_from_parser(parser)}
    finally:
        datatypes.existing_dirpath = check


def read(kind, entry):
    """The last process of a program; None if the program is refused."""
    entry = {"name": "x", "command": "/bin/true", "user": ME, **entry}
    if kind == "eventlistener":
        entry.setdefault("events", ["TICK_5"])
    if list(program_settings.problems(kind, entry)):
        return None
    [group] = groups_of(program_files.section(kind, entry, LOGS)).values()
    return group.process_configs[-1]


def replaced(text, number=0, count=1):
    """By hand what supervisor makes of its own expansions, and of nothing else."""
    for name, value in (("process_num", number), ("numprocs", count)):
        for width in ("", *(f"{zero}{digit}" for zero in ("", "0") for digit in range(1, 10))):
            for letter in "ds":
                found = f"%({name}){width}{letter}"
                text = text.replace(found, f"%{width}{letter}" % value)
    return text.replace("%(program_name)s", "x").replace("%(group_name)s", "x")


@quick
@given(st.lists(texts, min_size=1, max_size=3))
@example(["a ;b", "# c", "100%"])
@example(["%(process_num)02d", "%%(process_num)d"])
@example([" ;", "\t#"])
def test_the_command_has_the_arguments_that_were_given(arguments):
    for kind in ("program", "eventlistener"):
        process = read(kind, {"command": shlex.join(["/bin/true", *arguments])})
        if process is not None and "%(host_node_name)s" not in "".join(arguments):
            assert shlex.split(process.command) == ["/bin/true", *map(replaced, arguments)]


@quick
@given(st.dictionaries(names, texts | st.integers() | st.floats(allow_nan=False), max_size=3))
@example({"A": "a ;b #c", "B": "it's", "C": 'say "x"'})
@example({"A": "%(process_num)d %d %%", "B": ",C=evil"})
@example({"A": "x" * 65536})
def test_the_environment_is_the_one_that_was_given(variables):
    process = read("program", {"environment": variables})
    if process is not None and "host_node_name" not in str(variables):
        assert process.environment == {name: replaced(str(value)) for name, value in variables.items()}


@quick
@given(st.dictionaries(names, st.text(st.characters(exclude_categories=["C"]), max_size=30), max_size=3))
def test_nearly_every_text_can_be_the_value_of_a_variable(variables):
    """Refused are only quotes in places where supervisor would lose them."""
    process = read("program", {"environment": {name: value for name, value in variables.items() if "%(" not in value}})
    if process is None:
        assert any("'" in value or '"' in value for value in variables.values())


@quick
@given(texts)
@example("/srv/100% ;x")
def test_the_directory_is_the_one_that_was_given(directory):
    process = read("program", {"directory": directory})
    if process is not None and "host_node_name" not in directory and directory:
        assert process.directory == replaced(directory)


@quick
@given(
    st.one_of(
        *(
            st.fixed_dictionaries({name: strategy})
            for name, strategy in {
                "name": texts | st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True),
                "user": texts,
                "umask": texts | st.from_regex(r"0?[0-7]{3}", fullmatch=True),
                "stopsignal": texts | st.sampled_from(program_settings.SIGNALS),
                "autorestart": texts,
                "exitcodes": st.lists(texts | st.integers(-1, 300), max_size=3),
                "stdout_logfile": texts,
                "stdout_logfile_maxbytes": texts | st.from_regex(r"[0-9]{1,3}(KB|mb|GB)?", fullmatch=True),
                "numprocs": st.integers(-1, 20),
                "startsecs": st.integers(-1, 5000),
                "priority": st.integers(-2000, 2000),
                "serverurl": texts,
                "events": st.lists(texts | st.sampled_from(sorted(program_settings.EVENTS)), max_size=2),
                "result_handler": texts,
            }.items()
        )
    ),
    st.sampled_from(["program", "eventlistener"]),
)
def test_what_is_not_refused_supervisor_reads_and_starts_no_other_program(entry, kind):
    [(name, value)] = entry.items()
    if name not in program_settings.SETTINGS[kind]:
        return
    whole = {"name": "x", "command": "/bin/true", "user": ME, "events": ["TICK_5"], **entry}
    if name in ("user", "result_handler") or list(program_settings.problems(kind, whole)):
        return  # whether a user or a module exists is not a matter of the text
    groups = groups_of(program_files.section(kind, whole, LOGS))
    assert list(groups) == [whole["name"]]
    process = groups[whole["name"]].process_configs[-1]
    if name in ("startsecs", "priority"):
        assert getattr(process, name) == value
    elif name == "numprocs":
        expected = {"x"} if value == 1 else {f"x-{number}" for number in range(value)}
        assert {process.name for process in groups["x"].process_configs} == expected
    elif name == "exitcodes":
        assert process.exitcodes == [int(code) for code in value]
    elif name == "stopsignal":
        assert process.stopsignal == getattr(signal, f"SIG{value.upper().removeprefix('SIG')}")
    elif name == "umask":
        assert process.umask == int(value, 8)
    elif name == "stdout_logfile" and value.upper() != "NONE":
        assert process.stdout_logfile == replaced(value)
    elif name == "stdout_logfile_maxbytes":
        assert process.stdout_logfile_maxbytes == datatypes.byte_size(value)


def test_logs_go_to_a_place_of_their_own():
    process = read("program", {})
    assert (process.stdout_logfile, process.stderr_logfile, process.redirect_stderr) == (f"{LOGS}/x.log", None, True)
    assert process.stdout_logfile_maxbytes == 50 * 1024 * 1024
    assert read("program", {"numprocs": 2}).stdout_logfile == f"{LOGS}/x-1.log"
    apart = read("program", {"redirect_stderr": False})
    assert (apart.stdout_logfile, apart.stderr_logfile) == (f"{LOGS}/x.log", f"{LOGS}/x.err.log")
    listener = read("eventlistener", {})
    assert (listener.stdout_logfile, listener.stderr_logfile) == (None, f"{LOGS}/x.log")


def test_a_group_holds_its_programs():
    entries = [
        {"name": name, "command": "/bin/true", "user": ME, "group": "pair", "priority": priority}
        for name, priority in (("a", 7), ("b", 3))
    ]
    [(group, text)] = program_files.render("supervisor", entries, [], LOGS).items()
    read_back = groups_of(text)
    assert list(read_back) == [group] == ["pair"]
    assert read_back["pair"].priority == 3
    assert {process.name for process in read_back["pair"].process_configs} == {"a", "b"}
    assert program_scope.scope_of(text) == "supervisor"
    assert program_files.names_in(text) == {"pair", "a", "b"}


@quick
@given(st.dictionaries(names, secrets, max_size=3), secrets)
def test_a_diff_holds_no_value_of_an_environment(variables, other):
    sides = []
    for values in (variables, {**variables, "OTHER": other}):
        entry = {"name": "x", "command": "/bin/true", "user": ME, "environment": values}
        if list(program_settings.problems("program", entry)):
            return
        sides.append(program_files.section("program", entry, LOGS))
    before, after = program_files.comparison(*sides)
    assert "QJX" not in before + after
    assert "OTHER=..." in after


@pytest.mark.parametrize(
    "line",
    ['environment = A="QJX"', 'Environment: A="QJX"', 'environment=B="x",\n  A="QJX"', "environment=\n\tA=QJX\n C=QJX"],
)
def test_an_environment_that_a_person_has_written_is_not_shown_either(line):
    """supervisor reads all of these."""
    head, rest = "[program:x]\n", "user=me\n"
    before, after = program_files.comparison(f"{head}{line}\n{rest}", f"{head}{rest}")
    assert "QJX" not in before
    assert "environment=" in before
    assert "A=..." in before
    assert before.endswith(rest) and after == head + rest


def test_the_events_and_signals_are_supervisors():
    assert {name for name in vars(events.EventTypes) if name.isupper()} == program_settings.EVENTS
    for name in program_settings.SIGNALS:
        assert datatypes.signal_number(name)


def test_the_documentation_and_the_roles_variables_name_the_same_settings():
    import yaml

    from tools.role_readmes import ROLES

    documented = yaml.safe_load(programs.DOCUMENTATION)["options"]
    spec = yaml.safe_load((ROLES / "supervisor" / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    for option, kind in (("programs", "program"), ("listeners", "eventlistener")):
        told = programs.suboptions(kind)
        for settings_of in (documented[option]["suboptions"], spec["options"][f"supervisor_{option}"]["options"]):
            assert set(settings_of) == set(told)
            for name, setting in settings_of.items():
                assert setting["type"] == told[name]["type"]
                assert setting.get("required", False) == told[name].get("required", False)


def test_a_value_of_a_wrong_type_is_not_missing_as_well():
    entry = {"name": "x", "command": "/bin/true"}
    assert [text.partition(" is missing")[0] for text in program_settings.problems("program", entry)] == ["user"]
    assert list(program_settings.problems("program", entry, rejected={"user"})) == []


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("program", "comand", "command"),
        ("program", "stop_signal", "stopsignal"),
        ("program", "stopsecs", "stopwaitsecs"),
        ("eventlistener", "event", "events"),
    ],
)
def test_a_setting_that_there_is_not_is_told_with_the_nearest(kind, name, near):
    [text] = program_settings.unknown(kind, [name])
    assert f"is {near} meant?" in text
