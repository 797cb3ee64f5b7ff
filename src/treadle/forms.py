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
    return "; ".join(f"{fault.json_path.replace('$', 'answer')}: {fault.message}" for fault in faults[:5])
