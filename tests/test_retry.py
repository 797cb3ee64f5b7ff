"""Retry as data: which errors, how often, how long."""

from __future__ import annotations

import sys

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import ProviderError, RateLimited
from treadle.retry import Retry, Wait, qualified_names


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (Wait(initial=0.5, maximum=60, jitter=0), [0.5, 1, 2, 4, 8]),
        (Wait(kind="fixed", initial=3, jitter=0), [3, 3, 3, 3, 3]),
        (Wait(kind="incrementing", initial=2, maximum=7, jitter=0), [2, 4, 6, 7, 7]),
        (Wait(initial=1, maximum=5, jitter=0), [1, 2, 4, 5, 5]),
    ],
    ids=["exponential", "fixed", "incrementing", "capped"],
)
def test_waits_grow_as_their_kind_says(wait: Wait, expected: list[float]) -> None:
    retry = Retry(wait=wait)
    assert [retry.delay(attempt, seed="s") for attempt in range(1, 6)] == expected


@given(st.integers(1, 200), st.floats(0.01, 10), st.floats(10, 100))
def test_the_growth_is_tenacitys_own(attempt: int, initial: float, maximum: float) -> None:
    ours = Retry(wait=Wait(initial=initial, maximum=maximum, jitter=0)).delay(attempt, seed="")
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    assert ours == tenacity.wait_exponential(multiplier=initial, max=maximum)(state)


@given(st.text(), st.integers(1, 50))
def test_jitter_is_drawn_from_the_seed_and_stays_in_its_range(seed: str, attempt: int) -> None:
    retry = Retry(wait=Wait(kind="fixed", initial=1, jitter=0.5))
    assert retry.delay(attempt, seed=seed) == retry.delay(attempt, seed=seed)
    assert 1 <= retry.delay(attempt, seed=seed) < 1.5


def test_other_seeds_and_attempts_draw_other_jitter() -> None:
    retry = Retry(wait=Wait(kind="fixed", initial=1, jitter=0.5))
    waits = {retry.delay(attempt, seed=seed) for attempt in range(1, 11) for seed in "abc"}
    assert len(waits) == 30


@pytest.mark.parametrize(("asked", "waited"), [(None, 2), (1.0, 2), (30.0, 30), (3600.0, 60), (0.0, 2)])
def test_retry_after_is_obeyed_up_to_the_cap(asked: float | None, waited: float) -> None:
    retry = Retry(wait=Wait(kind="fixed", initial=2, maximum=60, jitter=0))
    assert retry.delay(1, seed="", retry_after=asked) == waited


def test_a_plain_length_of_time_is_a_fixed_wait() -> None:
    assert Retry(wait="2s").wait == Wait(kind="fixed", initial=2.0, jitter=0.0)
    assert Retry(wait="2m").delay(1, seed="") == 120


def test_errors_are_matched_by_name_with_those_above_them() -> None:
    retry = Retry(on=(ProviderError, "shop.Busy"))
    assert retry.matches(qualified_names(RateLimited), retryable=False)
    assert retry.matches(("shop.Busy", "builtins.Exception"), retryable=False)
    assert not retry.matches(qualified_names(ValueError), retryable=True)


def test_without_names_what_says_that_it_may_pass_is_tried_again() -> None:
    assert Retry().matches(("x.Y",), retryable=True)
    assert not Retry().matches(("x.Y",), retryable=False)


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="counts the first one too"):
        Retry(attempts=0)


def test_the_waits_of_a_retry_are_plain_data_without_tenacity_loaded() -> None:
    import subprocess

    code = "import sys, treadle.retry as r; r.Retry(attempts=2); sys.exit('tenacity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
