"""Files of model weights on this machine: what is wrong with one, before anything is started for it.

They are GGUF files, which llama.cpp runs (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md);
the first four bytes of one are ``GGUF``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

_MAGIC: Final = b"GGUF"


def found_at(path: str) -> str:
    """The absolute path that is meant: ``~`` is the home, a relative one begins at the working directory."""
    return str(Path(path).expanduser().absolute())


def complaint_of(name: str) -> str:
    """Say why the model of a name cannot be served here, or nothing; only ``local:PATH`` is looked at."""
    interface, _, path = name.partition(":")
    return complaint(path) if interface == "local" else ""


def complaint(path: str) -> str:
    """Say why a file cannot be served here, or nothing; its first bytes are read, and nothing is loaded."""
    try:
        with Path(found_at(path)).open("rb") as file:
            beginning = file.read(len(_MAGIC))
    except OSError as error:
        return (
            f"the model file {path!r} cannot be read ({error.strerror}: {found_at(path)!r}); put a GGUF file "
            "there, or name another: 'local:PATH'"
        )
    if beginning != _MAGIC:
        return (
            f"{path!r} is not a GGUF file (it begins with {beginning!r}); download the model in that format, "
            "or convert it with llama.cpp's convert_hf_to_gguf.py"
        )
    if importlib.util.find_spec("xllamacpp") is None:
        return f"xllamacpp, which serves {path!r}, is not installed; pip install 'treadle[local]'"
    return ""
