"""``OpenAIResponsesModel``: OpenAI's Responses, by the official SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from treadle import given
from treadle.budget import Price
from treadle.messages import ModelRequest
from treadle.providers import openai_responses_wire, openai_wire
from treadle.providers.exchange import HttpModel, Interface
from treadle.providers.openai_client import OPENAI
from treadle.providers.openai_responses_stream import ResponseStream
from treadle.providers.service import TIMEOUT

RESPONSES: Final = Interface(
    path="/responses",
    ours=frozenset(
        {"model", "input", "tools", "max_output_tokens", "store", "stream", "temperature", "background",
         "conversation", "previous_response_id"}
    ),
    read=openai_responses_wire.read_response,
    gather=ResponseStream,
    tool_body=openai_responses_wire.tool_body,
    form_bound=openai_wire.form_bound,
    per_tool=openai_wire.PER_TOOL,
    per_request=1024,
)  # fmt: skip
"""What stands around the words is as in Chat Completions, and room for what other servers add."""


class OpenAIResponsesModel(HttpModel):
    """A model at OpenAI, or at any server with a compatible ``/responses``.

    The interface that keeps reasoning over the turns of an agent: it is sent back, encrypted, with each
    request.  Nothing is stored at the provider.  What ``OpenAIModel`` says of requests, connections,
    keys and prices holds here too.

    Args:
        name: The provider's name for the model, such as ``"gpt-6-sol"``.
        base_url: Such as ``"http://127.0.0.1:8080/v1"``; by default ``OPENAI_BASE_URL``, else OpenAI.
        api_key: By default ``OPENAI_API_KEY``, but never for a ``base_url`` given here.
        price: By default looked up in genai-prices; a server on this machine costs nothing.
        timeout: From the beginning of a request to the end of its answer, streamed or not; seconds,
            or text such as ``"90s"``.
        options: Further fields of every request, as the provider documents them, such as
            ``{"reasoning": {"effort": "low"}}``.

    Raises:
        ConfigurationError: The URL or key cannot be one, or an option is Treadle's own to write.

    Example:
        >>> OpenAIResponsesModel("gpt-6-sol", api_key="sk-...").base_url
        'https://api.openai.com/v1'
    """

    @given.told("OpenAIResponsesModel")
    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float | str = TIMEOUT,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            name,
            interface=RESPONSES,
            sdk=OPENAI,
            base_url=base_url,
            api_key=api_key,
            price=price,
            timeout=timeout,
            options=options,
        )

    def _body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        return openai_responses_wire.request_body(request, model=self.name, stream=stream)
