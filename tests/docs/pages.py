"""The pages of the documentation, and the fenced blocks in them.

What a block means is said by its language and its place:

- ``python`` runs, after all those before it on the page.  If its first line is ``# name.py`` it is not
  run but written to that file, after what earlier blocks wrote there; later blocks may import it.
- ``text`` directly after a ``python`` block is what that block prints.
- ``console`` holds commands, each after ``$``, and what they print.
- ``sh`` holds commands for the reader to use elsewhere; their verbs and options must exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "changes"),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; ``line`` is that of its first line of text, ``follows`` whether nothing but
    white space stands between it and the block before."""

    language: str
    text: str
    line: int
    follows: bool

    @property
    def file(self) -> str:
        """The file it is written to, or nothing."""
        found = _FILE.match(self.text) if self.language == "python" else None
        return found.group(1) if found else ""


def read(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text, found, end = read(name), [], 0
    for fence in _FENCE.finditer(text):
        follows = bool(found) and not text[end : fence.start()].strip()
        line = text.count("\n", 0, fence.start("text")) + 1
        found.append(Block(language=fence["info"].strip(), text=fence["text"], line=line, follows=follows))
        end = fence.end()
    return found


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(name))


def heading(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"[^\w\- ]", "", title.strip().lower())
    return plain.replace(" ", "-")


def anchors(name: str) -> set[str]:
    """The anchors of a page."""
    return {heading(title) for title in re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)}


def section(name: str, title: str) -> str:
    """The text of a page below one of its headings, up to the next of that level or above."""
    marks, rest = re.search(rf"^(#+) {re.escape(title)}\n(.*)", read(name), re.MULTILINE | re.DOTALL).groups()  # type: ignore[union-attr]  # a missing section fails the test, as it should
    return re.split(rf"^#{{1,{len(marks)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
