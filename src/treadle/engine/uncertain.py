"""What to say where it is not certain which recorded call belongs to which call of an edited graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from treadle.engine.records import StepRecord
from treadle.errors import Ambiguity, AmbiguousHistory
from treadle.ids import NodeId, StepId

FRESH: Final = ""
"""What a call is told to take where it is to be made anew."""


def in_words(ambiguities: Iterable[Ambiguity]) -> str:
    """What cannot be told apart, and how to say it."""
    found = list(ambiguities)
    told = {one.call: (one.records[0] if one.records else None) for one in found}
    lines = [
        f"{one.call!r} could be recorded call {' or '.join(map(repr, one.records))}: {one.why}"
        for one in found
    ]
    words = " ".join(f"--claim {call}={record}" for call, record in told.items())
    return (
        "the graph was edited, and which recorded effect or answer belongs to which call is not certain: "
        f"{'; '.join(lines)}. Say what each call takes, or that it is made anew: engine.resume(run_id, "
        f"claims={told!r}), with None for anew; `treadle resume RUN FILE {words}`, or --fresh {found[0].call}"
    )


def refuse(ambiguity: Ambiguity) -> NoReturn:
    """Report a call that cannot be told apart.

    Raises:
        AmbiguousHistory: Always.
    """
    raise AmbiguousHistory(in_words([ambiguity]), ambiguities=[ambiguity])


def path_of(node: NodeId, step: StepId) -> str:
    """What a call is called: its node, or its node and the step."""
    return f"{node}/{step}" if step else node


def why_uncertain(found: Sequence[StepRecord], rivals: Sequence[NodeId], unsure: Sequence[StepRecord]) -> str:
    """Say why a call may be several recorded ones, or a recorded one several calls."""
    if len(found) > 1:
        return f"{len(found)} equal calls were recorded, and none of them under this name"
    if rivals:
        names = ", ".join(map(repr, rivals))
        return f"one call was recorded, and {names} {'is' if len(rivals) == 1 else 'are'} equal to it too"
    node = unsure[0].node
    return f"it was recorded in {node!r}, which is still in the plan and may claim it yet"
