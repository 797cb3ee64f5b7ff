"""Whether anybody reads traces, found out without importing OpenTelemetry for nothing.

Somebody does when the process has set a global tracer provider: by ``trace.set_tracer_provider``, by
``opentelemetry-instrument``, or by ``OTEL_PYTHON_TRACER_PROVIDER``, which has the API load one.  Who
set one has imported ``opentelemetry.trace``, so where that module is not loaded the answer is no, for
the price of a look-up.  That the SDK is installed, or that an exporter's variables are set, is no
sign: without a provider nothing would be sent.  ``OTEL_SDK_DISABLED=true`` is obeyed.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Final

from treadle.interfaces import Tracer
from treadle.tracing.names import NEWEST, V1_41

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_CAPTURES: Final = {
    "": False,
    "NO_CONTENT": False,
    "EVENT_ONLY": False,
    "SPAN_ONLY": True,
    "SPAN_AND_EVENT": True,
}


def open_tracer() -> Tracer | None:
    """Give a tracer where a tracer provider is configured now, else ``None``.

    Called when an engine opens; a provider set later is not seen by it.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - 91 ms of CPU that only those pay who trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    from treadle.tracing.spans import OpenTelemetryTracer  # noqa: PLC0415 - imports the API

    newest = "gen_ai_latest_experimental" in os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return OpenTelemetryTracer(provider, content=_wants_content(), vintage=NEWEST if newest else V1_41)


def _wants_content() -> bool:
    """Whether prompts and answers may stand in spans; events are not emitted by this release."""
    value = os.environ.get(CAPTURE, "").strip()
    wanted = _CAPTURES.get(value.upper())
    if wanted is None:
        known = ", ".join(name for name in _CAPTURES if name)
        warnings.warn(f"{CAPTURE}={value!r} is not one of {known}: no content is put in spans", stacklevel=3)
    return bool(wanted)
