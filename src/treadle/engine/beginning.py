"""How a run begins: its first event, its span, and what is refused before anything is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.engine.moments import moment
from treadle.errors import RunExists
from treadle.events import RunStarted
from treadle.ids import RunId
from treadle.interfaces import RunSpan, Tracer
from treadle.plan.plan import Plan
from treadle.plan.scopes import ScopeNames
from treadle.values import Payload


def started_event(
    plan: Plan,
    run_id: RunId,
    inputs: Mapping[str, Payload],
    options: Mapping[str, Any],
    *,
    at: float,
    tenant: str,
    span: RunSpan | None,
) -> RunStarted:
    """Make the first event of a run.

    Args:
        plan: That of its graph.
        options: As ``registry.take_options`` gave them.
        tenant: Whose run it is where the options say nothing.

    Raises:
        ValueError: The deadline is no moment.
    """
    return RunStarted(
        at=at,
        run_id=run_id,
        graph=plan.name,
        plan=plan.payload,
        inputs=inputs,
        seed=run_id,
        budget=options.get("budget"),
        tenant=options.get("tenant") or tenant,
        labels=dict(options.get("labels") or {}),
        deadline=moment(options.get("deadline")),
        traceparent="" if span is None else span.traceparent,
    )


def open_span(
    tracer: Tracer | None, plan: Plan, run_id: RunId, at: float, traceparent: str = ""
) -> RunSpan | None:
    """Open the span of a run, or of the part of it after a pause; ``None`` where nobody traces."""
    if tracer is None:
        return None
    return tracer.run(
        run_id=run_id,
        graph=plan.name,
        digest=plan.digest,
        at=at,
        scopes=ScopeNames(plan),
        traceparent=traceparent,
    )


def require_same(before: RunStarted, now: RunStarted) -> None:
    """Make sure that a known id is started with what it was started with before.

    Raises:
        RunExists: The graph or an input differs.
    """
    if before.graph != now.graph or before.inputs != now.inputs:
        raise RunExists(
            f"run {now.run_id!r} exists already, with graph {before.graph!r} and other inputs; "
            "choose another run_id, or resume that run"
        )
