"""Whether anybody reads traces: seen from fresh processes, because a provider is set once for all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from treadle.tracing.detect import CAPTURE

OPEN = "from treadle.tracing import open_tracer; tracer = open_tracer(); "
SET = (
    "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider; "
    "trace.set_tracer_provider(TracerProvider()); "
)


def tell(code: str, **environment: str) -> str:
    """Run a line of Python in a process of its own, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout.strip()


def test_without_a_provider_there_is_no_tracer_and_nothing_is_imported() -> None:
    seen = tell(
        f"{OPEN}import sys; print(tracer, any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert seen == "None False"


def test_the_api_alone_is_no_provider() -> None:
    assert tell(f"import opentelemetry.trace; {OPEN}print(tracer)") == "None"


def test_a_provider_that_was_set_is_found() -> None:
    assert tell(f"{SET}{OPEN}print(type(tracer).__name__)") == "OpenTelemetryTracer"


def test_a_provider_named_in_the_environment_is_loaded() -> None:
    seen = tell(f"{OPEN}print(type(tracer).__name__)", OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider")
    assert seen == "OpenTelemetryTracer"


def test_an_exporters_variable_alone_is_no_sign() -> None:
    assert tell(f"{OPEN}print(tracer)", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318") == "None"


def test_a_disabled_sdk_is_obeyed() -> None:
    assert tell(f"{SET}{OPEN}print(tracer)", OTEL_SDK_DISABLED="true") == "None"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("", False),
        ("NO_CONTENT", False),
        ("EVENT_ONLY", False),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
    ],
)
def test_content_is_put_in_spans_only_where_that_is_asked_for(value: str, content: bool) -> None:
    assert tell(f"{SET}{OPEN}print(tracer.content)", **{CAPTURE: value}) == str(content)


def test_an_unknown_wish_for_content_is_warned_of_and_means_no() -> None:
    seen = tell(f"{SET}{OPEN}print(tracer.content)", **{CAPTURE: "true"})
    assert "is not one of NO_CONTENT" in seen
    assert seen.endswith("False")


def test_the_newest_conventions_are_opted_into() -> None:
    code = f"{SET}{OPEN}print(tracer.vintage.schema_url)"
    assert "1.41" in tell(code)
    assert "1.42" in tell(code, OTEL_SEMCONV_STABILITY_OPT_IN="http,gen_ai_latest_experimental")
