"""``ScriptedModel``: a model whose answers are written down, for tests and rehearsals."""

from __future__ import annotations

import collections
import inspect
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from anyio.lowlevel import checkpoint
from pydantic import BaseModel
from pydantic_core import to_json

from treadle import given
from treadle.budget import ZERO, Price, Usage
from treadle.errors import ConfigurationError, RequestRejected
from treadle.messages import (
    Delta,
    Document,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from treadle.providers.serving_events import pieces
from treadle.values import canonical, digest

Answer = object
"""What a script says: text, a pydantic model or other JSON data, a ``ToolCall`` or a list of them, a
whole ``ModelResponse``, or an exception to raise."""

_FREE: Final = Price(input_mtok=ZERO, output_mtok=ZERO, basis="local")
_REMEMBERED: Final = 1000


class ScriptedModel:
    """A model that answers from a script: in the process, or served over HTTP by a ``ModelServer``.

    Usage is worked out from the texts, four bytes a token, so a bill is the same every time; the
    output limit holds as it does for a real model: a longer answer is cut off there.

    Args:
        answers: Answers to give one after another, or a function of the request.  A function that
            looks at nothing but the request makes a model that answers alike after a restart.
        price: Nothing by default.
        name: What it is called in histories and tables.

    Raises:
        ConfigurationError: The answers are neither, or an option is not what is wanted.

    Attributes:
        requests: The last 1,000 requests, oldest first.

    Example:
        >>> from treadle.messages import ModelRequest, user
        >>> model = ScriptedModel(["hello"])
        >>> model.respond(ModelRequest(messages=(user("hi"),))).message.text
        'hello'
    """

    @given.told("ScriptedModel")
    def __init__(
        self,
        answers: Iterable[Answer] | Callable[[ModelRequest], Answer],
        *,
        price: Price | None = None,
        name: str = "scripted",
    ) -> None:
        is_script = callable(answers) or isinstance(cast("object", answers), Iterable)
        if not is_script or isinstance(answers, str | Mapping) or inspect.iscoroutinefunction(answers):
            raise ConfigurationError(
                "ScriptedModel wants a list of answers, or a plain function of the request, not "
                f"{answers!r}; write ScriptedModel([...])"
            )
        if price is not None and not isinstance(cast("object", price), Price):
            example = "Price(input_mtok=Decimal('0.25'), output_mtok=Decimal('2'))"
            raise given.wrong("ScriptedModel", "price", price, "a Price of treadle.models", example)
        self.name: Final = given.text("ScriptedModel", "name", name, example="'small'")
        self.provider: Final = "scripted"
        self.price: Final = price or _FREE
        self.requests: Final = collections.deque[ModelRequest](maxlen=_REMEMBERED)
        self._function = answers if callable(answers) else None
        self._answers = None if callable(answers) else iter(answers)
        self._lock = threading.Lock()
        self._given = 0

    def __repr__(self) -> str:
        return f"ScriptedModel(name={self.name!r})"

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Give the next answer; raises whatever exception the script holds."""
        return self.respond(request)

    def respond(self, request: ModelRequest) -> ModelResponse:
        """Give the next answer without an event loop; safe to call in several threads."""
        answer = self._next(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, ModelResponse):
            return (
                answer if answer.usage != Usage() else replace(answer, usage=_usage(request, answer.message))
            )
        return _within_limit(request, _message(answer, request))

    async def stream(self, request: ModelRequest, each: Callable[[Delta], None]) -> ModelResponse:
        """Give the next answer, a word at a time."""
        response = self.respond(request)
        for delta in _deltas(response.message):
            each(delta)
            await checkpoint()
        return response

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """UTF-8 bytes of everything: four times what it counts; nothing for a picture of unknown size."""
        if not all(_has_bound(part) for message in messages for part in message.parts):
            return None
        bound = sum(_size(message) for message in messages)
        return bound + _frame(request) if len(messages) == len(request.messages) else bound

    def _next(self, request: ModelRequest) -> Answer:
        if self._function is not None:
            self.requests.append(request)
            return self._function(request)
        with self._lock:
            self.requests.append(request)
            self._given += 1
            for answer in self._answers or ():
                return answer
        raise RequestRejected(
            f"ScriptedModel {self.name!r} has no answer left for request {self._given}; "
            "write one more, or give it a function of the request",
            provider="scripted",
        )


def call(name: str, /, **arguments: Any) -> ToolCall:
    """Write a tool call for a script.

    Example:
        >>> call("find_order", order_id="A1").arguments
        '{"order_id": "A1"}'
    """
    key = digest(canonical([name, json.loads(to_json(arguments))]))
    return ToolCall(id=f"call_{key[:12]}", name=name, arguments=json.dumps(json.loads(to_json(arguments))))


def _message(answer: Answer, request: ModelRequest) -> Message:
    if isinstance(answer, Message):
        return answer
    if isinstance(answer, ToolCall):
        return Message(role="assistant", parts=(answer,))
    calls = _calls(answer)
    if calls:
        return Message(role="assistant", parts=_distinct(calls))
    return Message(role="assistant", parts=(Text(text=_text(answer, request)),))


def _calls(answer: Answer) -> list[ToolCall]:
    listed = cast("Sequence[object]", answer) if isinstance(answer, list) else ()
    return [item for item in listed if isinstance(item, ToolCall)]


def _distinct(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Equal calls in one answer get different ids, as from a real model."""
    seen = collections.Counter[str]()
    result: list[ToolCall] = []
    for each in calls:
        count = seen[each.id]
        seen[each.id] += 1
        result.append(replace(each, id=f"{each.id}_{count}") if count else each)
    return tuple(result)


def _text(answer: Answer, request: ModelRequest) -> str:
    """Text as it is, else JSON: under ``"answer"`` where no object stands for the form asked for."""
    if isinstance(answer, str):
        return answer
    is_object = isinstance(answer, dict | BaseModel)
    if not is_object and request.output is not None:
        properties = request.output.schema.get("properties", {})
        if list(properties) == ["answer"]:
            answer = {"answer": answer}
    return to_json(answer).decode()


def _within_limit(request: ModelRequest, message: Message) -> ModelResponse:
    limit = request.max_output_tokens
    if _output_tokens(message) > limit:
        kept = Text(text=message.text.encode()[: limit * 4].decode(errors="ignore"))
        cut = Message(role="assistant", parts=(kept,))
        usage = replace(_usage(request, cut), output_tokens=limit)
        return ModelResponse(message=cut, usage=usage, stop="length")
    refused = any(isinstance(part, Refusal) for part in message.parts)
    return ModelResponse(
        message=message,
        usage=_usage(request, message),
        stop="refusal" if refused else "tools" if message.tool_calls else "end",
    )


def _usage(request: ModelRequest, message: Message) -> Usage:
    size = sum(map(_size, request.messages)) + _frame(request)
    return Usage(input_tokens=-(-size // 4), output_tokens=_output_tokens(message))


def _output_tokens(message: Message) -> int:
    return -(-_size(message) // 4)


def _frame(request: ModelRequest) -> int:
    """Bytes of tools and answer form."""
    tools = sum(len(to_json(tool)) for tool in request.tools)
    return tools + (len(to_json(request.output)) if request.output is not None else 0)


def _size(message: Message) -> int:
    return sum(_part_size(part) for part in message.parts)


def _part_size(part: Part) -> int:
    if isinstance(part, Text | Refusal | Reasoning):
        return len(part.text.encode())
    if isinstance(part, ToolCall):
        return len(part.name.encode()) + len(part.arguments.encode())
    if isinstance(part, ToolResult):
        return len(part.content.encode())
    if isinstance(part, Image | Document):
        return 4 * (part.tokens or 0) or len(part.data) + len(part.url)
    return len(to_json(part.content)) if isinstance(part, Opaque) else 0


def _has_bound(part: Part) -> bool:
    return not isinstance(part, Image | Document) or part.tokens is not None


def _deltas(message: Message) -> Iterator[Delta]:
    """The pieces an answer is streamed in."""
    for index, part in enumerate(message.parts):
        if isinstance(part, ToolCall):
            yield Delta(kind="tool_call", text="", index=index, name=part.name)
        if isinstance(part, Text | Refusal | Reasoning | ToolCall):
            text = part.arguments if isinstance(part, ToolCall) else part.text
            for piece in pieces(text):
                yield Delta(kind=part.kind, text=piece, index=index)
