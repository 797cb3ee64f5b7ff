"""Spans through ``opentelemetry-api``; imported only where ``open_tracer`` found a provider.

Parents are passed explicitly, because nodes of one run overlap; ``current`` also makes a span the
current one around a body, so that the user's own spans nest.  One trace holds a run across pause,
exit and resume: the first span's trace context is recorded with the run, and the span of each later
part is a child of it.

Samplers and processors are a user's code: what they raise costs spans, and never a record or a run.  It is
logged once as a warning (``treadle.tracing``), and after that for debugging only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, TypeVar

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from treadle.budget import Amounts, Price, Usage
from treadle.ids import RunId
from treadle.interfaces import Model
from treadle.messages import ModelRequest, ModelResponse
from treadle.tracing import content, names
from treadle.tracing.names import V1_41, Vintage

_log: Final = logging.getLogger("treadle.tracing")

P = ParamSpec("P")
S = TypeVar("S", bound="Traced")

Attributes = dict[str, str | bool | int | float]

_Form = tuple[str, SpanKind, Callable[[str], Attributes]]

_FORMS: Final[Mapping[str, _Form]] = {
    "agent": (names.INVOKE_AGENT, SpanKind.INTERNAL, lambda name: {names.AGENT: name}),
    "tool": (
        names.EXECUTE_TOOL,
        SpanKind.INTERNAL,
        lambda name: {names.TOOL: name, names.TOOL_TYPE: "function"},
    ),
    "graph": (names.INVOKE_WORKFLOW, SpanKind.INTERNAL, lambda name: {names.WORKFLOW: name}),
    "retriever": (names.RETRIEVAL, SpanKind.CLIENT, lambda name: {names.DATA_SOURCE: name}),
}
_OWN: Final = {"human": names.ASK_PERSON}


def _quietly(note: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Make of a method that hands something to the user's tracer one that does not raise."""

    def noted(traced: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            note(traced, *args, **kwargs)
        except Exception as error:
            traced.tracer.failed(error)

    noted.__doc__ = note.__doc__
    return noted


class OpenTelemetryTracer:
    """Makes the spans of runs.

    Args:
        provider: The process's tracer provider.
        content: Whether prompts and answers are put in spans.
        vintage: Which names are used where releases of the conventions differ.
    """

    def __init__(
        self, provider: trace.TracerProvider, *, content: bool = False, vintage: Vintage = V1_41
    ) -> None:
        self.otel = provider.get_tracer("treadle", schema_url=vintage.schema_url)
        self.content = content
        self.vintage = vintage
        self._has_failed = False

    def failed(self, error: Exception) -> None:
        """Say that something in the user's tracer raised; the first time so that it is seen."""
        level, self._has_failed = logging.DEBUG if self._has_failed else logging.WARNING, True
        why = type(error).__name__
        _log.log(level, "the tracer raised %s: spans are missing, and runs go on", why, exc_info=error)

    def run(
        self,
        *,
        run_id: RunId,
        graph: str,
        digest: str,
        at: float,
        scopes: Mapping[str, tuple[str, str]],
        traceparent: str = "",
    ) -> TracedRun:
        """See ``treadle.interfaces.Tracer.run``."""
        above = contexts.get_current()
        if traceparent:
            above = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
        attributes: Attributes = {
            names.OPERATION: names.INVOKE_WORKFLOW,
            names.WORKFLOW: graph,
            names.RUN_ID: run_id,
            names.GRAPH_DIGEST: digest,
        }
        if traceparent:
            attributes[names.RESUMED] = True
        name = f"{names.INVOKE_WORKFLOW} {graph}"
        span = self.start(name, above, SpanKind.INTERNAL, attributes, at)
        return TracedRun(self, span, above, scopes)

    def start(
        self, name: str, above: Context, kind: SpanKind, attributes: Attributes, at: float
    ) -> trace.Span:
        """Start a span at a given time, with attributes that samplers can see.

        Where that fails, the span above stands in for it.
        """
        try:
            return self.otel.start_span(name, above, kind, attributes, start_time=_nanoseconds(at))
        except Exception as error:
            self.failed(error)
            return trace.NonRecordingSpan(trace.get_current_span(above).get_span_context())


class Traced:
    """One span; see ``treadle.interfaces.Span``."""

    __slots__ = ("_above", "_below", "_ended", "_span", "tracer")

    def __init__(
        self,
        tracer: OpenTelemetryTracer,
        span: trace.Span,
        above: Context,
        ended: Callable[[float], None] | None = None,
    ) -> None:
        self.tracer = tracer
        self._span = span
        self._above = above
        self._below: Context | None = None
        self._ended = ended

    @property
    def below(self) -> Context:
        """The context in which children start."""
        if self._below is None:
            self._below = trace.set_span_in_context(self._span, self._above)
        return self._below

    @property
    def traceparent(self) -> str:
        """The span as a W3C ``traceparent`` header (https://www.w3.org/TR/trace-context/, 3.2)."""
        try:
            span = self._span.get_span_context()
        except Exception as error:
            self.tracer.failed(error)
            return ""
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"

    def current(self) -> Current:
        """Around a body whose own spans shall nest under this one."""
        return Current(self._span)

    def step(self, *, kind: str, name: str, step: str, at: float) -> Traced:
        """Open the span of a call inside the body."""
        return self.child(kind, name, {names.STEP: step}, at)

    def model(self, *, model: Model, request: ModelRequest, number: int, at: float) -> TracedModel:
        """Open the span of one request to a model."""
        attributes: Attributes = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: model.provider,
            names.REQUEST_MODEL: model.name,
            names.REQUEST_MAX_TOKENS: request.max_output_tokens,
            names.OUTPUT_TYPE: "text" if request.output is None else "json",
            names.REQUEST: number,
        }
        if request.temperature is not None:
            attributes[names.REQUEST_TEMPERATURE] = request.temperature
        if self.tracer.content:
            self._add_content(attributes, request)
        name = f"{names.CHAT} {model.name}"
        span = self.tracer.start(name, self.below, SpanKind.CLIENT, attributes, at)
        return TracedModel(self.tracer, span, self.below)

    def end(self, *, at: float, error: str = "", status: str = "") -> None:
        """Close it."""
        self._close(at, error, status)
        if self._ended is not None:
            self._ended(at)

    @_quietly
    def _close(self, at: float, error: str, status: str) -> None:
        if status:
            self._span.set_attribute(names.STATUS, status)
        if error:
            self._span.set_attribute(names.ERROR, error.removeprefix("builtins."))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(_nanoseconds(at))

    @_quietly
    def _add_content(self, attributes: Attributes, request: ModelRequest) -> None:
        attributes.update(content.of_request(request))

    def child(
        self,
        kind: str,
        name: str,
        attributes: Attributes,
        at: float,
        ended: Callable[[float], None] | None = None,
    ) -> Traced:
        """Open a span below this one, named after the kind of what runs; ``ended`` is told its end."""
        attributes[names.NODE_KIND] = kind
        form = _FORMS.get(kind)
        if form is None:
            operation, span_kind = _OWN.get(kind, names.RUN_NODE), SpanKind.INTERNAL
        else:
            operation, span_kind, more = form
            attributes[names.OPERATION] = operation
            attributes.update(more(name))
        span = self.tracer.start(f"{operation} {name}", self.below, span_kind, attributes, at)
        return Traced(self.tracer, span, self.below, ended)


class Current:
    """Makes a span the current one for a block, and the one before current again after."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = contexts.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        contexts.detach(self._token)


class TracedModel(Traced):
    """The span of one request to a model: the only one with usage and cost."""

    __slots__ = ()

    @_quietly
    def settled(
        self, *, charged: Amounts, price: Price | None, response: ModelResponse | None = None
    ) -> None:
        """Note what it cost, and what came back."""
        usage = Usage() if response is None else response.usage
        if response is not None:
            self._note(response)
        if price is None:
            return
        span = self._span
        span.set_attribute(names.COST_USD, float(charged.usd))
        span.set_attribute(names.COST_BASIS, "priced" if usage.total_tokens else "estimated")
        span.set_attribute(names.PRICE_BASIS, price.basis)
        if price.version:
            span.set_attribute(names.PRICE_VERSION, price.version)

    def _note(self, response: ModelResponse) -> None:
        usage = response.usage
        attributes: Attributes = {
            names.INPUT_TOKENS: usage.input_tokens,
            names.OUTPUT_TOKENS: usage.output_tokens,
            names.CACHE_READ_TOKENS: usage.cache_read_tokens,
            self.tracer.vintage.cache_write_tokens: usage.cache_write_tokens,
            names.REASONING_TOKENS: usage.reasoning_tokens,
        }
        known = {name: count for name, count in attributes.items() if count}
        if response.model:
            known[names.RESPONSE_MODEL] = response.model
        if response.response_id:
            known[names.RESPONSE_ID] = response.response_id
        if self.tracer.content:
            known.update(content.of_response(response))
        self._span.set_attributes(known)
        self._span.set_attribute(names.FINISH_REASONS, [names.FINISH[response.stop]])


class _Scope:
    """The span of a subgraph: opens with its first node, ends with its last."""

    __slots__ = ("ended_at", "outer", "traced")

    def __init__(self, traced: Traced, outer: _Scope | None, at: float) -> None:
        self.traced = traced
        self.outer = outer
        self.ended_at = at

    def ended(self, at: float) -> None:
        """A node in it, or in a subgraph of it, ended."""
        self.ended_at = max(self.ended_at, at)
        if self.outer is not None:
            self.outer.ended(at)


class TracedRun(Traced):
    """The span of a run, or of a part between two pauses; it holds those of its subgraphs."""

    __slots__ = ("_names", "_scopes")

    def __init__(
        self,
        tracer: OpenTelemetryTracer,
        span: trace.Span,
        above: Context,
        scopes: Mapping[str, tuple[str, str]],
    ) -> None:
        super().__init__(tracer, span, above)
        self._names = scopes
        self._scopes: dict[str, _Scope] = {}

    def node(self, *, node: str, kind: str, name: str, attempt: int, at: float, scope: str = "") -> Traced:
        """Open the span of an attempt."""
        attributes: Attributes = {names.NODE_ID: node, names.ATTEMPT: attempt}
        if not scope:
            return self.child(kind, name, attributes, at)
        around = self._scope(scope, at)
        return around.traced.child(kind, name, attributes, at, around.ended)

    def leave(self, scope: str) -> None:
        """Close the spans of an item or a round, and of the subgraphs in it."""
        for inside in [
            name for name in reversed(self._scopes) if name == scope or name.startswith(f"{scope}/")
        ]:
            over = self._scopes.pop(inside)
            over.traced.end(at=over.ended_at)

    def end(self, *, at: float, error: str = "", status: str = "") -> None:
        """Close it, and the subgraphs in it."""
        for scope in reversed(self._scopes.values()):
            scope.traced.end(at=scope.ended_at)
        self._scopes.clear()
        super().end(at=at, error=error, status=status)

    def _scope(self, scope: str, at: float) -> _Scope:
        found = self._scopes.get(scope)
        if found is not None:
            return found
        graph, parent = self._names[scope]
        outer = self._scope(parent, at) if parent else None
        above = self.below if outer is None else outer.traced.below
        attributes: Attributes = {
            names.OPERATION: names.INVOKE_WORKFLOW,
            names.WORKFLOW: graph,
            names.SCOPE: scope,
        }
        name = f"{names.INVOKE_WORKFLOW} {graph}"
        span = self.tracer.start(name, above, SpanKind.INTERNAL, attributes, at)
        made = _Scope(Traced(self.tracer, span, above), outer, at)
        self._scopes[scope] = made
        return made


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
