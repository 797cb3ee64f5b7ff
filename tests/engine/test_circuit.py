"""The circuit breaker as a machine: opens after so many in a row, lets one through, forgets late news."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from treadle.engine.circuit import REFUSED, Circuit
from treadle.errors import ConfigurationError
from treadle.limits import Breaker, Limit, check_limits, limit_of

FAILURES, PAUSE = 3, 10.0


def opened(at: float = 0.0) -> Circuit:
    circuit = Circuit(Breaker(failures=FAILURES, pause=PAUSE))
    for _ in range(FAILURES):
        circuit.failed(circuit.ask(at), at, "down")
    assert circuit.state == "open"
    return circuit


class CircuitMachine(RuleBasedStateMachine):
    """Requests come, and end in any order; a plain count beside it says when it must have opened."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(Breaker(failures=FAILURES, pause=PAUSE))
        self.now = 0.0
        self.out: list[int] = []
        self.probe: int | None = None
        self.opened_at = -1.0

    @rule()
    def ask(self) -> None:
        state = self.circuit.state
        era = self.circuit.ask(self.now)
        if state == "closed":
            assert era != REFUSED
        elif state == "probing" or self.now < self.opened_at + PAUSE:
            assert era == REFUSED
        else:
            assert self.circuit.is_probe(era)
            self.probe = era
        if era != REFUSED:
            self.out.append(era)

    @rule(number=st.integers(0, 99), how=st.sampled_from(["answered", "failed", "abandoned"]))
    def end(self, number: int, how: str) -> None:
        if not self.out:
            return
        era, before = self.out.pop(number % len(self.out)), self.circuit.state
        is_probe = self.circuit.is_probe(era)
        if how == "answered":
            turn = self.circuit.succeeded(era)
            assert (turn == "closed") == is_probe
        elif how == "failed":
            turn = self.circuit.failed(era, self.now, "down")
            assert turn != "closed"
            if turn:
                self.opened_at = self.now
            assert (turn == "opened") or not is_probe
        else:
            self.circuit.abandoned(era)
        if not is_probe and before != "closed":
            assert self.circuit.state == before  # late news change nothing

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_probe_at_most(self) -> None:
        probes = [era for era in self.out if self.circuit.is_probe(era)]
        assert len(probes) == (1 if self.circuit.state == "probing" else 0)

    @invariant()
    def closed_means_fewer_failures_in_a_row(self) -> None:
        assert self.circuit.state != "closed" or self.circuit.failures < FAILURES


TestCircuit = CircuitMachine.TestCase


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuit = Circuit(Breaker(failures=2))
    circuit.failed(circuit.ask(0.0), 0.0, "down")
    circuit.succeeded(circuit.ask(0.0))
    circuit.failed(circuit.ask(0.0), 0.0, "down")
    assert circuit.state == "closed"


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again() -> None:
    circuit = opened()
    assert circuit.failed(circuit.ask(PAUSE), PAUSE, "still") == "opened"
    assert circuit.wait(PAUSE + 4) == PAUSE - 4
    assert circuit.succeeded(circuit.ask(2 * PAUSE)) == "closed"
    assert circuit.failures == 0


def test_a_probe_that_was_cut_off_leaves_it_to_the_next() -> None:
    circuit = opened()
    circuit.abandoned(circuit.ask(PAUSE))
    assert circuit.is_probe(circuit.ask(PAUSE))


def test_without_a_breaker_it_never_opens() -> None:
    circuit = Circuit(None)
    for _ in range(100):
        assert circuit.failed(circuit.ask(0.0), 0.0, "down") == ""


@pytest.mark.parametrize("name", ["", "openai", "openai:", ":gpt", "**"])
def test_a_limit_has_to_name_a_model(name: str) -> None:
    with pytest.raises(ConfigurationError, match="names no model; write 'PROVIDER:NAME'"):
        check_limits({name: Limit()})


def test_the_most_special_name_counts() -> None:
    exact, provider, every = Limit(concurrency=1), Limit(concurrency=2), Limit(concurrency=3)
    limits = check_limits({"*": every, "openai:*": provider, "openai:a": exact})
    found = [limit_of(limits, provider=p, model=m) for p, m in (("openai", "a"), ("openai", "b"), ("x", "a"))]
    assert found == [exact, provider, every]
    assert limit_of({}, provider="x", model="a") == Limit()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_a_limit_is_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match=r"Limit\(concurrency=\.\.\.\) is a whole number of 1 or more"):
        Limit(concurrency=value)  # type: ignore[arg-type]  # on purpose
