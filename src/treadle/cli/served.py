"""A graph as the tools of a server: one starts a run of it, one asks what became of a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, cast

import anyio
from pydantic_core import to_json

from treadle.cli.perform import finish
from treadle.engine.engine import Engine
from treadle.engine.handle import RunHandle
from treadle.errors import RunCancelled, StoreError, TreadleError, UnknownRun
from treadle.events import NodeCompleted, Progress, RunEnded
from treadle.ids import RunId
from treadle.interfaces import Question
from treadle.mcp.server import Answer, Offer, Tell
from treadle.nodes.agent_tools import read_arguments
from treadle.nodes.graph import Graph
from treadle.nodes.tool_schema import complaints, tool_spec
from treadle.plan.parts import Callee
from treadle.values import Codec

CALLER: Final = "mcp"
"""Who cancels a run whose caller has gone, and the label that runs of this server bear."""

_RUN_ID: Final = {"type": "string", "description": "As the call that started the run gave it."}


class ServedGraph:
    """A graph that others call; keeps the handles of its runs, so that answers reach them.

    Args:
        engine: An open engine that was given the graph.
        store: Its URL, to tell people where to answer.
    """

    def __init__(self, engine: Engine, graph: Graph[..., Any], *, store: str) -> None:
        self._engine = engine
        self._graph = graph
        self._store = store
        self._handles: dict[str, RunHandle[Any]] = {}

    def offers(self) -> list[Offer]:
        """Its tools: the graph itself, and ``GRAPH_result``."""
        shown = tool_spec(cast("Callee", self._graph))
        later = f"{shown.name}_result"
        result = outcome_schema(self._graph.result)
        return [
            Offer(
                name=shown.name,
                description=shown.description or f"Run {shown.name}.",
                parameters=shown.parameters,
                result=result,
                call=self._start,
            ),
            Offer(
                name=later,
                description=f"Say what became of a run of {shown.name} that waited for a person.",
                parameters={"type": "object", "properties": {"run_id": _RUN_ID}, "required": ["run_id"]},
                result=result,
                call=self._look,
                only_reads=True,
            ),
        ]

    async def _start(self, arguments: dict[str, Any], tell: Tell) -> Answer:
        try:
            values = read_arguments(cast("Callee", self._graph), to_json(arguments).decode())
        except ValueError as error:
            return Answer(text=f"invalid arguments: {complaints(error)}", is_error=True)
        try:
            handle = await self._engine.start(self._graph, **values)
        except StoreError:
            raise
        except TreadleError as error:
            return Answer(text=str(error), is_error=True)
        self._handles[handle.id] = handle
        async with self._cancelled_with_its_caller(handle):
            return await self._outcome(handle, tell)

    @asynccontextmanager
    async def _cancelled_with_its_caller(self, handle: RunHandle[Any]) -> AsyncGenerator[None]:
        """Nobody waits for what a run gives whose caller has gone, so it spends nothing more.

        Where it is this process that stops, the run is parked by now, and can be resumed.
        """
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if handle.id in self._engine.loops:
                with anyio.CancelScope(shield=True):
                    await handle.cancel(by=CALLER, reason="the call was cancelled, or its caller has gone")
            raise

    async def _look(self, arguments: dict[str, Any], tell: Tell) -> Answer:
        run_id = str(arguments.get("run_id", ""))
        try:
            summary = await self._engine.store.run(RunId(run_id))
            if summary.graph != self._graph.name:
                raise UnknownRun(f"run {run_id!r} is none of {self._graph.name!r}")
            if summary.status in {"failed", "cancelled"}:
                return await self._ended(summary.id)
            if run_id not in self._handles:
                self._handles[run_id] = await self._engine.resume(run_id)
        except TreadleError as error:
            return Answer(text=str(error), is_error=True)
        return await self._outcome(self._handles[run_id], tell)

    async def _ended(self, run_id: RunId) -> Answer:
        """How a run ended that gave nothing: looking at it does not try it again."""
        ended = (await self._engine.store.read(run_id))[-1].event
        failure = ended.failure if isinstance(ended, RunEnded) else None
        why = "it was cancelled" if failure is None else f"{failure.type}: {failure.message}"
        return _failed(run_id, "cancelled" if failure is None else "failed", why)

    async def _outcome(self, handle: RunHandle[Any], tell: Tell) -> Answer:
        """Wait until a run has ended or waits for a person, and say so."""
        async with anyio.create_task_group() as group:
            group.start_soon(_follow, handle, tell)
            await finish(handle, self._engine.store)
            group.cancel_scope.cancel()
        if handle.status == "waiting":
            return await self._waiting(handle)
        try:
            value = await handle.result()
        except RunCancelled as error:
            return _failed(handle.id, "cancelled", str(error))
        except TreadleError as error:
            return _failed(handle.id, "failed", str(error))
        self._handles.pop(handle.id, None)
        data = self._graph.result.pack(value).json()
        text = data if isinstance(data, str) else to_json(data).decode()
        return Answer(text=text, data={"run_id": handle.id, "status": "completed", "result": data})

    async def _waiting(self, handle: RunHandle[Any]) -> Answer:
        questions = await self._engine.questions(run_id=handle.id)
        asked = "\n".join(self._in_words(question) for question in questions)
        name = self.offers()[1].name
        text = (
            f"Run {handle.id} waits for a person; you cannot answer for them.\n{asked}\n"
            f"It goes on by itself once they have answered. Then call {name} with run_id {handle.id!r}."
        )
        shown = [{"id": one.id, "to": one.to, "prompt": one.prompt} for one in questions]
        return Answer(text=text, data={"run_id": handle.id, "status": "waiting", "questions": shown})

    def _in_words(self, question: Question) -> str:
        command = f"treadle answer {question.id} --value JSON --as NAME --store {self._store}"
        return f"{question.to} is asked: {question.prompt} ({command})"


async def _follow(handle: RunHandle[Any], tell: Tell) -> None:
    """Tell what a run has done, as it is recorded."""
    async with aclosing(handle.events()) as events:
        async for recorded in events:
            event = recorded.event
            if isinstance(event, Progress):
                await tell(f"{event.node}: {event.message}")
            elif isinstance(event, NodeCompleted):
                await tell(f"{event.node} is done")


def _failed(run_id: str, status: str, why: str) -> Answer:
    return Answer(text=f"run {run_id} {status}: {why}", is_error=True)


def outcome_schema(result: Codec[Any]) -> dict[str, Any]:
    """JSON Schema of what a call gives: the run, how it stands, and its result or its questions."""
    schema = result.schema()
    shared = schema.pop("$defs", {})
    question = {name: {"type": "string"} for name in ("id", "to", "prompt")}
    return {
        "type": "object",
        "properties": {
            "run_id": {"type": "string"},
            "status": {"enum": ["completed", "waiting"]},
            "result": schema,
            "questions": {"type": "array", "items": {"type": "object", "properties": question}},
        },
        "required": ["run_id", "status"],
        **({"$defs": shared} if shared else {}),
    }
