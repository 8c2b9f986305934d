# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Combine the results of the module `status` of many hosts into one text and one structure."""

from __future__ import annotations

import typing as t

from .host.foreign import LONGEST_LINE, printable

#: Fields that the module returns; the other fields of a registered result are Ansible's.
_FACTS = ("ok", "at", "balancer", "supervisord", "web_page", "apps", "programs", "problems")
#: The longest that a cell may be. A path says most at its end, everything else at its beginning.
_LONGEST = {"HOST": 30, "APP": 24, "PROGRAM": 36, "LAST DEPLOY (UTC)": 38, "LOGS": 36}
_AT_ITS_END = ("LOGS",)
_RIGHT = ("WORKERS", "MEMORY", "MEMORY (PSS)", "MEMORY (RSS)", "REQUESTS", "PID", "SINCE", "UP")
_GAP = "  "

Hosts = dict[str, dict[str, t.Any]]
Row = dict[str, str]


def report(results: Hosts) -> dict[str, t.Any]:
    """The results without Ansible's fields; a host that did not answer has only its problem."""
    hosts = {str(host): _facts(result) for host, result in results.items()}
    return {"ok": all(found["ok"] for found in hosts.values()), "hosts": hosts}


def _facts(result: t.Any) -> dict[str, t.Any]:
    if isinstance(result, dict) and "apps" in result:
        return {name: result[name] for name in _FACTS if name in result}
    result = result if isinstance(result, dict) else {}
    what = "does not answer" if result.get("unreachable") else "could not be looked at"
    why = " ".join(str(result.get("msg") or "no result").split())
    return {"ok": False, "problems": [{"subject": "", "what": f"{what}: {why}"}]}


def table(results: Hosts) -> str:
    """All of it as a person reads it."""
    hosts = report(results)["hosts"]
    app_rows, job_rows, program_rows, server_rows, notes, problems = [], [], [], [], [], []
    kinds = set()
    for found in hosts.values():
        seen = [*found.get("apps", ()), *found.get("programs", ()), found.get("supervisord", {})]
        kinds |= {one["memory"]["kind"] for one in seen if one.get("memory")}
    for host, found in hosts.items():
        app_rows += [_app_row(host, app, kinds) for app in found.get("apps", ())]
        job_rows += [_job_row(host, app, job) for app in found.get("apps", ()) for job in app.get("jobs", ())]
        if "apps" not in found:
            app_rows.append({"HOST": host, "APP": "no answer"})
        elif not found["apps"] and not found.get("balancer"):
            app_rows.append({"HOST": host, "APP": "none"})
        if found.get("balancer"):
            server_rows += [_server_row(host, server) for server in found["balancer"]["servers"]] or [
                {"HOST": host, "SERVICE": "none"}
            ]
        if found.get("supervisord"):
            program_rows.append(_program_row(host, {"name": "supervisord", **found["supervisord"]}, kinds))
        program_rows += [_program_row(host, program, kinds) for program in found.get("programs", ())]
        notes += _notes(host, found)
        problems += [[_clean(host), _clean(one["subject"]), _clean(one["what"])] for one in found["problems"]]
    different = _different_releases(hosts)
    parts = [
        _lines(app_rows),
        _lines(job_rows),
        _lines(program_rows),
        _lines(server_rows),
        "\n".join([*notes, *different]),
    ]
    if problems:
        told = "\n".join(
            "  " + ": ".join(filter(None, (f"{host} {subject}".strip(), what))) for host, subject, what in problems
        )
        parts.append(f"Not as it should be:\n{told}\nWhy, and what to do: ansible-playbook pygun.stack.doctor")
    else:
        parts.append(f"{'Each host by itself' if different else 'Everything'} is as it should be.")
    return "\n\n".join(filter(None, parts))


def _app_row(host: str, app: dict[str, t.Any], kinds: set[str]) -> Row:
    deploy = app["last_deploy"]
    return {
        "HOST": host,
        "APP": app["name"],
        "RELEASE": (app["release"] or "-")[:8],
        "SINCE": f"{_age(app['age_s'])} ago" if app["age_s"] is not None else "-",
        "INSTANCES": f"{app['instances']['ready']}/{app['instances']['total']} ready",
        "WORKERS": str(app["workers"]),
        **_memory(app["memory"], kinds),
        "REQUESTS": "-" if app["requests"] is None else f"{app['requests']:,}",
        "LAST DEPLOY (UTC)": f"{_moment(deploy['at'])}{' by ' + deploy['by'] if deploy['by'] else ''}",
        "LOGS": app["logs"],
    }


def _job_row(host: str, app: dict[str, t.Any], job: dict[str, t.Any]) -> Row:
    return {
        "HOST": host,
        "APP": app["name"],
        "JOB": job["name"],
        "LAST RUN (UTC)": _moment(job["last"]),
        "RESULT": job["result"],
        "NEXT RUN (UTC)": _moment(job["next"]),
    }


def _program_row(host: str, program: dict[str, t.Any], kinds: set[str]) -> Row:
    return {
        "HOST": host,
        "PROGRAM": program["name"],
        "STATE": program["state"],
        **({"RELEASE": program["release"][:8]} if program.get("release") else {}),
        "PID": str(program["pid"] or "-"),
        "UP": _age(program["uptime_s"]) if program["pid"] else "-",
        **_memory(program.get("memory"), kinds),
    }


def _server_row(host: str, server: dict[str, t.Any]) -> Row:
    return {
        "HOST": host,
        "SERVICE": server["service"],
        "SERVER": server["name"],
        "STATE": server["state"],
        "REQUESTS": str(server["requests"]),
    }


def _memory(memory: dict[str, t.Any] | None, kinds: set[str]) -> Row:
    """The cell for memory; where all figures are of one kind, the head of the column says which."""
    if len(kinds) == 1:
        return {f"MEMORY ({next(iter(kinds))})": _bytes(memory["bytes"]) if memory else "-"}
    return {"MEMORY": f"{_bytes(memory['bytes'])} {memory['kind']}" if memory else "-"}


def _notes(host: str, found: dict[str, t.Any]) -> list[str]:
    """Notes: facts that are not problems."""
    notes = []
    if found.get("web_page"):
        notes.append(f"{host}: web page {found['web_page']}")
    for app in found.get("apps", ()):
        if app["environment_changed"]:
            notes.append(
                f"{host}: {app['name']} runs with a former environment file; pygun.stack.restart has it read the new one"
            )
        taken = [
            f"{one['name']} {' '.join(one['accelerators'])}" for one in app["processes"] if one.get("accelerators")
        ]
        if taken:
            notes.append(f"{host}: accelerators of {app['name']}: {', '.join(taken)}")
        dirty = [f"{one['name']} {one['dirty_workers']}" for one in app["processes"] if one.get("dirty_workers")]
        if dirty:
            notes.append(f"{host}: dirty workers of {app['name']}: {', '.join(dirty)}")
        if app["stock_gunicorn"]:
            notes.append(
                f"{host}: {app['name']} runs the gevent worker of gunicorn {app['stock_gunicorn']} itself: a restart can lose requests"
            )
        failed = [f"{one['release'][:8]} ({one['step']}, {_moment(one['at'])})" for one in app["failed_releases"]]
        if failed:
            notes.append(f"{host}: releases of {app['name']} that did not pass: {', '.join(failed)}")
    return [_clean(note) for note in notes]


def _different_releases(hosts: Hosts) -> list[str]:
    """The apps that are not the same on all hosts. No problem by itself: hosts of two kinds have two releases."""
    serving: dict[str, dict[str, list[str]]] = {}
    for host, found in hosts.items():
        for app in found.get("apps", ()):
            serving.setdefault(app["name"], {}).setdefault((app["release"] or "none")[:8], []).append(host)
    return [
        _clean(
            f"{name} is not the same everywhere: {_who_has_what(releases)}."
            " If a rollout stopped half-way, deploy again to go on, or roll back where it came (ansible-playbook pygun.stack.rollback)."
        )
        for name, releases in serving.items()
        if len(releases) > 1
    ]


def _who_has_what(releases: dict[str, list[str]]) -> str:
    return "; ".join(f"{release} on {', '.join(hosts)}" for release, hosts in releases.items())


# -- text ------------------------------------------------------------------------------------------------------------


def _lines(rows: list[Row]) -> str:
    """Align columns to their widest cell."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    cells = [names] + [[_cut(name, _clean(row.get(name, ""))) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    lines = []
    for line in cells:
        columns = zip(names, line, widths)  # noqa: B905  (Python 3.9)
        shown = (text.rjust(width) if name in _RIGHT else text.ljust(width) for name, text, width in columns)
        lines.append(_GAP.join(shown).rstrip())
    return "\n".join(lines)


def _cut(name: str, text: str) -> str:
    longest = _LONGEST.get(name, 60)
    if len(text) <= longest:
        return text
    return "..." + text[3 - longest :] if name in _AT_ITS_END else text[: longest - 3] + "..."


def _clean(text: t.Any) -> str:
    """Some texts come from files that an app writes."""
    return printable(str(text), LONGEST_LINE)


def _moment(at: t.Any) -> str:
    return str(at)[:16].replace("T", " ") if at else "-"


def _age(seconds: t.Any) -> str:
    if not isinstance(seconds, (int, float)):
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(number: float) -> str:
    for unit in ("KiB", "MiB"):
        number /= 1024
        if number < (1000, 10000)[unit == "MiB"]:
            return f"{number:.0f} {unit}"
    return f"{number / 1024:.0f} GiB"
