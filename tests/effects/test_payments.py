"""A process is killed after a payment and before its record: how often is paid, for each policy."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from paying import POLICIES, WAYS, Death, Order, Policy

HERE = Path(__file__).parent
RUNS, SAMPLE, SEED = 100, 6, 20261122
DEATHS: tuple[Death, ...] = ("taken", "answered")

pytestmark = [pytest.mark.attack, pytest.mark.timeout(900)]


class Process:
    """A program of this folder that says something line by line."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def told(self, order: Order) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(asdict(order))}\n")
        self.process.stdin.flush()
        found: dict[str, int] = json.loads(self.says())
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def workers() -> Iterator[Process]:
    process = Process("paying.py")
    yield process
    process.end()


@pytest.fixture(scope="module", params=["knows keys", "ignores keys"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    """The port of a payment server, and whether it knows keys."""
    knows = request.param == "knows keys"
    process = Process("payment_server.py", *([] if knows else ["--ignores-keys"]))
    yield int(process.says()), knows
    process.end()


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a policy comes to.

    Attributes:
        paid: How often in the end, by a service that knows keys, and by one that ignores them.
        ends: What the run comes to: a piece of its result, or the class of its error.
        told: The same where an agent called the tool, and goes on.
    """

    policy: Policy
    answer: str = ""
    paid: tuple[int, int] = (1, 1)
    ends: str = "is paid"
    told: str = ""


PROMISES = [
    Promise(policy="ask", answer="happened"),
    Promise(policy="ask", answer="did_not_happen", ends="NodeFailed", told="pay failed: DidNotHappen"),
    Promise(policy="ask", answer="run_again", paid=(1, 2)),
    Promise(policy="retry", paid=(1, 2)),
    Promise(policy="fail", ends="InDoubt"),
    Promise(policy="find"),
]


def paid(port: int, run: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/payments/{run}") as response:
        return len(json.loads(response.read()))


def test_every_policy_makes_a_promise() -> None:
    assert {promise.policy for promise in PROMISES} == set(POLICIES)


@pytest.mark.parametrize(
    "promise", PROMISES, ids=lambda promise: f"{promise.policy} {promise.answer}".strip()
)
def test_it_is_paid_as_often_as_the_policy_says(
    promise: Promise, service: tuple[int, bool], workers: Process, tmp_path: Path, long_form: bool
) -> None:
    port, knows_keys = service
    chance = random.Random(f"{SEED} {promise}")
    count = RUNS if long_form else SAMPLE
    runs = [f"r-{promise.policy}-{promise.answer or 'x'}-{number}" for number in range(count)]
    common = Order(
        database=str(tmp_path / "runs.db"), port=port, policy=promise.policy, answer=promise.answer
    )
    for number, run in enumerate(runs):
        change = {"run": run, "way": WAYS[number % len(WAYS)], "death": chance.choice(DEATHS)}
        assert workers.told(Order(**{**asdict(common), **change})) == {"signal": 9}
    assert [paid(port, run) for run in runs] == [1] * count
    said = tmp_path / "said.json"
    assert workers.told(Order(**{**asdict(common), "said": str(said)})) == {"code": 0}
    ends = json.loads(said.read_text())
    for number, run in enumerate(runs):
        is_tool = WAYS[number % len(WAYS)] == "tool"
        assert (promise.told if is_tool and promise.told else promise.ends) in ends[run]
    assert Counter(paid(port, run) for run in runs) == {promise.paid[not knows_keys]: count}
