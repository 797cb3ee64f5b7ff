"""Runs that pay, in processes that are killed after the payment and before its record.

``python paying.py`` reads orders from standard input, one JSON line each, and carries each out in a forked
child.  For each it prints how the child ended: ``{"signal": 9}``, or ``{"code": 0}`` with what it says.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio

from treadle import Context, Engine, Prompt, agent, graph, node, tool
from treadle.errors import DidNotHappen, TreadleError
from treadle.messages import ModelRequest
from treadle.nodes.graph import Graph
from treadle.stores import SqliteStore
from treadle.testing import ScriptedModel, call

Policy = Literal["ask", "retry", "fail", "find"]
Way = Literal["node", "step", "tool"]
Death = Literal["", "taken", "answered"]
"""When a process dies: once the payment is taken, or once the service has answered; or not at all."""

WAYS: tuple[Way, ...] = ("node", "step", "tool")
POLICIES: tuple[Policy, ...] = ("ask", "retry", "fail", "find")
PRELOADED = ("anyio._backends._asyncio", "docstring_parser")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a child is to do: to pay in a new run and die, or to take up all runs that others left.

    Attributes:
        answer: What a person says about each doubt.
    """

    database: str
    port: int
    policy: Policy
    way: Way = "node"
    run: str = ""
    death: Death = ""
    answer: str = ""
    said: str = ""


class Service:
    """The way to the payment server, for one order of this process."""

    port = 0
    death: Death = ""

    async def pay(self, order: str, key: str) -> str:
        kill = os.getpid() if self.death == "taken" else 0
        said = await self._send("POST", "/payments", {"order": order, "key": key, "kill": kill})
        if self.death == "answered":
            os.kill(os.getpid(), signal.SIGKILL)
        return str(said)

    async def payments(self, order: str) -> list[str]:
        found: list[str] = await self._send("GET", f"/payments/{order}", None)
        return found

    async def _send(self, method: str, path: str, body: object) -> Any:
        return await anyio.to_thread.run_sync(self._send_at_once, method, path, body)

    def _send_at_once(self, method: str, path: str, body: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, None if body is None else json.dumps(body))
        value = json.loads(connection.getresponse().read())
        connection.close()
        return value


SERVICE = Service()


async def find_payment(order: str) -> str:
    if not await SERVICE.payments(order):
        raise DidNotHappen("the service knows no such payment")
    return f"{order} is paid"


def payment(policy: Policy) -> Any:
    @tool(effect="once", in_doubt=find_payment if policy == "find" else policy)
    async def pay(ctx: Context, order: str) -> str:
        """Pay an order."""
        return await SERVICE.pay(order, ctx.idempotency_key)

    return pay


def wired(pay: Any) -> Graph[[str], str]:
    @graph(name="wired")
    def shop(order: str) -> str:
        return pay(order)  # type: ignore[no-any-return]

    return shop


def stepped(pay: Any) -> Graph[[str], str]:
    @node
    async def buy(ctx: Context, order: str) -> str:
        return await ctx.step(pay, order)  # type: ignore[no-any-return]

    @graph(name="stepped")
    def shop(order: str) -> str:
        return buy(order)

    return shop


def called(pay: Any) -> Graph[[str], str]:
    def respond(request: ModelRequest) -> object:
        told = [part for message in request.messages for part in message.parts if message.role == "tool"]
        if told:
            return told[-1].content  # type: ignore[union-attr]
        return call("pay", order=request.messages[-1].text)

    @agent(model=ScriptedModel(respond), tools=[pay])
    async def clerk(order: str) -> Prompt[str]:
        return Prompt(order)

    @graph(name="called")
    def shop(order: str) -> str:
        return clerk(order)

    return shop


SHOPS: dict[Way, Callable[[Any], Graph[[str], str]]] = {"node": wired, "step": stepped, "tool": called}


async def pay_and_die(order: Order) -> None:
    """Start a run; the process does not live to its end."""
    shop = SHOPS[order.way](payment(order.policy))
    async with Engine(SqliteStore(order.database)) as engine:
        await (await engine.start(shop, order.run, run_id=order.run)).result()


async def take_up(order: Order) -> dict[str, str]:
    """Take up all runs that were left; give what each came to."""
    shops = [SHOPS[way](payment(order.policy)) for way in WAYS]
    async with Engine(SqliteStore(order.database), graphs=shops) as engine:
        return {run.id: await outcome(engine, run.id, order) for run in await engine.store.runs(limit=1000)}


async def outcome(engine: Engine, run_id: str, order: Order) -> str:
    handle = await engine.resume(run_id)
    while await handle.settled() == "waiting":
        for question in await engine.questions(run_id=run_id):
            result = {"result": f"{run_id} is paid"} if order.answer == "happened" else {}
            said = {"outcome": order.answer, **result}
            await engine.answer(question.id, said, by="ada", opening=question.opening)
    try:
        return await handle.result()
    except TreadleError as error:
        return type(error).__name__


def main() -> None:
    """Take orders until standard input closes."""
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            perform(order)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"signal": -code} if code < 0 else {"code": code}), flush=True)


def perform(order: Order) -> None:
    """Be the child: whatever happens, never return to the loop above."""
    code = 1
    try:
        SERVICE.port, SERVICE.death = order.port, order.death
        if order.death:
            anyio.run(pay_and_die, order)
        else:
            Path(order.said).write_text(json.dumps(anyio.run(partial(take_up, order))))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
