"""The total of a command: ``--budget-usd`` is one account for all its runs, resumed ones too.

The account is a tenant of the command's own.  What it was limited to stands in a label of each run beside
the tenant, so that another process finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Final

import typer

from treadle.budget import Budget
from treadle.cli.offer import read_amount
from treadle.cli.words import dollars
from treadle.engine.money import COMMANDS
from treadle.errors import ConfigurationError
from treadle.interfaces import RunSummary, Store

TOTAL: Final = "budget_usd"
"""The label that holds the total, as it was written."""

_ALL: Final = 1_000_000_000

ResumeTotalOption = Annotated[
    str | None,
    typer.Option(
        "--budget-usd",
        metavar="X",
        help="Another total, in US dollars, for all runs of the command that set one; what they have spent "
        "counts.",
    ),
]


def tenant_of(batch: str) -> str:
    """The account that the runs of one command share."""
    return f"{COMMANDS} {batch}"


def totals_of(found: Iterable[RunSummary], given: Decimal | None = None) -> dict[str, Budget]:
    """The budgets under which runs of commands go on, by tenant: the total of each, or the one given.

    Raises:
        ConfigurationError: A total is given for runs that no one command limits.
    """
    of_commands = [run for run in found if run.tenant.startswith(f"{COMMANDS} ")]
    newest = {run.tenant: run for run in sorted(of_commands, key=lambda run: run.started_at)}
    if given is not None:
        _require_one(found, newest)
        return dict.fromkeys(newest, Budget(usd=given))
    return {tenant: Budget(usd=_limit(run)) for tenant, run in newest.items()}


def _limit(run: RunSummary) -> Decimal:
    total = read_amount(run.labels.get(TOTAL))
    if total is None:
        raise ConfigurationError(
            f"{run.id} was begun under a total, and its labels do not say which; give --budget-usd X"
        )
    return total


def _require_one(found: Iterable[RunSummary], commands: Sequence[str] | dict[str, RunSummary]) -> None:
    free = [run.id for run in found if run.tenant not in commands]
    if free:
        raise ConfigurationError(
            f"--budget-usd: {free[0]} was begun without it, so nobody has counted what its command spent; "
            "resume such runs without --budget-usd, or the others by their ids"
        )
    if len(commands) > 1:
        raise ConfigurationError(
            f"--budget-usd is the total of one command, and these are runs of {len(commands)}; "
            "resume them by their ids: treadle resume RUN FILE --budget-usd X"
        )


async def in_words(totals: dict[str, Budget], store: Store) -> list[str]:
    """Say of each total what is spent of it."""
    runs = await store.runs(limit=_ALL) if totals else []
    lines: list[str] = []
    for tenant, budget in totals.items():
        spent = sum((run.spent.usd for run in runs if run.tenant == tenant), Decimal(0))
        name = tenant.removeprefix(f"{COMMANDS} ")
        lines.append(
            f"goes on under the total of {name}: ${budget.usd}, of which {dollars(spent)} is spent "
            "(--budget-usd sets another)"
        )
    return lines
