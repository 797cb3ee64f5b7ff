"""Tools of another program as nodes: their schemas are theirs, all else is as with any tool."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Self, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Unpack

from treadle import forms
from treadle.errors import ConfigurationError, ToolFailed, ToolUnavailable, nearest
from treadle.interfaces import Context, ListedTool, ToolServer
from treadle.messages import ToolSpec
from treadle.nodes.node import Changes
from treadle.nodes.options import check_names, check_values
from treadle.nodes.signature import Signature
from treadle.nodes.tool import Effect, Settlement, Tool
from treadle.plan.parts import DEFAULT, Parameter, Policies
from treadle.retry import Retry
from treadle.values import JSON, Codec, canonical, codec, digest, same

DID_NOTHING: Final = (ToolFailed, ToolUnavailable)
"""What a ``once`` tool of another program raises where its effect is not in doubt: that program answered
that the call failed, or never had it."""


class RemoteTool(Tool[..., Any]):
    """A tool of another program.

    Its arguments are checked against the schema that program lists before anything is sent, and its
    result before it is recorded.
    """

    def __init__(self, server: ToolServer, listed: ListedTool, *, name: str, policies: Policies) -> None:
        async def call(ctx: Context, **arguments: Any) -> Any:
            return await _call(ctx, server, listed, arguments)

        call.__doc__ = listed.description or f"Call {listed.name} of {server.name}."
        call.__name__ = listed.name
        super().__init__(call, _Listed(call, listed), policies, name)
        self._declared_name = f"{server.name}.{listed.name}"
        self._listed_tool = listed

    @property
    def shown(self) -> ToolSpec:
        """What a model is shown: the schema as it was listed."""
        return ToolSpec(name=self.name, description=self.description, parameters=self._listed_tool.parameters)

    def complaint(self, arguments: Mapping[str, Any]) -> str:
        """Say what is wrong with arguments under the whole schema, or ``""``."""
        given = _given(self._listed_tool, arguments)
        return forms.complaint(self._listed_tool.parameters, given, called="arguments")

    def using(self, **changes: Unpack[Changes]) -> Self:
        """Give the tool with other policies; a ``Retry`` that lists no errors keeps what is no doubt."""
        retry = changes.get("retry")
        if isinstance(retry, Retry) and self.policies.effect == "once" and not retry.on:
            changes["retry"] = Retry(attempts=retry.attempts, wait=retry.wait, on=DID_NOTHING)
        return super().using(**changes)


async def _call(ctx: Context, server: ToolServer, listed: ListedTool, arguments: Mapping[str, Any]) -> Any:
    given = _given(listed, arguments)
    wrong = forms.complaint(listed.parameters, given, called="arguments")
    if wrong:
        raise ToolFailed(f"it was not called: {wrong}", server=server.name, tool=listed.name)
    session = await ctx.session(server)
    return await session.call(listed, given, key=ctx.idempotency_key, report=ctx.progress)


def _given(listed: ListedTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent: JSON data; an argument left to its default is left out, for the server to fill in."""
    plain: dict[str, Any] = JSON.adapter.dump_python(dict(arguments), mode="json")
    defaults = {one.name: one.default for one in _parameters(listed) if not one.required}
    return {name: one for name, one in plain.items() if name not in defaults or not same(one, defaults[name])}


def _parameters(listed: ListedTool) -> tuple[Parameter, ...]:
    """The properties of the schema: by name, as JSON has no order; the only one needed also by place."""
    required = listed.parameters.get("required", ())
    properties: dict[str, Any] = listed.parameters.get("properties", {})
    return tuple(
        Parameter(
            name,
            JSON,
            required=name in required,
            default=cast("dict[str, Any]", schema).get("default") if isinstance(schema, dict) else None,
            keyword_only=len(required) != 1 or name not in required,
        )
        for name, schema in sorted(properties.items(), key=lambda one: one[0] not in required)
    )


class _Listed(Signature):
    """The signature that a listed tool has."""

    def __init__(self, function: Any, listed: ListedTool) -> None:
        super().__init__(function)
        self._tool = listed

    @functools.cached_property
    def _read(self) -> tuple[tuple[Parameter, ...], Codec[Any], bool, tuple[str, ...]]:
        return _parameters(self._tool), _result_codec(self._tool), True, ()

    @functools.cached_property
    def digests(self) -> tuple[str, str]:
        """Digests of the schemas as they were listed."""
        return digest(canonical(self._tool.parameters)), digest(canonical(self._tool.result))


def _result_codec(listed: ListedTool) -> Codec[Any]:
    if listed.result is None:
        return codec(str)
    return Codec(Annotated[Any, _Form(listed.name, listed.result)])


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Form:
    """The form of a result, as an annotation that pydantic asks."""

    tool: str
    schema: dict[str, Any]

    def __repr__(self) -> str:
        return f"the result that {self.tool!r} declares"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del core, handler
        return self.schema

    def _check(self, value: Any) -> Any:
        wrong = forms.complaint(self.schema, value, called="result")
        if wrong:
            raise ValueError(wrong)
        return value


class RemoteTools:
    """The tools of another program: put them in an agent's ``tools=``, or take one with ``[name]``.

    Declaring them asks nothing; the list is read at the first use of a plan that needs it.
    """

    def __init__(
        self,
        server: ToolServer,
        *,
        prefix: str = "",
        effects: Mapping[str, Effect] | None = None,
        in_doubt: Settlement = "ask",
    ) -> None:
        self.server = server
        self._prefix = prefix
        self._effects = dict(effects or {})
        self._in_doubt: Settlement = in_doubt
        self._only: tuple[str, ...] | None = None
        self._without: tuple[str, ...] = ()
        self._changes: Changes = {}
        self._made: tuple[RemoteTool, ...] | None = None

    def __repr__(self) -> str:
        return f"<tools of {self.server.name}>"

    def only(self, *names: str) -> Self:
        """Give these tools alone, by the server's names for them."""
        return self._changed(_only=names)

    def without(self, *names: str) -> Self:
        """Give all tools but these, by the server's names for them."""
        return self._changed(_without=(*self._without, *names))

    def using(self, **changes: Unpack[Changes]) -> Self:
        """Give the tools with other policies, such as ``timeout``, ``max_calls`` or ``max_result``."""
        check_names(f"the tools of {self.server.name!r}", changes, "tool")
        check_values(changes)
        return self._changed(_changes={**self._changes, **changes})

    def __getitem__(self, name: str) -> RemoteTool:
        """Give one tool, by the server's name for it; it reads the list.

        Raises:
            ConfigurationError: There is no such tool, or the server cannot be reached.
        """
        return self.only(name).offered()[0]

    def offered(self) -> Sequence[RemoteTool]:
        """Give the tools as nodes, in the order of their names: what a model is shown must not depend on
        the order in which a server happens to list them.

        Raises:
            ConfigurationError: The server cannot be reached, its list cannot be used, or a name that
                was chosen is not in it.
        """
        if self._made is None:
            self._made = tuple(self._make(one) for one in self._chosen())
        return self._made

    def _changed(self, **attributes: object) -> Self:
        made = copy.copy(self)
        made.__dict__.update(attributes, _made=None)
        return made

    def _chosen(self) -> list[ListedTool]:
        listed = {tool.name: tool for tool in self.server.listed()}
        for name in (*(self._only or ()), *self._without, *self._effects):
            if name not in listed:
                raise ConfigurationError(
                    f"{self.server.name!r} has no tool {name!r}{nearest(name, listed)}; "
                    f"it has {', '.join(listed) or 'none'}"
                )
        chosen = listed if self._only is None else self._only
        return [listed[name] for name in sorted(listed) if name in chosen and name not in self._without]

    def _make(self, listed: ListedTool) -> RemoteTool:
        effect = self._effects.get(listed.name, listed.effect)
        policies = DEFAULT
        if effect == "once":
            retry = Retry(attempts=1, on=DID_NOTHING)
            policies = replace(policies, effect=effect, in_doubt=self._in_doubt, retry=retry)
        name = f"{self._prefix}{listed.name}".replace("/", "_")
        made = RemoteTool(self.server, listed, name=name, policies=policies)
        return made.using(**self._changes) if self._changes else made
