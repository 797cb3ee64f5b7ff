"""What a call is known by is the same however it was computed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from treadle import node
from treadle.engine.requests import input_digest, pack_and_digest, pack_arguments
from treadle.values import canonical, parse


class Part(BaseModel):
    """Something with keys out of order."""

    z: str
    a: float


@node
async def work(
    text: str,
    b: int,
    amount: float,
    many: list[str],
    part: Part | None,
    day: date,
    price: Decimal,
    value: Any,
) -> int:
    return b


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.fixed_dictionaries(
    {
        "text": st.text(),
        "b": st.integers(),
        "amount": FLOATS,
        "many": st.lists(st.text(), max_size=3),
        "part": st.none() | st.builds(Part, z=st.text(), a=FLOATS),
        "day": st.dates(),
        "price": st.decimals(allow_nan=False, allow_infinity=False),
        "value": PLAIN,
    }
)


@given(ARGUMENTS)
def test_the_digest_of_arguments_is_that_of_their_plain_data_in_order(arguments: dict[str, Any]) -> None:
    payload, found = pack_and_digest(work, arguments)
    assert payload.data == pack_arguments(work, arguments).data
    assert found == input_digest(payload)


@node
async def two(second: str, first: str) -> str:
    return first


@given(st.text(), st.text())
def test_the_order_in_which_arguments_are_declared_does_not_count(first: str, second: str) -> None:
    payload, found = pack_and_digest(two, {"second": second, "first": first})
    assert parse(payload.data) == {"second": second, "first": first}
    assert found == input_digest(payload)
    assert canonical(parse(payload.data)).startswith(b'{"first":')
