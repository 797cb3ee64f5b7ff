"""The example's bank: the same rows each time, and nothing done twice under one key."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import anyio
import pytest
import support_bank as bank

pytestmark = pytest.mark.anyio

FEE = "pay-c-101-4"
TWICE = "pay-c-101-5"
ORDINARY = "pay-c-101-7"


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def test_two_banks_hold_the_same_rows(bank_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [await bank.account("c-101"), await bank.payments("c-180")]
    monkeypatch.setenv("SUPPORT_BANK", str(bank_file.with_name("other.db")))
    assert [await bank.account("c-101"), await bank.payments("c-180")] == here


async def test_a_refund_goes_to_the_balance() -> None:
    before = await bank.account("c-101")
    receipt = await bank.refund(FEE, "charged by mistake", key="k-1")
    after = await bank.account("c-101")
    assert (receipt.accepted, receipt.number) == (True, f"refund-{FEE}")
    assert after.balance == before.balance + Decimal("1.50")


async def test_the_same_key_again_changes_nothing_and_is_counted(bank_file: Path) -> None:
    first = await bank.refund(FEE, "once", key="k-1")
    before = await bank.account("c-101")
    assert await bank.refund(FEE, "once", key="k-1") == first
    assert await bank.account("c-101") == before
    assert rows(bank_file, "select key, payment, deliveries from refund") == [("k-1", FEE, 2)]


async def test_another_key_cannot_refund_the_same_payment() -> None:
    await bank.refund(FEE, "once", key="k-1")
    receipt = await bank.refund(FEE, "again", key="k-2")
    assert (receipt.accepted, receipt.note) == (False, f"payment {FEE} is refunded already")


async def test_of_a_payment_charged_twice_one_is_refunded() -> None:
    first = await bank.refund(TWICE, "twice", key="k-1")
    second = await bank.refund("pay-c-101-6", "twice", key="k-2")
    assert (first.accepted, second.accepted) == (True, False)


@pytest.mark.parametrize("payment", [ORDINARY, "pay-c-101-1", "pay-nobody-1"])
async def test_an_ordinary_or_unknown_payment_is_refused_and_leaves_no_row(
    bank_file: Path, payment: str
) -> None:
    receipt = await bank.refund(payment, "please", key="k-1")
    assert not receipt.accepted
    assert rows(bank_file, "select * from refund") == []


async def test_a_replaced_card_is_blocked_and_a_new_one_on_its_way() -> None:
    receipt = await bank.replace_card("card-c-101", "lost", key="k-1")
    assert receipt.number == "order-card-c-101"
    assert [card.state for card in (await bank.account("c-101")).cards] == ["blocked", "on its way"]
    assert await bank.replace_card("card-c-101", "lost", key="k-1") == receipt
    assert not (await bank.replace_card("card-c-101", "lost", key="k-2")).accepted


async def test_one_key_from_many_tasks_makes_one_row(bank_file: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lambda: bank.refund(FEE, "once", key="k-1"))
    assert rows(bank_file, "select deliveries from refund") == [(8,)]


async def test_an_unknown_customer_is_an_error_that_says_what_to_ask() -> None:
    with pytest.raises(bank.Unknown, match="no customer 'c-9'; ask for the customer's number"):
        await bank.payments("c-9")


async def test_another_database_is_left_alone(bank_file: Path) -> None:
    rows(bank_file, "create table mine (id)")
    with pytest.raises(RuntimeError, match="is another database; set SUPPORT_BANK"):
        await bank.account("c-101")
    assert rows(bank_file, "select name from sqlite_master") == [("mine",)]
