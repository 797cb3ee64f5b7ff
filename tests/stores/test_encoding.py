"""Every event comes back equal from its text."""

from __future__ import annotations

import dataclasses
import json
import string
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.budget import Amounts, Budget, Usage
from treadle.errors import FormatMismatch
from treadle.events import AttemptFailed, Event, Failure, NodeCompleted, Progress, RunStarted, Unknown
from treadle.ids import NodeId
from treadle.stores import chain, contents
from treadle.stores.encoding import decode, encode
from treadle.testing.store_samples import settled
from treadle.values import Payload

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=0, max_value=10**9)
PAYLOADS = st.one_of(st.booleans(), TEXTS, st.lists(TEXTS)).map(
    lambda v: Payload(data=json.dumps(v).encode())
)
LIMITS = st.integers(0, 10**9) | st.none()

st.register_type_strategy(float, FLOATS)
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(Decimal, DECIMALS)
st.register_type_strategy(Payload, PAYLOADS)
st.register_type_strategy(Budget, st.builds(Budget, usd=DECIMALS | st.none(), tokens=LIMITS, calls=LIMITS))
PLAIN = [cls for cls in get_args(Event) if cls is not Unknown]


def events() -> st.SearchStrategy[Any]:
    inputs = st.dictionaries(NAMES, PAYLOADS, max_size=3)
    made = {
        RunStarted: st.builds(RunStarted, inputs=inputs, labels=st.dictionaries(TEXTS, TEXTS, max_size=3))
    }
    return st.sampled_from(PLAIN).flatmap(lambda cls: made.get(cls, st.from_type(cls)))


@given(events())
def test_an_event_comes_back_equal(event: Event) -> None:
    text, payloads = encode(event)
    assert decode(text, payloads) == event


@given(events())
def test_writing_an_event_again_gives_the_same_text(event: Event) -> None:
    text, payloads = encode(event)
    assert encode(decode(text, payloads)) == (text, payloads)


@given(events())
def test_payloads_are_not_in_the_text(event: Event) -> None:
    text, payloads = encode(event)
    fields = json.loads(text.partition(b"{")[1] + text.partition(b"{")[2])
    assert not fields.keys() & {name.partition(".")[0] for name in payloads}


def node(number: int = 1, **changes: Any) -> NodeCompleted:
    done = NodeCompleted(
        at=2.5, node=NodeId("triage"), attempt=1, started_at=1.5, result=Payload(data=b'"easy"')
    )
    return dataclasses.replace(done, **changes)


def test_fields_with_their_default_are_left_out() -> None:
    text, payloads = encode(node())
    assert text == b'node_completed{"at":2.5,"node":"triage","attempt":1,"started_at":1.5}'
    assert payloads == {"result": Payload(data=b'"easy"')}


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    text, payloads = encode(node())
    newer = text.replace(b"{", b'{"planet":"mars",')
    assert decode(newer, payloads) == node()


def test_a_kind_of_a_newer_release_is_kept() -> None:
    event = decode(b'rocket_launched{"at":5.5,"to":"mars"}', {"crew": Payload(data=b"[]")})
    assert event == Unknown(
        at=5.5, name="rocket_launched", body={"at": 5.5, "to": "mars", "crew": Payload(data=b"[]")}
    )
    assert encode(event)[0] == b'rocket_launched{"at":5.5,"to":"mars"}'


@pytest.mark.parametrize(
    "text", [b"", b"node_completed", b"node_completed{", b"node_completed{}", b"node_completed[1]", b"\xff{}"]
)
def test_what_is_no_event_is_refused(text: bytes) -> None:
    with pytest.raises(FormatMismatch):
        decode(text, {})


def test_nested_values_keep_their_types() -> None:
    failure = Failure(types=("a.B", "builtins.Exception"), message="no", details={"status": 429})
    event = AttemptFailed(at=1.0, node=NodeId("a"), attempt=2, started_at=0.5, failure=failure)
    back = decode(*encode(event))
    assert isinstance(back, AttemptFailed)
    assert back.failure == failure
    assert isinstance(back.failure.types, tuple)


def test_the_chain_depends_on_text_order_and_payloads() -> None:
    one = chain.link(chain.GENESIS, b"a{}", {})
    links = {
        one,
        chain.link(one, b"a{}", {}),
        chain.link(chain.GENESIS, b"a{}", {"result": "00"}),
        chain.link(chain.GENESIS, b"a{}", {"result": "01"}),
        chain.link(chain.GENESIS, b"b{}", {}),
    }
    assert len(links) == 5


@given(st.binary(max_size=5000) | st.integers(0, 9).map(lambda n: bytes([n]) * 20_000))
def test_contents_come_back(data: bytes) -> None:
    payload = Payload(data=data)
    form, stored = contents.pack(data)
    assert len(stored) <= len(data)
    assert contents.unpack(form, stored, payload.digest).data == data


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    form, stored = contents.pack(b"0" * 100_000)
    monkeypatch.setattr(contents, "LARGEST_BYTES", 50_000)
    with pytest.raises(FormatMismatch, match="larger than 50000"):
        contents.unpack(form, stored, "d")


def test_what_is_no_json_is_refused() -> None:
    for bad in (
        Progress(at=1.0, node=NodeId("a"), attempt=1, message="\ud800"),
        Unknown(at=1.0, name="a b", body={}),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - pydantic's own error or ours, both are
            encode(bad)


def test_money_keeps_every_digit() -> None:
    spent = Amounts(usd=Decimal("0.000000123456789"), tokens=1, calls=1)
    usage = Usage(input_tokens=3)
    event = dataclasses.replace(settled("0"), charged=spent, usage=usage)
    assert decode(*encode(event)) == event
