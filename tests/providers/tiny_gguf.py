"""A language model of 100 KB in the GGUF format: one layer, a vocabulary of bytes, random weights.

What it writes is nonsense, unless a grammar leaves it no choice; all else is as with a large one.
Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3).
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import cast

WIDTH = 32
CONTEXT = 2048
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6  # kinds of tokens
_ALIGNED = 32
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"

_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
_KINDS = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]

_SETTINGS: dict[str, object] = {
    "general.architecture": "llama",
    "llama.context_length": CONTEXT,
    "llama.embedding_length": WIDTH,
    "llama.block_count": 1,
    "llama.feed_forward_length": WIDTH,
    "llama.attention.head_count": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": _TOKENS,
    "tokenizer.ggml.scores": [0.0] * len(_TOKENS),
    "tokenizer.ggml.token_type": _KINDS,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.chat_template": _TEMPLATE,
}

_SQUARE, _ROW, _VOCABULARY = (WIDTH, WIDTH), (WIDTH,), (WIDTH, len(_TOKENS))
_SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd.weight": _VOCABULARY,
    "output.weight": _VOCABULARY,
    "output_norm.weight": _ROW,
    **{f"blk.0.{part}_norm.weight": _ROW for part in ("attn", "ffn")},
    **{f"blk.0.attn_{part}.weight": _SQUARE for part in ("q", "k", "v", "output")},
    **{f"blk.0.ffn_{part}.weight": _SQUARE for part in ("gate", "up", "down")},
}


def write(path: Path) -> Path:
    """Write the model; it is the same every time."""
    dice, infos, data = random.Random(0), b"", b""
    for name, shape in _SHAPES.items():
        infos += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos += struct.pack("<IQ", 0, len(data))  # 0: floats of 32 bits
        data += _floats(dice, shape)
    settings = b"".join(_text(name) + _typed(value) for name, value in _SETTINGS.items())
    head = b"GGUF" + struct.pack("<IQQ", 3, len(_SHAPES), len(_SETTINGS)) + settings + infos
    path.write_bytes(head + bytes(-len(head) % _ALIGNED) + data)
    return path


def _floats(dice: random.Random, shape: tuple[int, ...]) -> bytes:
    """Ones for a norm, else small numbers; every length is a multiple of the alignment."""
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    numbers = [1.0 if len(shape) == 1 else dice.gauss(0, 0.3) for _ in range(count)]
    return struct.pack(f"<{count}f", *numbers)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _typed(value: object) -> bytes:
    """A value after the number of its type: 4 a count, 6 a float, 8 text, 9 a list (of 5: integers)."""
    if not isinstance(value, list):
        kind, body = _plain(value)
        return struct.pack("<I", kind) + body
    items = [_plain(item) for item in cast("list[object]", value)]
    kind = 5 if items[0][0] == 4 else items[0][0]
    return struct.pack("<IIQ", 9, kind, len(items)) + b"".join(body for _, body in items)


def _plain(value: object) -> tuple[int, bytes]:
    if isinstance(value, str):
        return 8, _text(value)
    return (4, struct.pack("<I", value)) if isinstance(value, int) else (6, struct.pack("<f", value))
