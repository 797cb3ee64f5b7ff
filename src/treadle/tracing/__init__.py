"""Spans for OpenTelemetry: a view of what the history holds, for the user's own SDK and exporters.

Never here: anything a run depends on.  Nothing of OpenTelemetry is imported until ``open_tracer`` has
found that somebody reads traces.  The rule a newcomer would break: usage stands on the span of the
model request alone; on its parents too, every back end that sums spans would count it twice.
"""

from treadle.tracing.detect import open_tracer

__all__ = ["open_tracer"]
