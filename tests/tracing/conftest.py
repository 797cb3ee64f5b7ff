"""A real SDK that keeps its spans in memory, and the conventions it is compared with."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from treadle.tracing.spans import OpenTelemetryTracer

ARCHIVE = Path(__file__).parents[1] / "data" / "otel_genai" / "otel_genai_semconv.tar.gz"


@dataclass
class Spans:
    """A tracer, and what it exported."""

    provider: TracerProvider
    exporter: InMemorySpanExporter
    tracer: OpenTelemetryTracer

    @property
    def ended(self) -> dict[str, ReadableSpan]:
        """The spans that have ended, by name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def spans() -> Spans:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider, exporter, OpenTelemetryTracer(provider))


@pytest.fixture(scope="session")
def conventions() -> dict[str, str]:
    """The files of the GenAI conventions, by path."""
    texts: dict[str, str] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                texts[member.name.removeprefix("./")] = file.read().decode()
    return texts
