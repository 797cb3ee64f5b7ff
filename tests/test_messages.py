"""Parts of messages: how they are made, stored and read back."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from treadle.messages import (
    CachePoint,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    document,
    image,
    user,
)
from treadle.values import codec

PARTS = (
    Text(text="a"),
    Text(text="a", extra={"anthropic": {"citations": [1]}}),
    Image(data="aGk=", media_type="image/png", tokens=5),
    Document(url="https://example.com/a.pdf", name="a.pdf"),
    CachePoint(),
    ToolCall(id="1", name="f", arguments="{}"),
    ToolCall(id="1", name="f", arguments="{}", extra={"openai": {"x": 1}}),
    ToolResult(call_id="1", name="f", content="c", is_error=True),
    Refusal(text="no"),
    Reasoning(text="hm", provider="anthropic", data={"signature": "s"}),
    Opaque(provider="openai", content={"type": "new", "n": [1, None]}),
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.kind)
def test_every_part_comes_back_from_its_json(part: Text) -> None:
    stored = codec(Message)
    message = Message(role="user", parts=(part,))
    assert stored.decode(stored.encode(message)) == message


def test_parts_without_extras_are_stored_as_they_always_were() -> None:
    message = Message(role="assistant", parts=(Text(text="a"), ToolCall(id="1", name="f", arguments="{}")))
    assert json.loads(codec(Message).encode(message))["parts"] == [
        {"text": "a", "kind": "text"},
        {"id": "1", "name": "f", "arguments": "{}", "kind": "tool_call"},
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
    ],
)
def test_pictures_say_what_they_are(data: bytes, kind: str, tmp_path: Path) -> None:
    assert image(data).media_type == kind
    (tmp_path / "picture.bin").write_bytes(data)
    assert image(tmp_path / "picture.bin") == image(data)
    assert base64.b64decode(image(data).data) == data


def test_what_is_no_picture_or_document_is_refused() -> None:
    with pytest.raises(ValueError, match="say media_type='image/png'"):
        image(b"what is this")
    with pytest.raises(ValueError, match=r"is not a URL; for a file pass pathlib\.Path\('cat\.png'\)"):
        image("cat.png")
    with pytest.raises(ValueError, match="pass a PDF"):
        document(b"\x00\x01")


def test_documents_are_pdfs_or_text(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("grüße")
    notes = document(tmp_path / "notes.md")
    assert (notes.media_type, notes.name, notes.text) == ("text/plain", "notes.md", "grüße")
    assert document(b"%PDF-1.7").media_type == "application/pdf"
    assert document(b"%PDF-1.7").text == ""


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_text_that_a_model_would_read_damaged_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="not UTF-8 at byte"):
        document("grüße".encode(encoding), media_type="text/plain")
    assert document("grüße".encode(), media_type="text/plain").text == "grüße"


def test_pictures_stand_before_the_words_and_are_not_printed() -> None:
    message = user("what is it?", image(b"GIF89a..."))
    assert [part.kind for part in message.parts] == ["image", "text"]
    assert "R0lG" not in repr(message)
