"""The same graphs on other engines: CPU and wall clock of a node, and of a durable step.

    python benchmarks/peers.py              # all works, on all peers; makes an environment for each at first
    python benchmarks/peers.py --rounds 3
    python benchmarks/peers.py --json

Each side runs in a process of its own, in an environment of its own, driven as its documentation says.
Treadle is measured before and after each of them; a ratio is that of medians over all rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".peers"
WORKS = {
    "chain": "300 no-op nodes one after the other, in memory (us a node)",
    "fan": "299 no-op nodes at once and one that joins them, in memory (us a node)",
    "layered": "30 layers of 10 no-op nodes, each taking 3 of the layer before, in memory (us a node)",
    "durable": "100 steps one after the other, each safe on an SQLite file before the next (us a step)",
}


def environment(peer: str, packages: list[str]) -> Path:
    """The interpreter of a peer's environment, made and filled on first use."""
    home = ENVIRONMENTS / peer
    python = home / "bin" / "python"
    done = home / "installed.json"
    if not done.exists() or json.loads(done.read_text()) != packages:
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        done.write_text(json.dumps(packages))
    return python


def measured(python: Path, peer: str, work: str, folder: str) -> dict[str, float] | None:
    """What one round on one side gave; ``None`` where it cannot do that work."""
    command = [str(python), str(HERE / f"with_{peer}.py"), work, folder]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode:
        sys.exit(f"{peer} failed at {work}:\n{ran.stderr[-2000:]}")
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("{", "null"))]
    found: dict[str, float] | None = json.loads(lines[-1])
    return found


def compared(work: str, pythons: dict[str, Path], rounds: int) -> dict[str, Any]:
    """One work on all sides, taking turns."""
    found: dict[str, list[dict[str, float]]] = {"treadle": []}
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        for _ in range(rounds):
            for peer, python in pythons.items():
                if (theirs := measured(python, peer, work, folder)) is not None:
                    found.setdefault(peer, []).append(theirs)
                    ours = measured(Path(sys.executable), "treadle", work, folder)
                    found["treadle"] += [ours] if ours is not None else []
    medians = {
        peer: {key: statistics.median(one[key] for one in rows) for key in ("cpu_us", "wall_us")}
        for peer, rows in found.items()
    }
    own = medians["treadle"]
    return {
        peer: {
            "cpu_us": round(row["cpu_us"], 1),
            "wall_us": round(row["wall_us"], 1),
            "times_the_cpu": round(row["cpu_us"] / own["cpu_us"], 1),
        }
        for peer, row in medians.items()
    }


def table(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [f"{'':17}{'CPU':>10}{'wall':>10}{'times ours':>12}"]
    for work, sides in found.items():
        lines += ["", WORKS[work]]
        for peer, row in sides.items():
            lines.append(
                f"  {peer:15}{row['cpu_us']:>10,.1f}{row['wall_us']:>10,.1f}{row['times_the_cpu']:>12,.1f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measure other engines beside this one.")
    parser.add_argument("works", nargs="*", choices=[[], *WORKS], help="which works; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each work on each side")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    wanted: dict[str, list[str]] = json.loads((HERE / "requirements.json").read_text())
    pythons = {peer: environment(peer, packages) for peer, packages in wanted.items()}
    found = {work: compared(work, pythons, options.rounds) for work in options.works or WORKS}
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
