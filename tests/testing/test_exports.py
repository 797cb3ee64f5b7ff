"""What ``treadle.testing`` and ``treadle.models`` say they have is there."""

from __future__ import annotations

import types

import pytest

from treadle import models, testing


@pytest.mark.parametrize("room", [models, testing])
def test_every_name_of_all_is_there(room: types.ModuleType) -> None:
    assert len(set(room.__all__)) == len(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None


@pytest.mark.parametrize("room", [models, testing])
def test_an_unknown_name_is_an_attribute_error(room: types.ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        room.Nothing  # noqa: B018
