"""Which argument goes to which parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from treadle.errors import nearest
from treadle.plan.parts import Parameter

Report = Callable[[str], None]
"""Takes one fault, to be told with all the others."""


def bound(
    parameters: tuple[Parameter, ...], args: Sequence[Any], kwargs: Mapping[str, Any], report: Report
) -> list[tuple[Parameter, Any]]:
    """Give each argument its parameter, in the order of the parameters; tell what does not fit.

    Parameters with a default that are not given are left out.
    """
    if len(args) == len(parameters) and not kwargs and not (parameters and parameters[-1].keyword_only):
        return list(zip(parameters, args, strict=True))
    positional = [parameter for parameter in parameters if not parameter.keyword_only]
    if len(args) > len(positional):
        report(f"takes {len(positional)} positional arguments, not {len(args)}")
    found = list(zip(positional, args, strict=False))
    taken = {parameter.name for parameter, _ in found}
    for parameter in parameters:
        if parameter.name in taken:
            continue
        if parameter.name in kwargs:
            found.append((parameter, kwargs[parameter.name]))
        elif parameter.required:
            report(f"{parameter.name!r} is missing")
    _report_unfit(parameters, taken, kwargs, report)
    return found


def _report_unfit(
    parameters: tuple[Parameter, ...], taken: set[str], kwargs: Mapping[str, Any], report: Report
) -> None:
    known = [parameter.name for parameter in parameters]
    for name in kwargs:
        if name in taken:
            report(f"{name!r} is given twice")
        elif name not in known:
            report(f"there is no parameter {name!r}{nearest(name, known)}")
