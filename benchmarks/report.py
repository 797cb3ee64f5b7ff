"""Runs the benchmarks, and writes what they reached into docs/benchmarks.md.

    python benchmarks/report.py             # all of them, a few minutes; best on a machine at rest
    python benchmarks/report.py bars peers  # some of them
    python benchmarks/report.py --print     # to the terminal instead

Tables stand between the markers of the page; everything around them is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

Figures = Mapping[str, Any]


def ran(script: str, *options: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, str(HERE / script), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measured(script: str) -> dict[str, Any]:
    """What a benchmark measured."""
    found: dict[str, Any] = json.loads(ran(script, "--json"))
    return found


WITHOUT_BAR = {
    "once steps, logs written over": "the same, both logs written over",
    "once steps, beside a thread": "the same, the bare commit made in a thread and waited for",
}
"""A step beside what else it may be set beside."""


def against_bars(
    engine: Figures, store: Figures, tracing: Figures, agent: Figures
) -> Iterator[tuple[str, str, str, bool]]:
    """Work, bar, what was reached, and whether that is within the bar."""
    for name, row in engine["memory"].items():
        reached = f"{row['ratio']:.2f} ({row['us_per_node']:.1f} us a node; raw {row['raw_us_per_node']:.1f})"
        bar = f"at most {row['bar']} of raw"
        yield f"{name} of {row['nodes']} no-op nodes, in memory", bar, reached, row["ratio"] <= row["bar"]
    unpaid = engine["sqlite"]["unpaid chain"]
    reached = f"{unpaid['us_per_node']:.0f} us"
    yield (
        "chain on SQLite, CPU an unpaid node",
        f"at most {unpaid['bar']} us",
        reached,
        _met(unpaid, "us_per_node"),
    )
    once = engine["sqlite"]["once steps"]
    reached = f"{once['ratio']:.2f} ({once['us_per_step']:.0f} us; bare {once['bare_us']:.0f})"
    bar = f"at most {once['bar']} of a bare insert and FULL commit"
    yield "chain on SQLite, CPU a `once` step, fresh files", bar, reached, once["ratio"] <= once["bar"]
    for name, words in WITHOUT_BAR.items():
        row = engine["sqlite"][name]
        yield words, "", f"{row['ratio']:.2f} ({row['us_per_step']:.0f} us; bare {row['bare_us']:.0f})", True
    yield from _syncs(store)
    for name, row in engine["runs"].items():
        yield f"{name} at once, every step flushed", *_speed(row["steps_per_second"], row["bar"])
    alone = store["100 runs, each step flushed"]["steps_per_second"]
    yield "the same through the store alone", *_speed(alone, 10_000)
    for name in ("words", "hexadecimal", "incompressible"):
        size = store[f"200 steps of 1 KB, {name}"]["kb_per_step"]
        yield (
            f"stored, 200 steps of 1 KB new content ({name})",
            "at most 1.6 KB a step",
            f"{size:.2f} KB",
            size <= 1.6,
        )
    imports = engine["imports"]["import treadle"]
    over = imports["ms_over_anyio_and_pydantic"]
    bar = f"at most {imports['bar']} ms CPU over `import anyio, pydantic`"
    yield "`import treadle`", bar, f"{over:.0f} ms", over <= imports["bar"]
    for name, row in tracing.items():
        yield name, f"at most {row['bar']:g} us CPU", f"{row['us_per_span']:.2f} us", _met(row, "us_per_span")
    for name, row in agent.items():
        if row["bar"] is not None:
            reached = f"{row['ratio']:.2f} ({row['us_per_turn']:.0f} us; bare {row['bare_us_per_turn']:.0f})"
            yield (
                f"an agent's turn, {name}",
                f"at most {row['bar']} of the bare SDK",
                reached,
                _met(row, "ratio"),
            )


def _met(row: Figures, key: str) -> bool:
    return bool(row[key] <= row["bar"])


def _speed(reached: float, bar: float) -> tuple[str, str, bool]:
    return f"{bar:,} steps a second", f"{reached:,}", reached >= bar


def _syncs(store: Figures) -> Iterator[tuple[str, str, str, bool]]:
    for name, row in store.items():
        flushed = re.fullmatch(r"200 commits, (\d+) of them flushed", name)
        if flushed:
            wanted = int(flushed[1])
            yield f"fsyncs of {name}", str(wanted), str(row["fsyncs"]), row["fsyncs"] == wanted


def bars() -> str:
    """The table of bars."""
    scripts = ("engine.py", "store.py", "tracing.py", "agent.py")
    rows = against_bars(*map(measured, scripts))
    lines = ["| work | bar | reached | |", "|---|---|---|---|"]
    lines += [f"| {work} | {bar} | {found} | {'' if met else 'missed'} |" for work, bar, found, met in rows]
    return "\n".join(lines)


def machine() -> str:
    """Where and when it was measured."""
    today = datetime.now(UTC).date().isoformat()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"Measured on {today}: {_processor()}, {os.cpu_count()} cores, {platform.system()}, {python}."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def fenced(script: str, *options: str) -> str:
    """What a benchmark prints, as a block."""
    return f"```text\n{ran(script, *options).rstrip()}\n```"


PARTS: dict[str, Callable[[], str]] = {
    "machine": machine,
    "bars": bars,
    "shapes": lambda: fenced("shapes.py"),
    "peers": lambda: fenced("peers.py"),
    "scheduler": lambda: fenced("scheduler.py"),
    "retrieval": lambda: fenced("retrieval.py"),
}


def filled(page: str, wanted: Sequence[str]) -> str:
    """The page with what stands between its markers measured anew."""
    for name, part in PARTS.items():
        if wanted and name not in wanted:
            continue
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not begin or not end:
            sys.exit(f"{PAGE} needs a line <!-- {name} -->, and a line <!-- end --> below it")
        page = "".join([before, begin, part(), "\n", end, after])
    return page


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="print the page and leave the file alone")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which tables; all by default")
    options = parser.parse_args()
    page = filled(PAGE.read_text(), options.parts)
    if options.print:
        print(page)
    else:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
