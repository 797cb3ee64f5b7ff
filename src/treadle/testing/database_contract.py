"""What a store that writes somewhere must do besides ``StoreContract``: survive failures and forgery.

::

    class TestMyStore(DatabaseContract):
        def new_store(self, folder: Path) -> Store: ...
        def broken(self, store: Store, folder: Path) -> AbstractContextManager[None]: ...
        def tamper(self, folder: Path, how: Tampering, seq: int) -> None: ...
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import pytest

from treadle.errors import StoreError
from treadle.events import NodeCompleted, Progress
from treadle.ids import NodeId, RunId
from treadle.interfaces import Store
from treadle.testing.store_contract import StoreContract
from treadle.testing.store_samples import RUN, completed, started
from treadle.values import Payload, codec

Tampering = Literal["flip", "delete", "swap", "insert", "truncate", "payload", "inline"]
"""Ways to change a stored history: see ``DatabaseContract.tamper``."""


class DatabaseContract(StoreContract):
    """The contract of a store that writes somewhere: what it does when writing fails, or is forged."""

    @abstractmethod
    def broken(self, store: Store, folder: Path) -> AbstractContextManager[None]:
        """Make commits of more than a few kilobytes fail while the context lasts."""

    @abstractmethod
    def tamper(self, folder: Path, how: Tampering, seq: int) -> None:
        """Change the stored history of ``RUN``, past the store.

        Args:
            folder: Where the closed store keeps its data.
            how: ``flip`` a byte of the event's text; ``delete`` the event; ``swap`` it with the next one;
                ``insert`` a copy of it behind the end; ``truncate`` the history from it on; change
                its stored ``payload``, or one that stands ``inline``.
            seq: The event.
        """

    async def test_it_is_durable(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (_store, log):
            assert log.is_durable
        async with self.opened(tmp_path) as store:
            assert [r.event for r in await store.read(RUN)] == [started(), completed(1)]

    async def test_a_bad_entry_fails_alone(self, tmp_path: Path) -> None:
        bad = NodeCompleted(
            at=1.0, node=NodeId("bad"), attempt=1, started_at=1.0, result=Payload(object(), codec(int))
        )
        async with self.run(tmp_path) as (store, log):
            other = await store.create(started(RunId("r-2")))
            other.append(completed(1))
            log.append(completed(1))
            log.append(completed(2), bad)
            log.append(completed(3))
            other.append(completed(2))
            with pytest.raises(StoreError, match=r"r-1.*node_completed"):
                await log.flush()
            await other.flush()
            assert len(await store.read(RunId("r-2"))) == 3
            assert [r.event for r in await store.read(RUN, after=1)] == [completed(1)]

    async def test_a_log_that_failed_refuses_until_it_is_reloaded(self, tmp_path: Path) -> None:
        async with self.run(tmp_path) as (store, log):
            log.append(Progress(at=1.0, node=NodeId("a"), attempt=1, message="\ud800"))
            with pytest.raises(StoreError):
                await log.flush()
            with pytest.raises(StoreError, match="resume"):
                log.append(completed(1))
            with pytest.raises(StoreError):
                await log.release()
            again = await store.own(RUN)
            again.append(completed(1))
            await again.flush()
            assert len(await store.read(RUN)) == 2

    async def test_a_failed_commit_loses_nothing_acknowledged(self, tmp_path: Path) -> None:
        async with self.run(tmp_path, completed(1)) as (store, log):
            other = await store.create(started(RunId("r-2")))
            with self.broken(store, tmp_path):
                log.append(*(completed(n, f"{n}" * 2000) for n in range(100)))
                other.append(completed(1))
                with pytest.raises(StoreError, match="could not be"):
                    await log.flush()
            with pytest.raises(StoreError):
                log.append(completed(2))
            with pytest.raises(StoreError):
                await log.release()
            assert len(await store.read(RUN)) == 2
            again = await store.own(RUN)
            again.append(completed(2))
            await again.flush()
            assert [r.event for r in await store.read(RUN, after=1)] == [completed(1), completed(2)]
            assert await store.verify(RUN) == []

    async def test_a_run_let_go_while_nothing_could_be_written_was_not_abandoned(
        self, tmp_path: Path
    ) -> None:
        async with self.run(tmp_path) as (store, log):
            with self.broken(store, tmp_path):
                log.append(*(completed(n, f"{n}" * 2000) for n in range(100)))
                with pytest.raises(StoreError):
                    await log.release()
            again = await store.own(RUN)
            assert not again.was_abandoned

    @pytest.mark.parametrize("how", ["flip", "delete", "swap", "insert", "truncate", "payload", "inline"])
    async def test_tampering_is_told_with_its_place(self, tmp_path: Path, how: Tampering) -> None:
        events = [completed(n, "short" if how == "inline" else f"{n}" * 900) for n in range(8)]
        async with self.run(tmp_path, *events):
            pass
        self.tamper(tmp_path, how, 5)
        async with self.opened(tmp_path) as store:
            faults = await store.verify(RUN)
            assert faults, how
            assert faults[0].seq == (10 if how == "insert" else 5), faults
