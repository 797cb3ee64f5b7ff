"""The accounts of an engine's runs, and how they are made again from a history.

An account of a run is known by its id, so what an earlier process settled is found again: every
``MoneySettled`` is charged to the accounts it names and to those its node stands under now.  A hold
without its settlement belonged to a process that died: what was held is charged, because nobody can
tell whether the provider served the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from treadle.budget import NOTHING, Amounts, Budget
from treadle.engine.money import Account
from treadle.engine.times import Key, Span, Timeline, covered, read_times
from treadle.engine.tracked import FINAL
from treadle.errors import FormatMismatch, InternalError, UnknownRun
from treadle.events import CircuitActed, Event, MoneyHeld, MoneySettled, RunEnded, RunStarted, StepStarted
from treadle.ids import NodeId, PartId, RunId, StepId, owner_of, split
from treadle.interfaces import Store
from treadle.plan.parts import Planned, Scope

RUN: Final = "run"
"""The id of the account that every run has, limited or not: what it spent is the run's cost."""

_ROOT: Final = PartId("")

_ALL: Final = 1_000_000_000
"""No store holds more runs."""

_NEVER: Final[Mapping[Key, Sequence[Span]]] = {}
"""How long calls ran before a run was taken up, where nobody did."""

Request = tuple[NodeId, int, StepId, int]
"""Names one request of a run: node, attempt, step, and its count within the step."""


class Purse:
    """All accounts of one engine: those of tenants, which their runs share, and those of each run.

    Args:
        tenants: The budget of each tenant, by name; other tenants are only counted.
    """

    def __init__(self, tenants: Mapping[str, Budget] | None = None) -> None:
        self._budgets = dict(tenants or {})
        self._tenants: dict[str, Account] = {}
        self._shares: dict[tuple[str, RunId], Amounts] = {}

    def open(
        self,
        run_id: RunId,
        plan: Planned,
        *,
        budget: Budget | None = None,
        tenant: str = "",
        events: Iterable[Event] = (),
    ) -> RunAccounts:
        """Open the accounts of a run, with all that its history says was settled.

        Args:
            run_id: The run.
            plan: The plan it goes on with; scopes and nodes with a budget have an account.
            budget: What the run was started with; it stands in place of the graph's own.
            tenant: Whose run it is, ``""`` for nobody's.
            events: The history so far, settlements of lost holds included (see ``lost``).
        """
        history = list(events)
        above = (self._tenant(tenant),) if tenant else ()
        accounts = RunAccounts(plan, plan.policies.budget if budget is None else budget, above)
        if history:
            accounts.charge(history)
        if tenant:
            self.remember(tenant, run_id, accounts.run.spent)
        return accounts

    def remember(self, tenant: str, run_id: RunId, spent: Amounts) -> None:
        """Count what one stored run of a tenant has spent; again for the same run replaces it."""
        account = self._tenant(tenant)
        account.spent += spent - self._shares.get((tenant, run_id), NOTHING)
        self._shares[(tenant, run_id)] = spent

    def times(self, started: RunStarted) -> bool:
        """Whether the seconds of a run are limited from above its plan, by its own budget or its tenant's."""
        own = started.budget
        if own is not None and own.seconds is not None:
            return True
        tenants = self._budgets.get(started.tenant) if started.tenant else None
        return tenants is not None and tenants.seconds is not None

    async def recollect(self, store: Store) -> None:
        """Count what the stored runs of limited tenants have spent, so that a budget outlives the process.

        What an unfinished run holds counts as spent: its process died, or may die, before it tells what the
        request took.  Seconds are read off all histories of a tenant, where they are limited.  What other
        processes spend from now on is not seen.
        """
        ran: dict[str, list[Span]] = {}
        for summary in await store.runs(limit=_ALL) if self._budgets else ():
            budget = self._budgets.get(summary.tenant)
            if budget is None:
                continue
            self.remember(summary.tenant, summary.id, summary.spent)
            if summary.status not in FINAL or budget.seconds is not None:
                events = await _readable(store, summary.id)
                if events:
                    self.remember(summary.tenant, summary.id, _taken(events))
                for settled, held in _settlements(events):
                    self._tenant(summary.tenant).note(settled.charged, held=held)
                for spans in read_times(events).nodes.values() if budget.seconds is not None else ():
                    ran.setdefault(summary.tenant, []).extend(spans)
        for tenant, spans in ran.items():
            self._tenant(tenant).meter.add(covered(spans))

    def close(self, run_id: RunId, accounts: RunAccounts, *, tenant: str = "") -> None:
        """Note a run's share of its tenant's account, as this process stops working on it."""
        if tenant:
            self._shares[(tenant, run_id)] = accounts.run.spent

    def forget(self, run_id: RunId, tenant: str, ended: RunEnded) -> None:
        """Forget the share of a run whose end is safely recorded, unless it can be tried again: else nobody
        asks for it any more."""
        if ended.status != "failed":
            self._shares.pop((tenant, run_id), None)

    def _tenant(self, name: str) -> Account:
        if name not in self._tenants:
            self._tenants[name] = Account(f"tenant {name}", self._budgets.get(name))
        return self._tenants[name]


class _Tree:
    """What stands below a run's own account: accounts by id, and what was found out about the ways there.

    Attributes:
        by_id: All of them.
        scopes: The accounts above what stands in each scope of a part.
        paths: The accounts above each node that was asked for.
        inside: Those nodes, by the item or round they stand in.
        steps: The accounts of a node's steps.
        counted: The stretches of time before the run was taken up that the account of a step has counted.
    """

    __slots__ = ("by_id", "counted", "inside", "paths", "scopes", "steps")

    def __init__(self) -> None:
        self.by_id: dict[str, Account] = {}
        self.scopes: dict[PartId, Mapping[str, tuple[Account, ...]]] = {}
        self.paths: dict[NodeId, tuple[Account, ...]] = {}
        self.inside: dict[PartId, list[NodeId]] = {}
        self.steps: dict[NodeId, set[str]] = {}
        self.counted: dict[str, Timeline] = {}


class RunAccounts:
    """The accounts of one run, found by node.

    Attributes:
        run: The run's own; ``run.spent`` is what the run cost so far.
    """

    __slots__ = ("_above", "_grown", "_outermost", "_plan", "_ran", "run")

    def __init__(self, plan: Planned, budget: Budget | None, above: tuple[Account, ...] = ()) -> None:
        self._plan = plan
        self._above = above
        self.run = Account(RUN, budget)
        self._grown: _Tree | None = None
        self._outermost: Mapping[str, tuple[Account, ...]] | None = None
        self._ran = _NEVER

    @property
    def _tree(self) -> _Tree:
        """What stands below the run's own: made by the first who asks, for most runs do without."""
        if self._grown is None:
            self._grown = _Tree()
        return self._grown

    def path(self, node: NodeId) -> tuple[Account, ...]:
        """The accounts above a node's model calls, outermost first: tenant, run, subgraphs, node."""
        planned = self._plan.by_id.get(node)
        if planned is not None and planned.policies.budget is None:  # as most: nothing is to be kept
            return (self._outermost or self._around(_ROOT))[planned.scope]
        tree = self._tree
        path = tree.paths.get(node)
        if path is None:
            planned = planned or self._plan.find(node)
            if planned is None:
                raise InternalError(f"the plan has no node {node!r} to pay for; please report this")
            part = _ROOT if node in self._plan.by_id else split(node)[0]
            around = self._around(part)
            if part:
                tree.inside.setdefault(part, []).append(node)
            path = self._below(around[planned.scope], f"node {node}", planned.policies.budget)
            tree.paths[node] = path
        return path

    def _around(self, part: PartId) -> Mapping[str, tuple[Account, ...]]:
        """The accounts above what stands in the scopes of a part: those around its ``each`` or ``loop``,
        then one of its own where its graph has a budget, then those of its subgraphs."""
        scopes = self._tree.scopes
        found = scopes.get(part)
        if found is None and not part:
            self._outermost = found = self._nest((*self._above, self.run), self._plan.scopes)
            scopes[part] = found
        elif found is None:
            node = owner_of(part)[0]
            repeated = self._plan.find(node)
            if repeated is None or repeated.body is None:
                raise InternalError(f"the plan has no part {part!r} to pay for; please report this")
            outer = self.path(node)
            body = repeated.body
            above = self._below(outer, f"subgraph {part}", body.policies.budget)
            found = scopes[part] = self._nest(above, body.scopes, f"{part}/")
        return found

    def _nest(
        self, above: tuple[Account, ...], scopes: Iterable[Scope], prefix: str = ""
    ) -> dict[str, tuple[Account, ...]]:
        found = {"": above}
        for scope in scopes:
            around = found[scope.parent]
            found[scope.id] = self._below(around, f"subgraph {prefix}{scope.id}", scope.policies.budget)
        return found

    def leave(self, part: PartId) -> None:
        """Forget the accounts of an item or a round that is over."""
        tree = self._grown
        if tree is None:
            return
        for scope in tree.scopes.pop(part, ()):
            tree.by_id.pop(f"subgraph {part}/{scope}" if scope else f"subgraph {part}", None)
        for node in tree.inside.pop(part, ()):
            del tree.paths[node]
            for name in (f"node {node}", *tree.steps.pop(node, ())):
                tree.by_id.pop(name, None)
                tree.counted.pop(name, None)

    def nested(
        self, path: tuple[Account, ...], node: NodeId, step: StepId, budget: Budget | None
    ) -> tuple[Account, ...]:
        """The accounts above what runs inside a step, whose callee may have a budget of its own.

        All attempts at the node share the step's account, as they share the node's.
        """
        name = f"step {node}:{step}"
        found = self._below(path, name, budget)
        if budget is not None:
            self._tree.steps.setdefault(node, set()).add(name)
        if found is not path:
            self.count_on(found[-1:], node, step)
        return found

    def count_on(self, accounts: Iterable[Account], node: NodeId, step: StepId) -> None:
        """Count how long a call ran before the run was taken up, in accounts of steps above it; once, however
        often it is asked for."""
        spans = self._ran.get((node, step), ())
        for account in accounts:
            if spans and account.is_timed:
                counted = self._tree.counted.setdefault(account.id, Timeline())
                account.meter.add(sum(map(counted.add, spans)))

    def charge(self, events: Iterable[Event]) -> None:
        """Charge what a history says was settled, and count the seconds that it says ran."""
        history = list(events)
        for settled, held in _settlements(history):
            self._charge(settled, held)
        times = read_times(history)
        self._count(times.nodes)
        self._ran = times.calls

    def _charge(self, event: MoneySettled, held: Amounts) -> None:
        path = self.path(event.node) if self._plan.find(event.node) is not None else (self.run,)
        accounts = {account.id: account for account in path if account not in self._above}
        for name in event.accounts:
            if not name.startswith("tenant "):
                accounts.setdefault(name, self._account(name))
            if name.startswith("step "):
                self._tree.steps.setdefault(event.node, set()).add(name)
        for account in accounts.values():
            account.charge(event.charged, held=held)
        for account in self._above:  # its spending is known already
            account.note(event.charged, held=held)

    def _count(self, intervals: Mapping[NodeId, Sequence[tuple[float, float]]]) -> None:
        ran: dict[Account, list[tuple[float, float]]] = {}
        for node, spans in intervals.items():
            for account in self.path(node) if self._plan.find(node) is not None else (self.run,):
                if account.is_timed and account not in self._above:
                    ran.setdefault(account, []).extend(spans)
        for account, spans in ran.items():
            account.meter.add(covered(spans))

    def _below(self, path: tuple[Account, ...], name: str, budget: Budget | None) -> tuple[Account, ...]:
        if budget is None:
            return path
        account = self._account(name)
        account.budget = budget
        return (*path, account)

    def _account(self, name: str) -> Account:
        if name == RUN:
            return self.run
        by_id = self._tree.by_id
        if name not in by_id:
            by_id[name] = Account(name)
        return by_id[name]


def lost(events: Iterable[Event], *, at: float) -> list[MoneySettled]:
    """The settlements to append when a run is taken over: open holds are charged in full.

    Args:
        events: The history so far.
        at: The time of the take-over, in seconds since 1970.
    """
    return [
        MoneySettled(
            at=at,
            node=held.node,
            attempt=held.attempt,
            step=held.step,
            request=held.request,
            accounts=held.accounts,
            charged=held.held,
            started_at=held.at,
            outcome="lost",
            model=held.model,
            provider=held.provider,
            basis="held",
            error="the process ended before the outcome was recorded",
        )
        for held in _open_holds(events).values()
    ]


class Made(NamedTuple):
    """What a step has done towards an answer of its model.

    Attributes:
        requests: The number of its last request.
        tries: How often it tried since it was last begun; two requests at once, where it is hedged, are one
            try.
        not_before: When it tries again, where it waits for that.
    """

    requests: int
    tries: int
    not_before: float | None = None


NOT_ASKED: Final = Made(0, 0)
"""What a step has made of requests that has made none."""

AllMade = dict[tuple[NodeId, int], dict[StepId, Made]]
"""What each step has made of requests: for each attempt, by step."""


def requests_made(events: Iterable[Event]) -> AllMade:
    """What a history shows that each step has made of requests: new ones count on from there."""
    made: AllMade = {}
    for event in events:
        note(made, event)
    return made


def note(made: AllMade, event: Event) -> None:
    """Take in one more event.  A step that is begun again may try as often as at first; no request of it
    has the number of another."""
    if not isinstance(event, StepStarted | MoneyHeld | MoneySettled | CircuitActed):
        return
    if isinstance(event, StepStarted) and (event.node, event.attempt) not in made:
        return
    steps, key = made.setdefault((event.node, event.attempt), {}), event.step
    before = steps.get(key, NOT_ASKED)
    if isinstance(event, StepStarted):
        if before.requests:
            steps[key] = Made(before.requests, 0)
    elif isinstance(event, MoneySettled):
        steps[key] = before._replace(not_before=event.not_before)
    elif isinstance(event, MoneyHeld) or event.did == "refused":
        is_try = not (isinstance(event, MoneyHeld) and event.hedge)
        steps[key] = Made(max(event.request, before.requests), before.tries + is_try)


async def _readable(store: Store, run_id: RunId) -> list[Event]:
    """The history of a run; none where it is damaged or gone: that costs the run, and not the engine."""
    try:
        return [recorded.event for recorded in await store.read(run_id)]
    except (FormatMismatch, UnknownRun):
        return []


def _taken(events: Sequence[Event]) -> Amounts:
    """What a history says was settled, and what it says is held."""
    settled = (event.charged for event in events if isinstance(event, MoneySettled))
    return sum((*settled, *(held.held for held in _open_holds(events).values())), NOTHING)


def _settlements(events: Iterable[Event]) -> Iterator[tuple[MoneySettled, Amounts]]:
    """What a history says was settled, each with what was held for it."""
    held: dict[Request, Amounts] = {}
    for event in events:
        if isinstance(event, MoneyHeld):
            held[_request(event)] = event.held
        elif isinstance(event, MoneySettled):
            yield event, held.pop(_request(event), event.charged)


def _open_holds(events: Iterable[Event]) -> dict[Request, MoneyHeld]:
    held: dict[Request, MoneyHeld] = {}
    for event in events:
        if isinstance(event, MoneyHeld):
            held[_request(event)] = event
        elif isinstance(event, MoneySettled):
            held.pop(_request(event), None)
    return held


def _request(event: MoneyHeld | MoneySettled) -> Request:
    return (event.node, event.attempt, event.step, event.request)
