"""JSON Schemas that models are shown: of a tool's arguments, and of the answer an agent must give."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from treadle.errors import ResultRefused
from treadle.messages import OutputSpec, ToolSpec
from treadle.plan.parts import Callee, Parameter
from treadle.values import Codec

_FENCE: Final = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_WRAPPED: Final = "answer"


def tool_spec(callee: Callee) -> ToolSpec:
    """Describe a node as a tool, from its signature and its docstring.

    The docstring's ``Args`` (in Google's, NumPy's or Sphinx' form) describe the parameters, the rest
    of it, without ``Returns`` and ``Raises``, the tool.  A callee that says itself how it is ``shown``
    is shown like that.
    """
    shown = getattr(callee, "shown", None)
    if isinstance(shown, ToolSpec):
        return replace(shown, name=identifier(shown.name))
    text = inspect.getdoc(getattr(callee, "function", callee)) or ""
    description, notes = _read_docstring(text)
    return ToolSpec(
        name=identifier(callee.name),
        description=description,
        parameters=_parameters(callee.parameters, notes),
    )


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    import docstring_parser  # noqa: PLC0415 - 36 ms of CPU that only agents with tools pay

    parsed = docstring_parser.parse(text)
    paragraphs = [part for part in (parsed.short_description, parsed.long_description) if part]
    return "\n\n".join(paragraphs), {p.arg_name: p.description or "" for p in parsed.params}


def _parameters(parameters: tuple[Parameter, ...], notes: dict[str, str]) -> dict[str, Any]:
    adapters: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (parameter.name, "validation", parameter.codec.adapter) for parameter in parameters
    ]
    # One call for all of them: pydantic keeps apart different types of the same name.
    schemas, shared = TypeAdapter.json_schemas(adapters)
    properties: dict[str, Any] = {}
    for parameter in parameters:
        schema = dict(schemas[(parameter.name, "validation")])
        if notes.get(parameter.name):
            schema = {**schema, "description": notes[parameter.name]}
        if not parameter.required:
            schema.update(_default(parameter))
        properties[parameter.name] = schema
    result: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [parameter.name for parameter in parameters if parameter.required],
        "additionalProperties": False,
    }
    return {**result, "$defs": shared["$defs"]} if "$defs" in shared else result


def _default(parameter: Parameter) -> dict[str, Any]:
    """What is shown of a default: nothing where it is no value of its type, such as a mark of absence."""
    try:
        return {"default": from_json(parameter.codec.encode(parameter.default))}
    except ResultRefused:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """How an answer is asked for and read.

    Attributes:
        spec: What the provider is told; ``None`` for plain text.
        is_wrapped: Whether the value stands under ``"answer"`` in an object, because providers
            take schemas of objects only.
    """

    codec: Codec[Any]
    spec: OutputSpec | None
    is_wrapped: bool

    def read(self, text: str) -> Any:
        """Read a model's final text.

        Raises:
            ValueError: It does not fit (pydantic's ``ValidationError`` where it is JSON at all).
        """
        if self.spec is None:
            return text
        fenced = _FENCE.match(text)  # weak models put JSON in a code block
        data = from_json(fenced.group(1) if fenced else text)
        if self.is_wrapped:
            if not isinstance(data, dict) or _WRAPPED not in data:
                raise ValueError(f"the answer must be a JSON object with the key {_WRAPPED!r}")
            data = cast("dict[str, Any]", data)[_WRAPPED]
        return self.codec.decode(to_json(data))


def answer_form(codec: Codec[Any]) -> AnswerForm:
    """Decide how an answer of a type is asked for: ``str`` as plain text, all else by a schema."""
    if codec.type is str:
        return AnswerForm(codec=codec, spec=None, is_wrapped=False)
    name = identifier(codec.type.__name__) if isinstance(codec.type, type) else _WRAPPED
    schema = codec.schema()
    shared = schema.pop("$defs", {})
    root = _resolved(schema, shared)
    if root.get("type") == "object" and "properties" in root:
        whole = root
    else:
        whole = {
            "type": "object",
            "properties": {_WRAPPED: schema},
            "required": [_WRAPPED],
            "additionalProperties": False,
        }
    wrapped = whole is not root
    if shared:
        whole = {**whole, "$defs": shared}
    return AnswerForm(codec=codec, spec=OutputSpec(name=name, schema=whole), is_wrapped=wrapped)


def _resolved(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or what it points to: pydantic writes a recursive model as a reference."""
    target = schema.get("$ref", "")
    return shared.get(target.rpartition("/")[2], schema) if target else schema


def identifier(name: str) -> str:
    """A name within what OpenAI takes for tools and schemas: letters, digits, ``_`` and ``-``, at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]


def complaints(error: ValueError) -> str:
    """Say what is wrong with a value, without repeating the value, for a model to mend."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors()[:5]
    )
