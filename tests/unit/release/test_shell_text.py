"""What a shell alone understands is found in every command that is started without one, and nothing else is."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release.shell_text import found_in


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("flask db upgrade; flask seed", ";"),
        ("flask db upgrade&&flask seed", "&&"),
        ("flask dump|gzip", "|"),
        ("flask clean >/dev/null", ">"),
        ("flask clean 2>&1", "2>&1"),
        ("flask load <in.sql", "<"),
        ("rq worker &", "&"),
        ("rq worker $QUEUES", "$QUEUES"),
        ("rq worker ${QUEUES:-high}", "${QUEUES:-high}"),
        ("flask load `date`", "`date`"),
        ("flask load $(date +%F)", "$(date"),
        ("flask load ~/data.csv", "~/data.csv"),
        ("flask clean # at night", "#"),
        ("DEBUG=1 flask clean", "DEBUG=1"),
        ("exec rq worker", "exec"),
        (["cd", "src"], "cd"),
        (["DEBUG=1", "flask"], "DEBUG=1"),
        (["flask", "|", "gzip"], "|"),
    ],
)
def test_what_is_for_a_shell_is_found(command, part):
    assert found_in(command) == part


@pytest.mark.parametrize(
    "command",
    [
        "",
        "flask db upgrade",
        "sh -c 'cd src && exec rq worker $QUEUES >log'",
        'bash -lc "cd src; rq worker $QUEUES"',
        "python -c 'import app; app.run()'",
        "flask find --name '^a|b$' --end $",
        r"flask say a\;b",
        "flask load https://example.com/x?a=1&b=2#top",
        "celery -A shop worker -n w@%h --concurrency=2",
        "env A=1 flask --x=y",
        ["sh", "-c", "a && b"],
        ["flask", "say", "$5; done"],
        [],
    ],
)
def test_what_a_program_can_take_is_not(command):
    assert found_in(command) == ""
