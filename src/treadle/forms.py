"""Whether JSON data has the form that was asked for, by the JSON Schema alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast


def complaint(schema: dict[str, Any], value: object, *, called: str = "answer") -> str:
    """Say what is wrong with JSON data under a schema (draft 2020-12), or ``""`` where nothing is.

    The words name the place and the rule, and at most repeat the data itself.

    Args:
        schema: A schema that refers to nothing outside of itself.
        value: The data.
        called: What the data is called in those words.
    """
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 90 ms that only answering pays

    validator: Any = Draft202012Validator(schema)  # its stubs know no plain JSON data
    faults = sorted(validator.iter_errors(value), key=lambda fault: fault.json_path)
    words = [word for fault in faults for word in _words(fault)]
    return "; ".join(dict.fromkeys(f"{called}{word.removeprefix('answer')}" for word in words[:5]))


def schema_complaint(schema: dict[str, Any]) -> str:
    """Say why a schema that another program sent cannot be used, or ``""`` where it can.

    It must be valid under draft 2020-12, and refer to nothing outside of itself: nobody should make us
    open an address by putting it into a schema.
    """
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - as above

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"it is no JSON Schema: {error.message}"
    outward = next((target for target in _references(schema) if not target.startswith("#")), "")
    return f"it refers to {outward!r}, outside of itself" if outward else ""


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        mapping = cast("dict[str, object]", schema)
        for key, value in mapping.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for item in cast("list[object]", schema):
            yield from _references(item)


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
