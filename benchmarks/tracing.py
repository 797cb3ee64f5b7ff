"""What a span costs over the SDK's own span, and what tracing costs where nobody traces.

python benchmarks/tracing.py [--spans 20000] [--check] [--json]

Rounds of both are interleaved in one process, and the quickest round of each counts: what else the
machine does only ever adds.  The SDK's own spans have as many attributes, the same kind of parent and
a batch processor whose exporter drops everything.  ``--check`` fails where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from treadle.ids import RunId
from treadle.interfaces import RunSpan
from treadle.tracing.spans import OpenTelemetryTracer

ROUNDS = 15
BAR_WITH_SDK = 25.0
BAR_WITHOUT = 1.0


class Nowhere(SpanExporter):
    """Drops all spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the base class names it
        return SpanExportResult.SUCCESS


def sdk_spans(tracer: trace.Tracer, parent: trace.Span, count: int) -> None:
    above = trace.set_span_in_context(parent)
    for number in range(count):
        attributes = {
            "treadle.node.id": "a",
            "treadle.attempt": number,
            "treadle.node.kind": "agent",
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "a",
        }
        span = tracer.start_span("invoke_agent a", above, trace.SpanKind.INTERNAL, attributes)
        with trace.use_span(span):
            pass
        span.end()


def our_spans(run: RunSpan, count: int) -> None:
    for number in range(count):
        span = run.node(node="a", kind="agent", name="a", attempt=number, at=time.time())
        with span.current():
            pass
        span.end(at=time.time())


def no_spans(run: RunSpan | None, count: int) -> None:
    for number in range(count):
        span = None if run is None else run.node(node="a", kind="agent", name="a", attempt=number, at=0.0)
        if span is not None:
            span.end(at=0.0)


def empty(count: int) -> None:
    for _ in range(count):
        pass


def timed(work: Callable[[], None], count: int) -> float:
    """Microseconds of CPU for one of ``count``."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) / count * 1e6


def measure(count: int) -> dict[str, float]:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    plain = provider.get_tracer("plain")
    root = plain.start_span("root")
    tracer = OpenTelemetryTracer(provider)
    run = tracer.run(run_id=RunId("r"), graph="g", digest="d", at=time.time(), scopes={})
    kinds: dict[str, Callable[[], None]] = {
        "sdk": lambda: sdk_spans(plain, root, count),
        "ours": lambda: our_spans(run, count),
        "none": lambda: no_spans(None, count),
        "loop": lambda: empty(count),
    }
    rounds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, work in kinds.items():
            rounds[name].append(timed(work, count))
    provider.shutdown()
    return {name: min(times) for name, times in rounds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=20_000, help="spans in all rounds together")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    best = measure(max(1, options.spans // ROUNDS))
    over, without = best["ours"] - best["sdk"], best["none"] - best["loop"]
    if options.json:
        rows = {
            "a span, over the SDK's own": {"us_per_span": round(over, 2), "bar": BAR_WITH_SDK},
            "a span where no provider is set": {"us_per_span": round(without, 3), "bar": BAR_WITHOUT},
        }
        print(json.dumps(rows, indent=2))
    else:
        print(f"a span of the SDK itself          {best['sdk']:8.2f} us CPU")
        print(f"a span through treadle            {best['ours']:8.2f} us CPU")
        print(f"over the SDK's own                {over:8.2f} us CPU   (bar: {BAR_WITH_SDK:g})")
        print(f"where no provider is set          {without:8.3f} us CPU   (bar: {BAR_WITHOUT:g})")
    if options.check and (over > BAR_WITH_SDK or without > BAR_WITHOUT):
        sys.exit("a bar is missed")


if __name__ == "__main__":
    main()
