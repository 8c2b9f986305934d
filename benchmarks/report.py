# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""docs/benchmarks.md and its plots, and the headline figures of both READMEs: all from docs/benchmarks/results.json.

python -m benchmarks.report     writes them again
"""

from __future__ import annotations

import json
import statistics
from html import escape
from typing import Any

from benchmarks import large_models, measure
from benchmarks.hosts import FORKS
from tools.shell import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "benchmarks"
RESULTS = PLOTS / "results.json"
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOISY = "too noisy"
#: In results.json, beside the parts: the parts as the README's table has them.
HEADLINE = "headline"
IN_HEADLINE = ("serving", "deploying", "changing")
MANY_FILES = "1 host, 10,000 files"
NONE_YET = (
    "No figures have been taken on a quiet machine yet: they are to follow.",
    "还没有在安静的机器上测得的数字。",
)


def keep(results: list[dict]) -> None:
    """Put what was measured beside the parts that were not measured this time, then write everything."""
    _keep({**kept(), **{result["part"]: result for result in results}})


def keep_headline(results: list[dict]) -> None:
    """The same for the README's table."""
    _keep({**kept(), HEADLINE: {**kept_headline(), **{result["part"]: result for result in results}}})


def _keep(known: dict[str, dict]) -> None:
    PLOTS.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    write()


def kept() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def kept_headline() -> dict[str, dict]:
    """What the README's table comes from: the headline's own run, else the parts."""
    known = kept()
    return known.get(HEADLINE) or {part: known[part] for part in IN_HEADLINE if part in known}


def write() -> None:
    """The page, its plots, the README's part."""
    results = kept()
    PLOTS.mkdir(parents=True, exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    sections = []
    for part in SECTIONS:
        if part in results:
            drawn = plots(results[part])
            for name, svg in drawn.items():
                (PLOTS / name).write_text(svg)
            shown = "\n".join(f"![{name.removesuffix('.svg').replace('-', ' ')}](benchmarks/{name})" for name in drawn)
            sections.append(section(results[part]) + (f"\n\n{shown}" if shown else ""))
    PAGE.write_text(INTRODUCTION + "\n" + "\n\n".join(sections or [NONE_YET[0]]) + "\n")
    for translated, readme in enumerate(READMES):
        before, _, rest = readme.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        readme.write_text(f"{before}{BEGIN}\n{headline(kept_headline(), bool(translated))}\n{END}{after}")


INTRODUCTION = """\
# Measured

Written by `make bench` (`./dev bench`, with `--full` for every combination) from `benchmarks/results.json` beside it;
changes by hand are overwritten. The figures hold for the machine that each section names: compare them with each other, not
with another machine's. They are medians over rounds in which everything takes its turn, in brackets the middle half.
What is divided by something else was measured in the same rounds, and the division is made round by round: such a ratio is
always printed, with its spread. Of other figures, where rounds differ by more than a quarter, or a fixed piece of work takes
longer than it should because the machine does something else, it says so in place of the figure.
"""


# --- tables -------------------------------------------------------------------------------------------------------


def section(result: dict) -> str:
    """One part: what on, how noisy, and its tables."""
    versions = ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items())
    facts = (
        f"{result['date']}, {result['mode']} run, {result['processors']} processors ({result['model']}), "
        f"Linux {result['kernel']}, Python {result['python']}{', ' if versions else ''}{versions}."
    )
    title, body = SECTIONS[result["part"]]
    noise = f"\n\n**The machine was too noisy:** {result['noise']}." if result["noise"] else ""
    return f"## {title}\n\n{facts}{noise}\n\n{body(result)}"


def shown(figure: dict | None, result: dict, digits: int = 0, scale: float = 1) -> str:
    """A figure with its spread, or why there is none."""
    if figure is None:
        return "-"
    if figure["noisy"] or result["noise"]:
        return NOISY
    middle, low, high = (f"{figure[key] * scale:,.{digits}f}" for key in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


def spread(figure: dict | None, digits: int = 2) -> str:
    """A ratio with its spread, however noisy the machine was."""
    return "-" if figure is None else shown({**figure, "noisy": False}, {"noise": ""}, digits)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def serving(result: dict) -> str:
    parts = [SERVING]
    for cell, servers in result["cells"].items():
        rows = [
            [
                name,
                shown(of["rate"], result),
                shown(of["cpu_us"], result),
                spread(ratio(of["cpu_us"], servers["ours"]["cpu_us"])),
                shown(of["p50_ms"], result, 1),
                shown(of["p99_ms"], result, 1),
                f"{of['lost']['median']:.0f}",
            ]
            for name, of in servers.items()
        ]
        head = ["", "requests/s", "CPU us/request", "CPU ÷ ours", "p50 ms", "p99 ms", "lost"]
        parts.append(f"### {cell[0].upper()}{cell[1:]}\n\n{table(head, rows)}")
    rows = [[name, f"{size / 2**20:.0f}"] for name, size in result["memory"].items()]
    parts += [f"### Memory\n\n{table(['', 'MiB (PSS)'], rows)}"] if rows else []
    return "\n\n".join(parts)


SERVING = """\
Ours is what the role deploys with its defaults: two instances on one socket, JSON access lines, request ids. All others
keep the settings that they come with, with the number of processes that their documentation advises, eight threads where
they have threads, and no access log unless the name says so; the tutorial's has one worker and logs everything. The server
and wrk share the machine's processors, so the processor time per request is the figure to compare. `hello` answers at once,
`wait` after 50 ms of waiting, `compute` after 5 ms of computing, with 2 KB of JSON. `lost` counts wrk's connection errors
and time-outs in a round."""


def logging(result: dict) -> str:
    rows = [
        [name, NOISY if result["noise"] else f"{of['cpu_us']:.1f}", spread(of["ratio"], 3)]
        for name, of in result["variants"].items()
    ]
    return (
        "Processor time of one worker for a hello request, in the cheapest tenth of the rounds; the ratio to the first line "
        f"in each round.\n\n{table(['access log', 'CPU us/request', 'ratio'], rows)}"
    )


def deploying(result: dict) -> str:
    parts = [
        "The control node runs on the same machine as the hosts, which are containers. A round trip is one remote execution; "
        "with several hosts, round trips are the sum, tasks those of one host. The usual play is benchmarks/usual/deploy.yml. "
        f"Where it does not say otherwise, {FORKS} hosts are worked on at once (Ansible's forks); our playbook takes one host "
        "first, then the others."
    ]
    head = ["", "tasks", "round trips", "seconds", "÷ ours", "CPU s, control node", "CPU s per host"]
    for setting, sides in result["settings"].items():
        rows = [
            [
                f"{side}, {what}",
                f"{of['tasks']['median']:.0f}",
                f"{of['round_trips']['median']:.0f}",
                shown(of["seconds"], result, 1),
                spread(ratio(of["seconds"], sides.get("ours", {}).get(what, {}).get("seconds"))),
                shown(of["cpu"], result, 1),
                shown(of["cpu_per_host"], result, 2),
            ]
            for side, by_what in sides.items()
            for what, of in by_what.items()
        ]
        parts.append(f"### {setting}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def changing(result: dict) -> str:
    rows = [
        [
            f"{side}, {what}",
            str(of["times"]),
            str(of["failed"]),
            shown(of["p99_ms"], result, 0),
            shown(of["seconds"], result, 1),
            shown(of["everywhere"], result, 1),
        ]
        for side, told in result["sides"].items()
        for what, of in told["changes"].items()
    ]
    totals = ", ".join(f"{side} {told['failed']} of {told['sent']:,}" for side, told in result["sides"].items())
    head = ["", "times", "failed requests", "p99 ms, on top", "seconds", "seconds to new code"]
    return (
        f"Under mixed load (short and slow requests, streams, uploads). Failed requests in all: {totals}. The p99 is what comes "
        f"on top of the time that an answer takes by its nature.\n\n{table(head, rows)}"
    )


def model(result: dict) -> str:
    runs, size = result["runs"], result["size"]

    def of(service: str, what: str, key: str) -> dict | None:
        return runs.get(service, {}).get(what, {}).get(key)

    def sent(what: str) -> str:
        total, content = of("model", what, "sent"), of("model", what, "content")
        return "-" if total is None else f"{total['median'] / 1000:,.0f} kB; {content['median'] / 1000:,.1f} kB"

    new, peaks, first = of("model", "a new model", "content"), result.get("peaks"), result["first install"]
    small = of("small", "no change", "seconds")
    hand, alone = statistics.median(first["by hand"]), first.get("a small service")
    rows = [
        ["bytes sent for a change of one line: in all; files of the release", sent("a line"), "≤ 200 kB"],
        ["the same for a change of one setting of gunicorn", sent("a setting"), "≤ 200 kB"],
        ["seconds, change of one line ÷ the small service's", spread(ratio(of("model", "a line", "seconds"), of("small", "a line", "seconds"))), "≤ 1.3"],
        ["disk for each further release, kB", f"{result['disk']['median'] / 1000:,.0f}", "≤ 1,000"],
        ["a new model alone: bytes of files sent ÷ its size", "-" if new is None else f"{new['median'] / size:.4f}", "≤ 1.01"],
        ["a new model alone: environments built", str(result.get("environments made for a new model", "-")), "0"],
        ["seconds, no change ÷ the small service's", spread(ratio(of("model", "no change", "seconds"), small)), "≤ 1.0"],
        ["the same with a file of 2 GiB and 10,000 files", spread(ratio(of("large", "no change", "seconds"), small)), "≤ 1.0"],
        *(
            [f"largest process with a new file of 2 GiB, {where}, MB", "-" if peaks is None else f"{peaks[where] / 1e6:.0f}", "≤ 150"]
            for where in ("control node", "host")
        ),
        ["first install ÷ the same packages and the model by hand", f"{first['seconds'] / hand:.2f}", "≤ 1.5"],
        ["the same without the seconds of a small service's first install", "-" if alone is None else f"{(first['seconds'] - alone) / hand:.2f}", ""],
        ["seconds, no change", shown(of("model", "no change", "seconds"), result, 1), ""],
        ["seconds, change of one line", shown(of("model", "a line", "seconds"), result, 1), ""],
        ["seconds in which an interpreter imports the service", shown(result["import"], result, 1), ""],
    ]  # fmt: skip
    return MODEL.format(mib=size / 2**20) + "\n\n" + table(["", "measured", "goal"], rows)


MODEL = """\
A service with {mib:.0f} MiB of model in its source, and pandas, scikit-learn, onnxruntime and pyarrow. Beside it on the same host, in
the same rounds: the sample app as a small service, and a third one with a file of 2 GiB and 10,000 small ones. None of the large
files can be compressed. "In all" is what the program that connects reads from Ansible, and its command: Ansible sends with each
call of a module the module's code and its own (`ansible.builtin.ping`: 169 kB). The first install comes after the small service's,
which has brought the tools to the host; by hand, it is `uv pip install` of the release's lock without a cache, and a copy of
the model. A change of one line imports the service in the trial and in each worker, one instance after the other. The largest
process on the host is that of any round trip, with the app that it tries."""

SECTIONS = {
    "serving": ("Serving", serving),
    "logging": ("Logging", logging),
    "deploying": ("Deploying", deploying),
    "changing": ("Changing", changing),
    "model": ("Deploying a model", model),
    "models": ("Large models", large_models.section),
}


# --- headline -----------------------------------------------------------------------------------------------------


def value(results: dict, *path: str) -> dict | None:
    """The figure at a place in the results, if it was measured."""
    found: Any = results
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def ratio(above: dict | None, below: dict | None) -> dict | None:
    """One figure divided by another, round by round; of results that have no rounds yet, by their medians."""
    if above and below and not ("values" in above and "values" in below):
        middle = above["median"] / below["median"]
        return {"median": middle, "low": middle, "high": middle, "noisy": False}
    return measure.ratio(above, below)


#: What a headline figure is called in the README, and in its translation.
CALLED = {
    "hello": ("CPU per hello request ÷ the tutorial's", "每个 hello 请求的 CPU ÷ 教程的配置"),
    "log": ("CPU per hello request ÷ ours with no access log", "每个 hello 请求的 CPU ÷ 本项目不写访问日志"),
    "wait": (
        "Requests/s with 50 ms of waiting, {} connections ÷ the tutorial's",
        "等待 50 毫秒的请求每秒数，{} 个连接 ÷ 教程的配置",
    ),
    "best": (
        "Requests/s with 50 ms of waiting, {} connections ÷ gunicorn's own gevent worker's",
        "等待 50 毫秒的请求每秒数，{} 个连接 ÷ gunicorn 自带的 gevent worker",
    ),
    "tail": ("p99 ÷ p50 of 5 ms of computing, 50 connections", "计算 5 毫秒的请求，50 个连接：p99 ÷ p50"),
    "failed": ("Failed requests in {} under load, {}", "负载下 {}中失败的请求，{}"),
    "floor": ("Run without a change ÷ one module call, seconds", "没有变更的一次运行 ÷ 一次模块调用，秒"),
    "code": ("Deploy of other code ÷ the usual play, seconds", "部署新代码 ÷ 通常写法的 play，秒"),
    "many": ("Run without a change, {} ÷ a few", "没有变更的一次运行，{} ÷ 几个文件"),
    "tasks": ("Tasks of a run without a change", "没有变更的一次运行的任务数"),
}
SPREAD = (
    "Medians over the rounds, in brackets their spread.",
    "各轮的中位数，括号内为各轮的范围。",
)
NOTE = (" The machine was busy with other work.", "测量时机器还有其他负载。")
SIDES = {"ours": "本项目", "a program, restarted": "重启程序", "the usual play": "通常写法的 play"}


def headline(results: dict, translated: bool = False) -> str:
    """The README's table: the ratios that matter most. No part, no line."""

    def called(name: str, *values: Any) -> str:
        return CALLED[name][translated].format(*values)

    rows = []
    if "serving" in results:
        hello, compute = (
            ("serving", "cells", "hello, 50 connections"),
            ("serving", "cells", "compute, 50 connections", "ours"),
        )

        def cpu(server: str) -> dict | None:
            return value(results, *hello, server, "cpu_us")

        rows.append([called("hello"), spread(ratio(cpu("ours"), cpu("the tutorial's")))])
        rows.append([called("log"), spread(ratio(cpu("ours"), cpu("ours, no access log")))])
        for connections in (500, 2000):
            cell = ("serving", "cells", f"wait, {connections} connections")
            ours = value(results, *cell, "ours", "rate")
            for name, peer in (("wait", "the tutorial's"), ("best", "gunicorn gevent")):
                rows.append(
                    [called(name, f"{connections:,}"), spread(ratio(ours, value(results, *cell, peer, "rate")))]
                )
        tail = ratio(value(results, *compute, "p99_ms"), value(results, *compute, "p50_ms"))
        rows.append([called("tail"), spread(tail, 1)])
    if "changing" in results:
        for side, told in results["changing"]["sides"].items():
            count = sum(of["times"] for of in told["changes"].values())
            changes = f"{count} 次变更" if translated else f"{count} change{'s' if count > 1 else ''}"
            of_side = called("failed", changes, SIDES[side] if translated else side)
            rows.append([of_side, f"{told['failed']} / {told['sent']:,}"])
    if "deploying" in results:
        one = ("deploying", "settings", "1 host")
        floor = value(results, *one, "one module call", "no change", "seconds")
        ours = value(results, *one, "ours", "no change", "seconds")
        rows.append([called("floor"), spread(ratio(ours, floor), 1)])
        changed = [value(results, *one, side, "other code", "seconds") for side in ("ours", "the usual play")]
        rows.append([called("code"), spread(ratio(*changed))])
        many = value(results, "deploying", "settings", MANY_FILES, "ours", "no change", "seconds")
        if many is not None:
            rows.append([called("many", MANY_FILES), f"{many['median'] / ours['median']:.2f}"])
        tasks = results["deploying"]["settings"]["1 host"]["ours"]["no change"]["tasks"]  # no noise changes it
        rows.append([called("tasks"), f"{tasks['median']:.0f}"])
    if not rows:
        return NONE_YET[translated]
    first = next(iter(results.values()))
    machine = f"{first['processors']} processors ({first['model']}), Python {first['python']}"
    noisy = any(result["noise"] for result in results.values() if "noise" in result)
    note = NOTE[translated] if noisy else ""
    return f"{table(['', '实测' if translated else 'measured'], rows)}\n\n{first['date']}, {machine}. {SPREAD[translated]}{note}"


# --- plots --------------------------------------------------------------------------------------------------------

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .bar { fill: #8c959f } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #4493f8 } }"""


def plots(result: dict) -> dict[str, str]:
    """File name -> SVG; only of what says something."""
    if result["part"] != "serving" or result["noise"]:
        return {}
    drawn = {}
    for cell, servers in result["cells"].items():
        for key, what in (("cpu_us", "processor time per request, us"), ("rate", "requests per second")):
            bars = [(name, of[key]["median"]) for name, of in servers.items() if of[key] and not of[key]["noisy"]]
            if bars:
                file = f"{cell}-{key}.svg".replace(",", "").replace(" ", "-").replace("_", "-")
                drawn[file] = bar_chart(f"{cell}: {what}", bars)
    return drawn


def bar_chart(title: str, bars: list[tuple[str, float]]) -> str:
    """Horizontal bars; readable on a light and on a dark page."""
    height, left, width, row = 40 + 24 * len(bars), 190, 640, 24
    most = max(value for _, value in bars) or 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="4" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(bars):
        top = 32 + row * number
        long = (width - left - 80) * value / most
        kind = "ours" if name.startswith("ours") else "bar"
        lines.append(f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect class="{kind}" x="{left}" y="{top}" width="{long:.1f}" height="18" rx="2"/>')
        lines.append(f'<text x="{left + long + 6:.1f}" y="{top + 14}">{value:,.0f}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    write()
