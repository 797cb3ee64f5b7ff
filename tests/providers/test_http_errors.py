"""Each status and code as the error it is, with its wait, and without any text of the provider."""

from __future__ import annotations

import email.utils
import time
import traceback
from typing import Any

import pytest

from treadle.errors import ProviderError, ProviderUnavailable, RateLimited, RequestRejected
from treadle.messages import ModelRequest, user
from treadle.models import AnthropicModel, OpenAIModel, OpenAIResponsesModel
from treadle.providers.http_errors import LONGEST_WAIT, Asked, from_status, retry_after
from treadle.testing import ModelServer, Reply, ScriptedModel

ASKED = Asked(provider="openai", address="http://here/v1", model="m", key="OPENAI_API_KEY")


def translated(status: int, error: object = None, **headers: str) -> ProviderError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_status(status, named, {"error": error or {}}, asked=ASKED)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408, 409])
def test_what_may_pass_is_unavailable_and_tried_again(status: int) -> None:
    error = translated(status, retry_after="2")
    assert type(error) is ProviderUnavailable
    assert (error.retryable, error.retry_after, error.status) == (True, 2.0, status)


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 413, 422])
def test_what_will_not_pass_is_rejected_and_has_no_wait(status: int) -> None:
    error = translated(status, retry_after="2")
    assert type(error) is RequestRejected
    assert (error.retryable, error.retry_after) == (False, None)


def test_too_many_requests_wait_as_long_as_asked() -> None:
    error = translated(429, {"code": "rate_limit_exceeded"}, retry_after="7")
    assert type(error) is RateLimited
    assert (error.retryable, error.retry_after) == (True, 7.0)
    assert translated(429).retry_after is None


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, {"code": "insufficient_quota"}), (429, {"type": "insufficient_quota", "code": None}), (402, {})],
)
def test_a_quota_that_is_used_up_is_not_tried_again(status: int, error: object) -> None:
    translated_error = translated(status, error, retry_after="7")
    assert type(translated_error) is RateLimited
    assert (translated_error.retryable, translated_error.retry_after) == (False, None)
    assert "used up" in str(translated_error)


@pytest.mark.parametrize(
    "error",
    [{"code": "context_length_exceeded"}, {"type": "exceed_context_size_error", "code": 400},
     {"message": "This model's maximum context length is 8192 tokens."}],
)  # fmt: skip
def test_too_long_a_conversation_says_what_to_send_less_of(error: object) -> None:
    with pytest.raises(RequestRejected, match="context window; send fewer or shorter documents"):
        raise translated(400, error)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [(429, RateLimited, True), ("rate_limit_exceeded", RateLimited, True), (502, ProviderUnavailable, True),
     ("server_error", ProviderUnavailable, True), (401, RequestRejected, False),
     ("404", RequestRejected, False)],
)  # fmt: skip
def test_an_error_in_a_good_status_counts_as_the_one_it_names(
    code: object, kind: type, retryable: bool
) -> None:
    error = translated(200, {"code": code})
    assert (type(error), error.retryable, error.status) == (kind, retryable, 200)


@pytest.mark.parametrize(
    "error",
    [{"code": "image_parse_error"}, {"code": "unsupported_image_media_type"}, {"code": "bio_policy"},
     {"code": "image_content_policy_violation"}, {"code": "data_residency_mismatch"},
     {"code": "a_new_one", "type": "invalid_request_error"}],
)  # fmt: skip
def test_an_error_in_a_good_status_about_what_was_sent_is_not_tried_again(error: object) -> None:
    found = translated(200, error)
    assert (type(found), found.retryable) == (RequestRejected, False)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "1e12"}, LONGEST_WAIT),
        ({"retry-after": "inf"}, LONGEST_WAIT),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form_and_capped(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    wait = retry_after({"retry-after": date})
    assert wait is not None
    assert 25 < wait <= 30


def test_an_error_body_in_any_shape_is_no_accident() -> None:
    for body in (None, "text", [], {"error": "words"}, {"error": {"code": ["x"]}}):
        error = from_status(400, {}, body, asked=ASKED)
        assert type(error) is RequestRejected


def test_the_parameter_at_fault_is_named() -> None:
    error = translated(400, {"code": "unsupported_parameter", "param": "tools[0].function"})
    assert "(unsupported_parameter)" in str(error)
    assert "'tools[0].function'" in str(error)


@pytest.mark.parametrize("status", [400, 409, 422, 429])
def test_type_and_code_are_both_told(status: int) -> None:
    error = translated(status, {"type": "invalid_request_error", "code": "unsupported_parameter"})
    assert f"status {status} (invalid_request_error, unsupported_parameter): " in str(error)


@pytest.mark.parametrize("code", [400, "400", "invalid_request_error", None])
def test_a_code_that_says_nothing_more_is_left_out(code: object) -> None:
    assert "status 400 (invalid_request_error): " in str(
        translated(400, {"type": "invalid_request_error", "code": code})
    )


@pytest.mark.parametrize("status", [400, 418, 422])
def test_where_the_words_of_the_provider_are_is_told(status: int) -> None:
    told = "the provider's own words may repeat the prompt, so they are in error.__cause__ alone (in Python)"
    assert str(translated(status, {"type": "invalid_request_error"})).endswith(told)


def test_an_error_in_a_good_status_sends_nobody_to_a_cause_it_does_not_have() -> None:
    assert "__cause__" not in str(translated(200, {"code": "invalid_prompt"}))


@pytest.mark.parametrize("content", ["two words", "私の秘密の質問", "x" * 81, "a\nb", {"a": 1}, True])
@pytest.mark.parametrize("field", ["type", "code", "param"])
def test_what_is_no_identifier_is_never_told(field: str, content: object) -> None:
    assert str(content) not in str(translated(400, {field: content}))


@pytest.mark.anyio
@pytest.mark.parametrize("interface", [OpenAIModel, OpenAIResponsesModel, AnthropicModel])
async def test_what_each_interface_says_of_a_refusal_arrives(interface: Any) -> None:
    said = {"message": "my secret prompt", "type": "invalid_request_error"}
    if interface is not AnthropicModel:
        said |= {"code": "unsupported_parameter", "param": "max_completion_tokens"}
    body = {"type": "error", "error": said}
    with ModelServer(ScriptedModel([]), faults={1: Reply(status=400, body=body)}) as server:
        model = interface("m", base_url=server.url, api_key="sk-1234")
        with pytest.raises(RequestRejected) as caught:
            await model.complete(ModelRequest(messages=(user("hi"),)))
        await model.aclose()
    told = str(caught.value)
    names = "(invalid_request_error, unsupported_parameter)" if "param" in said else "(invalid_request_error)"
    assert f"status 400 {names}: " in told
    assert ("'max_completion_tokens'" in told) == ("param" in said)
    assert "my secret prompt" in str(caught.value.__cause__)


@pytest.mark.anyio
async def test_neither_prompt_nor_key_stands_in_what_is_told() -> None:
    said = {"error": {"message": "cannot read: my secret prompt, key sk-1234", "code": "my secret prompt"}}
    with ModelServer(ScriptedModel([]), faults={1: Reply(status=400, body=said)}) as server:
        model = OpenAIModel("m", base_url=server.url, api_key="sk-1234")
        with pytest.raises(RequestRejected) as caught:
            await model.complete(ModelRequest(messages=(user("my secret prompt"),)))
        told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
        assert "secret" not in told
        assert "sk-" not in told
        await model.aclose()


@pytest.mark.anyio
async def test_the_status_of_a_server_arrives_with_its_wait() -> None:
    limited = Reply(status=429, body={"error": {"code": "rate_limit_exceeded"}}, headers={"Retry-After": "3"})
    with ModelServer(ScriptedModel([]), faults={1: limited}) as server:
        model = OpenAIModel("m", base_url=server.url)
        with pytest.raises(RateLimited) as caught:
            await model.complete(ModelRequest(messages=(user("hi"),)))
        assert (caught.value.status, caught.value.retry_after) == (429, 3.0)
        await model.aclose()
