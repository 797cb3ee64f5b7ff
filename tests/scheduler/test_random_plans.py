"""Random plans, outcomes and orders of completion, against the lazy oracle."""

from __future__ import annotations

import itertools

from driver import Driver
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lazy_oracle import OK, Oracle
from random_plans import ROWS, Row, scripted

from treadle.events import RunEnded, RunResumed
from treadle.scheduler.program import compile_plan
from treadle.scheduler.scheduler import Mode

MANY = settings(max_examples=6 * settings().max_examples)
"""A plan takes a few milliseconds: `make attack` takes some ten thousand in each test."""

LUCK = st.lists(st.integers(0, 59), max_size=40).map(lambda numbers: itertools.cycle([*numbers, 1]))


def play(rows: list[Row], luck: itertools.cycle[int], **strikes: int) -> tuple[Driver, Oracle]:
    plan = scripted(rows)
    driver, oracle = Driver(plan, luck), Oracle(plan)
    driver.run(**strikes)
    assert set(driver.started) <= oracle.may_start, "something ran that nobody needs"
    return driver, oracle


def check_result(driver: Driver, oracle: Oracle) -> None:
    """The run came to what the oracle says, by way of what it says."""
    assert driver.end is not None
    if driver.end.status == "failed":
        why = driver.end.failure
        assert why is not None
        assert (why.node, why.types[0].rpartition(".")[2]) in oracle.endings
        return
    assert driver.end.status == "completed"
    assert OK in oracle.endings
    index, chosen = driver.program.index, driver.scheduler.root.chosen
    work = {name for name in oracle.must_finish if oracle.is_work(name)}
    assert work <= driver.completed
    for node, case in oracle.must_finish.items():
        if node not in index:
            continue
        assert driver.scheduler.state_of(node) == "done"
        if case >= 0 and index[node] in chosen:
            assert chosen[index[node]] == case


@example(  # a doubt in an item that was left is settled by an answer
    rows=[(44, 0, 0, 14, 57), (0, 0, 0, 0, 0), (0, 0, 0, 0, 3), (0, 0, 0, 41, 3), (15, 0, 0, 12, 0)],
    luck=itertools.cycle([0, 1]),
)
@MANY
@given(rows=ROWS, luck=LUCK)
def test_any_order_of_completion_comes_to_what_a_lazy_evaluator_says(
    rows: list[Row], luck: itertools.cycle[int]
) -> None:
    driver, oracle = play(rows, luck)
    check_result(driver, oracle)
    driver.check_forgotten()
    driver.check_replay()


@MANY
@given(rows=ROWS, luck=LUCK, crash_at=st.integers(0, 20))
def test_a_crash_anywhere_changes_nothing_about_the_result(
    rows: list[Row], luck: itertools.cycle[int], crash_at: int
) -> None:
    driver, oracle = play(rows, luck, crash_at=crash_at)
    check_result(driver, oracle)
    driver.check_replay()


@MANY
@given(rows=ROWS, luck=LUCK, cancel_at=st.integers(0, 20), crash_at=st.integers(-1, 25))
def test_a_cancelled_run_ends_with_nothing_under_way(
    rows: list[Row], luck: itertools.cycle[int], cancel_at: int, crash_at: int
) -> None:
    driver, oracle = play(rows, luck, cancel_at=cancel_at, crash_at=crash_at)
    assert driver.end is not None
    if driver.end.status != "cancelled":
        check_result(driver, oracle)
    driver.check_replay()


@MANY
@given(rows=ROWS, luck=LUCK)
def test_a_failed_run_goes_on_where_it_failed_once_nothing_fails_any_more(
    rows: list[Row], luck: itertools.cycle[int]
) -> None:
    driver, _ = play(rows, luck)
    if driver.end is None or driver.end.status != "failed":
        return
    driver.scripted, driver.end = driver.scripted.mended, None
    taken = driver.begun_rungs()
    driver.feed(RunResumed(at=driver.at, owner="other", fence=2, retry_failed=True))
    while driver.end is None:
        driver.feed(driver.next_event())
    assert driver.end.status == "completed"
    assert all(driver.rung(*fallback) in (None, rung) for fallback, rung in taken.items())
    driver.feed(RunEnded(at=driver.at, status="completed"))
    assert driver.scheduler.mode is Mode.ENDED
    driver.check_replay()


@given(rows=ROWS)
def test_what_all_cases_need_is_found_wherever_it_stands(rows: list[Row]) -> None:
    plan = scripted(rows).plan
    program, oracle = compile_plan(plan), Oracle(scripted(rows))
    always = oracle.surely([plan.result])
    for node in plan.nodes:
        if node.kind not in ("match", "and"):
            continue
        wanted = set.intersection(*(oracle.surely([case.binding]) for case in node.cases))
        found = {program.ids[vertex] for vertex in program.common[program.index[node.id]]}
        assert found <= wanted
        covered = set(found).union(*(oracle.surely_needs(one) for one in found)) | always
        assert {one for one in wanted if plan.by_id[one].kind != "input"} <= covered
