"""Names in spans against the published conventions."""

from __future__ import annotations

import re

from treadle.tracing import names


def ids(text: str) -> set[str]:
    """The attribute names a registry declares."""
    return set(re.findall(r"^ +- id: (gen_ai\.\S+)", text, re.MULTILINE))


def constants(prefix: str) -> set[str]:
    return {value for value in vars(names).values() if isinstance(value, str) and value.startswith(prefix)}


def test_every_genai_name_is_in_the_conventions(conventions: dict[str, str]) -> None:
    published = ids(conventions["model/gen-ai/registry.yaml"])
    assert constants("gen_ai.") | {names.V1_41.cache_write_tokens} <= published


def test_no_genai_name_is_deprecated(conventions: dict[str, str]) -> None:
    assert not constants("gen_ai.") & ids(conventions["model/gen-ai/deprecated/registry-deprecated.yaml"])


def test_every_operation_is_one_of_the_conventions(conventions: dict[str, str]) -> None:
    known = set(re.findall(r'value: "?(\w+)"?', conventions["model/gen-ai/registry.yaml"]))
    operations = {names.INVOKE_WORKFLOW, names.INVOKE_AGENT, names.EXECUTE_TOOL, names.RETRIEVAL, names.CHAT}
    assert operations <= known
    assert not {names.RUN_NODE, names.ASK_PERSON} & known


def test_finish_reasons_are_those_of_the_message_schema(conventions: dict[str, str]) -> None:
    schema = conventions["docs/gen-ai/gen-ai-output-messages.json"]
    assert all(f'"{reason}"' in schema for reason in set(names.FINISH.values()) - {"refusal"})


def test_every_attribute_has_the_prefix_of_the_conventions_or_ours() -> None:
    attributes = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    dotted = {value for value in attributes if "." in value}
    assert {value for value in dotted if not value.startswith(("gen_ai.", "treadle."))} == {names.ERROR}


def test_the_newest_names_differ_where_the_conventions_moved(conventions: dict[str, str]) -> None:
    assert names.NEWEST.cache_write_tokens not in ids(conventions["model/gen-ai/registry.yaml"])
