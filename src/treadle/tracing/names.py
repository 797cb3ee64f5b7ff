"""Every name that appears in a span, in one place, because the conventions still change.

``gen_ai.*`` as in OpenTelemetry's GenAI semantic conventions 1.41 (``model/gen-ai/*.yaml``, copied to
``tests/data/otel_genai``), which most back ends know.  ``OTEL_SEMCONV_STABILITY_OPT_IN`` with
``gen_ai_latest_experimental`` in it asks for the newest instead (open-telemetry/
semantic-conventions-genai, 1.42.0-dev, read 2026-11); where the two differ, ``Vintage`` has both.
No standard exists for graphs, attempts and money: those are ``treadle.*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
WORKFLOW: Final = "gen_ai.workflow.name"
AGENT: Final = "gen_ai.agent.name"
TOOL: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
DATA_SOURCE: Final = "gen_ai.data_source.id"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

ERROR: Final = "error.type"

INVOKE_WORKFLOW: Final = "invoke_workflow"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
RETRIEVAL: Final = "retrieval"
CHAT: Final = "chat"

RUN_NODE: Final = "run_node"
ASK_PERSON: Final = "ask_person"

RUN_ID: Final = "treadle.run.id"
GRAPH_DIGEST: Final = "treadle.graph.digest"
SCOPE: Final = "treadle.scope.id"
NODE_ID: Final = "treadle.node.id"
NODE_KIND: Final = "treadle.node.kind"
ATTEMPT: Final = "treadle.attempt"
STEP: Final = "treadle.step"
REQUEST: Final = "treadle.request"
RESUMED: Final = "treadle.resumed"
STATUS: Final = "treadle.status"
COST_USD: Final = "treadle.cost.usd"
COST_BASIS: Final = "treadle.cost.basis"
PRICE_BASIS: Final = "treadle.price.basis"
PRICE_VERSION: Final = "treadle.price.version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vintage:
    """The names in which one release of the conventions differs from another."""

    schema_url: str
    cache_write_tokens: str


V1_41: Final = Vintage(
    schema_url="https://opentelemetry.io/schemas/1.41.0",
    cache_write_tokens="gen_ai.usage.cache_creation.input_tokens",
)
NEWEST: Final = Vintage(
    schema_url="https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
    cache_write_tokens="gen_ai.usage.cache_write.input_tokens",
)

FINISH: Final = {
    "end": "stop",
    "tools": "tool_call",
    "length": "length",
    "filter": "content_filter",
    "refusal": "refusal",
}
"""What our reasons to stop are called in the conventions' message schemas."""
