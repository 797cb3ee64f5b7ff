"""Whether an answer has the form that was asked for, by the JSON Schema alone."""

from __future__ import annotations

from typing import Any


def complaint(schema: dict[str, Any], value: object) -> str:
    """Say what is wrong with JSON data under a schema (draft 2020-12), or ``""`` where nothing is.

    The words name the place and the rule, and at most repeat the answer itself.
    """
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 90 ms that only answering pays

    validator: Any = Draft202012Validator(schema)  # its stubs know no plain JSON data
    faults = sorted(validator.iter_errors(value), key=lambda fault: fault.json_path)
    words = [word for fault in faults for word in _words(fault)]
    return "; ".join(dict.fromkeys(words[:5]))


def _words(fault: Any) -> list[str]:
    """A fault in words; of several forms, only what is wrong with the one that was meant."""
    if fault.validator not in {"anyOf", "oneOf"} or not fault.context:
        return [_line(fault, fault.message)]
    forms: dict[int, list[Any]] = {}
    for inner in fault.context:
        forms.setdefault(inner.schema_path[0], []).append(inner)
    marks = [[inner for inner in form if inner.validator == "const"] for form in forms.values()]
    meant = [form for form, mark in zip(forms.values(), marks, strict=True) if not mark]
    if len(meant) == 1:
        return [word for inner in meant[0] for word in _words(inner)]
    if not meant:
        known = ", ".join(repr(mark[0].validator_value) for mark in marks)
        return [_line(marks[0][0], f"{marks[0][0].instance!r} is not one of {known}")]
    said = [{_line(inner, inner.message) for inner in form} for form in forms.values()]
    shared = said[0].intersection(*said[1:])
    return sorted(shared) or [_line(fault, fault.message)]


def _line(fault: Any, message: str) -> str:
    return f"{fault.json_path.replace('$', 'answer')}: {message}"
