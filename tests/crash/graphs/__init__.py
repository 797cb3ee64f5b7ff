"""Graphs to crash: with agents, people and tools that act once, of every shape there is.

Each module holds one ``CASE``.  They are crashed inside a process (``test_graphs.py``), killed at
every write (``test_kill_at_every_write.py``), and cut off from power (``test_power_cut.py``).
"""

from __future__ import annotations

import os
from typing import Final

from graphs import claim, contract, journey, newsroom, orders, payroll, steady, welcome
from graphs.case import Case

CASES: Final[dict[str, Case]] = {
    "claim": claim.CASE,
    "contract": contract.CASE,
    "journey": journey.CASE,
    "newsroom": newsroom.CASE,
    "orders": orders.CASE,
    "payroll": payroll.CASE,
    "welcome": welcome.CASE,
}

STEADY: Final[dict[str, Case]] = {"steady": steady.CASE}
"""What takes its time, and is only run in processes."""

SOME: Final = tuple(CASES) if os.environ.get("TREADLE_ATTACK") else ("claim", "orders")
"""What is run in processes: all of them in the long form."""
