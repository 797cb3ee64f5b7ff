"""The root: what is exported is there, is documented, and costs nothing dear to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import treadle


def test_at_most_forty_names_are_exported_and_each_is_there() -> None:
    assert len(treadle.__all__) == len(set(treadle.__all__)) <= 40
    assert not [name for name in treadle.__all__ if not hasattr(treadle, name)]
    assert set(treadle.__all__) <= set(dir(treadle))


@pytest.mark.parametrize("name", treadle.__all__)
def test_every_export_says_what_it_is_for(name: str) -> None:
    text = getattr(treadle, name).__doc__
    assert text
    assert text.strip().splitlines()[0].endswith((".", ":", ",")) or "\n\n" in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        _ = treadle.Enigne  # type: ignore[attr-defined]


def test_declaring_a_graph_does_not_load_the_engine() -> None:
    code = "import sys, treadle; print([name for name in sys.modules if name.startswith('treadle.engine')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
