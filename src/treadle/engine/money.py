"""Nested accounts: the worst case of a call is set aside before it is sent, and settled after.

A call's *path* is the accounts above it, outermost first: tenant, run, subgraphs, node.  Holding and
settling never pass a limit because a hold takes its worst case from every account at once, or waits:

- Requests stand in line at the outermost account that is short, the oldest first.  A younger request
  passes an older one only where it does not need the account the older one waits for.
- Nobody waits while holding, except that a request may be made *within* a hold of an ancestor.  Such
  a request goes before those that hold nothing, and its ancestors' holds do not count as others'.
- Who waits is served by whoever gives money back, in the same step, so that nobody can come between;
  of the heads of the lines concerned the oldest first.
- A hold *may settle* unless a request within it waits for one that cannot.  Where no other hold that
  may settle is left in a short account, waiting is useless: the output limit of the request is
  lowered to what fits, and where even its least does not fit, the request is refused.  So every
  request in line is granted or refused after finitely many settlements: no deadlock, no starvation.
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Final

import anyio

from treadle.budget import MEASURES, NOTHING, Amounts, Bound, Budget, Measure, Meter
from treadle.errors import BudgetExceeded, InternalError

COMMANDS: Final = "treadle run"
"""What the names of those tenants begin with that stand for one command: the limit is its --budget-usd."""

_tickets: Final = itertools.count()

_NONE: Final[frozenset[Measure]] = frozenset()
"""Shared, because thousands of accounts are open at once, and few providers surprise."""


class Account:
    """What one budget has left: a tenant's, the run's, a subgraph's or a node's.

    Attributes:
        id: ``"tenant acme"``, ``"run"``, ``"subgraph support"``, ``"node support/expert"`` or
            ``"step NODE:STEP"``; recorded in the history with every hold.
        budget: ``None`` only counts.
        spent: What was settled.
        held: What is set aside for requests that are under way.
        surprises: The measures in which a provider used more than the worst case it was held at.
    """

    __slots__ = ("budget", "held", "holds", "id", "line", "meter", "spent", "surprises")

    def __init__(self, name: str, budget: Budget | None = None, *, spent: Amounts = NOTHING) -> None:
        self.id = name
        self.budget = budget
        self.spent = spent
        self.held = NOTHING
        self.surprises = _NONE
        self.meter = Meter()
        self.holds: dict[Hold, None] = {}
        self.line: list[_Request] = []

    def __repr__(self) -> str:
        return f"Account({self.id!r}, spent={self.spent}, held={self.held})"

    @property
    def limits(self) -> tuple[tuple[Measure, Decimal], ...]:
        """What calls are held against; empty where nothing limits them."""
        return self.budget.limits if self.budget is not None else ()

    @property
    def is_timed(self) -> bool:
        """Whether it has a limit of seconds, so that attempts must start and stop its meter."""
        return self.budget is not None and self.budget.seconds is not None

    def seconds_left(self, at: float) -> float | None:
        """Seconds its attempts may still run, not below zero; ``None`` without a limit."""
        if self.budget is None or self.budget.seconds is None:
            return None
        return max(0.0, self.budget.seconds - self.meter.used(at))

    def is_soft(self, at: float) -> bool:
        """Whether the share ``Budget(soft=)`` of any of its limits is settled."""
        budget = self.budget
        if budget is None or budget.soft is None:
            return False
        share = Decimal(str(budget.soft))
        if any(self.spent.of(measure) >= share * limit for measure, limit in budget.limits):
            return True
        return budget.seconds is not None and self.meter.used(at) >= budget.soft * budget.seconds

    def short(self, needed: Amounts, *, held: Amounts) -> Measure | None:
        """The first measure in which an amount does not fit beside what is spent and held."""
        taken = self.spent + held + needed
        return next((m for m, limit in self.limits if taken.of(m) > limit), None)

    @property
    def closed(self) -> bool:
        """Whether a provider has used more of something limited than was held, so no bound can be trusted."""
        return bool(self.surprises) and any(measure in self.surprises for measure, _ in self.limits)

    def charge(self, charged: Amounts, *, held: Amounts) -> bool:
        """Settle an amount; closes the account where a limited measure took more than was held."""
        self.spent += charged
        over = self.note(charged, held=held)
        return bool(over) and any(measure in over for measure, _ in self.limits)

    def note(self, charged: Amounts, *, held: Amounts) -> frozenset[Measure]:
        """Remember in what more was taken than held, which counts once that is limited; give it."""
        over: frozenset[Measure] = frozenset(m for m in MEASURES if charged.of(m) > held.of(m))
        if over:
            self.surprises |= over
        return over


class Hold:
    """An amount set aside in every account of a path, until ``settle``.

    Attributes:
        path: The accounts, outermost first.
        amounts: What is set aside.
        max_output: The output limit to send the request with; lower than asked under a tight budget.
        within: The ancestor's hold under which it was made.
    """

    __slots__ = ("amounts", "is_settled", "max_output", "path", "waiting", "within")

    def __init__(
        self, path: tuple[Account, ...], amounts: Amounts, max_output: int, within: Hold | None
    ) -> None:
        self.path = path
        self.amounts = amounts
        self.max_output = max_output
        self.within = within
        self.is_settled = False
        self.waiting: set[_Request] = set()


class _Request:
    """One call of ``hold``, while it waits."""

    __slots__ = (
        "ancestors", "at", "bound", "decided", "error", "hold", "key", "limited", "max_output",
        "min_output", "path", "within",
    )  # fmt: skip

    def __init__(
        self,
        path: tuple[Account, ...],
        bound: Bound,
        output: tuple[int, int],
        within: Hold | None,
    ) -> None:
        self.path = path
        self.limited = tuple(account for account in path if account.limits)
        self.bound = bound
        self.min_output, self.max_output = output
        self.within = within
        self.ancestors = frozenset(_chain(within))
        self.key = (within is None, next(_tickets))
        self.at: Account | None = None
        self.hold: Hold | None = None
        self.error: BudgetExceeded | None = None
        self.decided: anyio.Event | None = None


async def hold(
    path: Sequence[Account],
    bound: Bound,
    *,
    max_output: int,
    min_output: int = 1,
    within: Hold | None = None,
) -> Hold:
    """Set aside the worst case of a request in all accounts of a path, waiting in line if need be.

    A cancelled caller leaves the line and holds nothing.

    Args:
        path: The accounts above the request, outermost first.
        bound: The most the request can take.
        max_output: Output tokens asked for.
        min_output: The least the output limit may be lowered to where nothing else can free money.
        within: A hold that an ancestor of this request keeps while it waits.

    Raises:
        BudgetExceeded: It does not fit and waiting would not help, an account was closed, or the
            request has no bound in a limited measure.
    """
    request = _Request(tuple(path), bound, (min(min_output, max_output), max_output), within)
    if not request.limited:
        return _grant(request, max_output)
    _refuse_unbounded(request)
    _move(request)
    if request.hold is None and request.error is None:
        await _decision(request)
    if request.error is not None:
        raise request.error
    if request.hold is None:
        raise InternalError("a request for money left the line without a decision")
    return request.hold


def hold_if_free(
    path: Sequence[Account], bound: Bound, *, max_output: int, within: Hold | None = None
) -> Hold | None:
    """Set aside the worst case of a request where all of it lies free and nobody waits for it; else ``None``.

    Args:
        path, bound, max_output, within: As for ``hold``; the output limit is not lowered.
    """
    request = _Request(tuple(path), bound, (max_output, max_output), within)
    needed = bound.worst(max_output)
    for account in request.limited:
        is_covered = all(bound.covers(measure) for measure, _ in account.limits)
        if not is_covered or account.closed or account.line or account.short(needed, held=account.held):
            return None
    return _grant(request, max_output)


def settle(hold: Hold, charged: Amounts) -> bool:
    """Replace a hold by what was really taken, and serve who waits.  Never waits itself.

    Returns:
        Whether more was taken than held in a limited measure; then those accounts are closed.
    """
    if hold.is_settled:
        raise InternalError(f"a hold in {[account.id for account in hold.path]} was settled twice")
    hold.is_settled = True
    over = False
    for account in hold.path:
        account.holds.pop(hold, None)
        account.held -= hold.amounts
        over = account.charge(charged, held=hold.amounts) or over
    _serve(hold.path)
    return over


async def _decision(request: _Request) -> None:
    """Wait in line until somebody who gives money back decides."""
    request.decided = anyio.Event()
    try:
        await request.decided.wait()
    except BaseException:
        if request.hold is not None:
            settle(request.hold, NOTHING)
        elif request.at is not None:
            at = request.at
            _leave(request)
            _serve((at,))
        raise


def _move(request: _Request) -> None:
    """Take a request as far as it comes: to a decision, or into the line of the account it lacks."""
    at = _advance(request)
    if at is not None and at is request.at:
        return
    _leave(request)
    if at is not None:
        _enter(request, at)
    elif request.decided is not None:
        request.decided.set()


def _advance(request: _Request) -> Account | None:
    """Grant or refuse a request, or name the account it must wait at."""
    max_output = request.max_output
    for account in request.limited:
        if account.line and account.line[0].key < request.key:
            return account
        if account.closed:
            request.error = _closed(request, account)
            return None
        if account.short(request.bound.worst(max_output), held=account.held) is None:
            continue
        lasting = account.short(request.bound.worst(request.min_output), held=NOTHING)
        if lasting is None and _can_free(account, request):
            return account
        short = account.short(request.bound.worst(request.min_output), held=account.held)
        if short is not None:
            request.error = _too_much(request, account, lasting or short)
            return None
        max_output = _largest(request, account, max_output)
    request.hold = _grant(request, max_output)
    return None


def _grant(request: _Request, max_output: int) -> Hold:
    granted = Hold(request.path, request.bound.worst(max_output), max_output, request.within)
    for account in granted.path:
        account.held += granted.amounts
        account.holds[granted] = None
    return granted


def _largest(request: _Request, account: Account, max_output: int) -> int:
    """The largest output limit that fits an account; the least one is known to fit."""
    fits, too_much = request.min_output, max_output
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        if account.short(request.bound.worst(middle), held=account.held) is None:
            fits = middle
        else:
            too_much = middle
    return fits


def _enter(request: _Request, account: Account) -> None:
    request.at = account
    insort(account.line, request, key=attrgetter("key"))
    for held in request.ancestors:
        held.waiting.add(request)
    if request.ancestors:  # its ancestors' holds may no longer settle: whom did that leave waiting?
        _serve(account for held in request.ancestors for account in held.path)


def _leave(request: _Request) -> None:
    if request.at is None:
        return
    request.at.line.remove(request)
    request.at = None
    for held in request.ancestors:
        held.waiting.discard(request)


def _serve(accounts: Iterable[Account]) -> None:
    """Decide whatever can be decided at the heads of some accounts' lines, the oldest head first."""
    lines = tuple(dict.fromkeys(accounts))
    stay: set[_Request] = set()
    while heads := [account.line[0] for account in lines if account.line and account.line[0] not in stay]:
        head = min(heads, key=attrgetter("key"))
        before = head.at
        _move(head)
        if head.at is before:
            stay.add(head)


def _can_free(account: Account, request: _Request) -> bool:
    """Whether a hold that is not an ancestor's may settle and give money back to an account."""
    return any(_may_settle(held, (request,)) for held in account.holds if held not in request.ancestors)


def _may_settle(held: Hold, asking: tuple[_Request, ...]) -> bool:
    for request in held.waiting:
        if request in asking or request.at is None:
            return False
        others = (other for other in request.at.holds if other not in request.ancestors)
        if not any(_may_settle(other, (*asking, request)) for other in others):
            return False
    return True


def _chain(held: Hold | None) -> Iterator[Hold]:
    while held is not None:
        yield held
        held = held.within


def _refuse_unbounded(request: _Request) -> None:
    bound = request.bound
    for account in request.limited:
        for measure, limit in account.limits:
            if bound.covers(measure):
                continue
            if bound.input_tokens is None:
                why = f"the input of a request to {bound.model!r} has a part of unknown size"
                mend = "say the most it counts as, image(..., tokens=...), or remove that part, or the limit"
            else:
                why = f"nobody knows the price of {bound.model!r}"
                mend = (
                    f"give it one in US dollars a million tokens: model=OpenAIModel({bound.model!r}, "
                    'price=Price(input_mtok=Decimal("0.25"), output_mtok=Decimal("2"))), both from '
                    "treadle.models; or limit tokens or calls instead"
                )
            raise _exceeded(account, measure, limit, None, f"{why}, so {_of(account)} cannot hold it; {mend}")


def _closed(request: _Request, account: Account) -> BudgetExceeded:
    measure, limit = account.limits[0]
    mend = "start a new run with another model"
    if account.id.startswith("tenant "):  # a new run has the same account
        mend = "let the tenant's runs end, or cancel them, and open the engine again, with another model"
    text = (
        f"{_of(account)} is closed: a provider used more than the worst case of a request, so no bound "
        f"can be trusted; {mend}, and report the provider's count"
    )
    return _exceeded(account, measure, limit, request.bound.worst(request.min_output).of(measure), text)


def _too_much(request: _Request, account: Account, measure: Measure) -> BudgetExceeded:
    limit = dict(account.limits)[measure]
    needed = request.bound.worst(request.min_output).of(measure)
    spent, held = account.spent.of(measure), account.held.of(measure)
    unit = "US dollars" if measure == "usd" else measure
    text = (
        f"a request to {request.bound.model!r} may take {_plain(needed)} {unit}, but {_of(account)} has "
        f"{_plain(max(limit - spent - held, Decimal(0)))} left of {_plain(limit)} ({_plain(spent)} spent, "
        f"{_plain(held)} held); "
        f"{_raise(account, measure)}, or send less: a shorter conversation, a smaller max_output"
    )
    return _exceeded(account, measure, limit, needed, text)


def _raise(account: Account, measure: Measure) -> str:
    if _is_of_a_command(account):
        return "go on under a larger total, `treadle resume RUN FILE --budget-usd X`"
    return f"raise Budget({measure}=...) there"


def _exceeded(
    account: Account, measure: Measure, limit: Decimal, needed: Decimal | None, text: str
) -> BudgetExceeded:
    return BudgetExceeded(
        text,
        account=account.id,
        measure=measure,
        limit=limit,
        held=account.held.of(measure),
        spent=account.spent.of(measure),
        needed=needed,
    )


def _plain(amount: Decimal | None) -> str:
    """An amount without zeros at its end and without an exponent."""
    return "no bound" if amount is None else f"{amount.normalize():f}"


def _is_of_a_command(account: Account) -> bool:
    return account.id.startswith(f"tenant {COMMANDS} ")


def _of(account: Account) -> str:
    if _is_of_a_command(account):
        return "the total that --budget-usd set"
    return f"the budget of {account.id!r}"


def timed(path: Sequence[Account]) -> tuple[Account, ...]:
    """The accounts of a path whose seconds are limited; empty for most, which then cost nothing."""
    return tuple(account for account in path if account.is_timed)


def seconds_left(path: Sequence[Account], at: float) -> float | None:
    """Seconds an attempt under these accounts may still run; ``None`` where nothing limits them."""
    left = (account.seconds_left(at) for account in path)
    return min((seconds for seconds in left if seconds is not None), default=None)


def out_of_time(path: Sequence[Account], at: float, *, within: float = 0.0) -> BudgetExceeded | None:
    """The error of an attempt that has no seconds left to run in, or ``None`` where it has some.

    Args:
        path: The accounts above it.
        at: Now.
        within: So few seconds are none: an event loop's clock may run that far ahead of the engine's.
    """
    for account in path:
        left = account.seconds_left(at)
        if account.budget is None or account.budget.seconds is None or left is None or left > within:
            continue
        limit = account.budget.seconds
        used = account.meter.used(at)
        return BudgetExceeded(
            f"{_of(account)} has run for {used:.2f} of its {limit:g} seconds; "
            "raise Budget(seconds=...) there",
            account=account.id,
            measure="seconds",
            limit=Decimal(str(limit)),
            held=Decimal(0),
            spent=Decimal(str(round(used, 6))),
            needed=None,
        )
    return None


def soft_model(path: Sequence[Account], at: float) -> str | None:
    """The model to use because an account is past its soft limit; the innermost account decides."""
    for account in reversed(path):
        if account.budget is not None and account.budget.on_soft is not None and account.is_soft(at):
            return account.budget.on_soft
    return None
