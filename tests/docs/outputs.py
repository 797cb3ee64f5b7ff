"""Compares what a page shows with what came out, where only what must be equal has to be.

Times, hashes, places in files, numbers of spaces, lengths of rules and where a text is cut off (``…``)
may differ; a line ``...`` stands for any lines.  Ids of runs and questions are made anew each time: the
one shown on the page is remembered for the one that came out, and stands for it in commands further down.
"""

from __future__ import annotations

import re

_ID = r"\b[rq]-[0-9a-z]{8,}\b"
_LENGTH = r"(?:\d+ min \d+ s|\d+(?:\.\d+)? (?:us|ms|s|min|h)\b)"
_ANY = {
    "age": rf"(?:just now|{_LENGTH} ago)",
    "length": _LENGTH,
    "moment": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "hash": r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,64}\b",
    "place": r"\(\S+\.(?:py|md):\d+\)",
    "rule": r"[─━]+",
    "space": r"[ ]+",
}
_CUT_OFF = r"(?:\S+ ?){1,3}…"
_NAMED = [rf"(?P<{name}>{pattern})" for name, pattern in {"id": _ID, **_ANY}.items()]
_WORDS = re.compile("|".join(_NAMED))
_STYLING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Outputs:
    """What one page has shown so far; knows the ids it stands for."""

    def __init__(self) -> None:
        self._actual: dict[str, str] = {}

    def command(self, shown: str) -> str:
        """The command as it has to be run, with the ids of this time."""
        return re.sub(_ID, lambda found: self._actual.get(found[0], found[0]), shown)

    def compare(self, shown: str, came: str) -> str:
        """Say how what came out differs from what is shown, or nothing."""
        came = _plain(came)
        names: dict[str, str] = {}
        pattern = self._pattern(_plain(shown), names)
        found = re.fullmatch(pattern, came, re.DOTALL)
        if found is None:
            return f"the page shows\n\n{shown}\nand out came\n\n{came}"
        self._actual.update({name: found[group] for name, group in names.items()})
        return ""

    def _pattern(self, shown: str, names: dict[str, str]) -> str:
        parts: list[str] = []
        for line in shown.splitlines():
            if line.strip() == "...":
                parts.append(r"(?:[^\n]*\n)*?")
            else:
                parts.append(self._line(line, names) + r"[ ]*\n")
        return "".join(parts)

    def _line(self, line: str, names: dict[str, str]) -> str:
        whole = re.split(_CUT_OFF, line)
        return r"[^\n]{1,60}?".join(self._whole(part, names) for part in whole)

    def _whole(self, line: str, names: dict[str, str]) -> str:
        parts: list[str] = []
        end = 0
        for word in _WORDS.finditer(line):
            parts += [re.escape(line[end : word.start()]), self._word(word, names)]
            end = word.end()
        return "".join([*parts, re.escape(line[end:])])

    def _word(self, word: re.Match[str], names: dict[str, str]) -> str:
        if word["id"] is None:
            return _ANY[str(word.lastgroup)]
        shown = word["id"]
        if shown in self._actual:
            return re.escape(self._actual[shown])
        if shown in names:
            return f"(?P={names[shown]})"
        names[shown] = f"id{len(names)}"
        return f"(?P<{names[shown]}>{_ID})"


def _plain(text: str) -> str:
    lines = [line.rstrip() for line in _STYLING.sub("", text).replace("\r", "").strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)
