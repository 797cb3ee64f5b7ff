"""Documents and where they come from: files, rows, JSON lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from treadle import values
from treadle.errors import ConfigurationError, nearest

_HEADING: Final = re.compile(r"^#[^\S\n]+(\S.*?)(?:[^\S\n]+#+)?[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text under a name.

    Attributes:
        name: Unique within its corpus and stable over time, such as a path below the corpus.
        title: A heading to show and to search, or ``""``.
    """

    name: str
    text: str
    title: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the text as UTF-8, hexadecimal."""
        return values.digest(self.text.encode())


class Corpus:
    """Documents that can be read again whenever an index wants to know what has changed.

    Iterating reads the source anew and gives the documents ordered by name.

    Example:
        >>> corpus = Corpus.rows([{"id": 7, "body": "Cards arrive within a week."}], name="id", text="body")
        >>> [document.name for document in corpus]
        ['7']
    """

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Iterable[Document]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Document]:
        documents = sorted(self._read(), key=lambda document: document.name)
        for before, document in itertools.pairwise(documents):
            if before.name == document.name:
                raise ConfigurationError(
                    f"two documents of the corpus are called {document.name!r}; give each a name of its own"
                )
        return iter(documents)

    @property
    def version(self) -> str:
        """Digest over names, titles and contents: equal where the documents are."""
        return version(self)

    @classmethod
    def files(cls, folder: str | Path, *, pattern: str = "**/*.md") -> Corpus:
        """Take text files below a folder; the path below it is the name, the first ``# heading`` the title.

        Reading it raises ``ConfigurationError`` where the folder has no such file, or one is not UTF-8.
        """
        return cls(lambda: _files(Path(folder), pattern))

    @classmethod
    def json_lines(cls, path: str | Path, *, name: str, text: str, title: str = "") -> Corpus:
        """Take one JSON object a line; ``name``, ``text`` and ``title`` say which fields to use.

        Reading it raises ``ConfigurationError`` with the line that is not JSON or lacks a field.
        """
        return cls(lambda: _json_lines(Path(path), name, text, title))

    @classmethod
    def rows(cls, rows: Iterable[Mapping[str, Any]], *, name: str, text: str, title: str = "") -> Corpus:
        """Take rows, as a database gives them; ``name``, ``text`` and ``title`` say which columns to use.

        Reading it raises ``ConfigurationError`` with the row that lacks a column.
        """
        numbered = list(enumerate(rows, start=1))
        return cls(lambda: [_document(row, f"row {number}", name, text, title) for number, row in numbered])


def version(documents: Iterable[Document]) -> str:
    """Digest over the names, titles and contents of some documents, whatever their order."""
    facts = sorted([document.name, document.title, document.digest] for document in documents)
    return values.digest(values.canonical(facts))


def _files(folder: Path, pattern: str) -> Iterator[Document]:
    paths = [path for path in folder.glob(pattern) if path.is_file()]
    if not paths:
        raise ConfigurationError(
            f"no file matches {pattern!r} below {str(folder)!r}; give the folder of the documents, "
            f"and their pattern as in Corpus.files(folder, pattern='**/*.txt')"
        )
    for path in paths:
        text = _text(path)
        heading = _HEADING.search(text)
        name = path.relative_to(folder).as_posix()
        yield Document(name=name, text=text, title=heading.group(1) if heading else "")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{str(path)!r} is not UTF-8 text (byte {error.start}); convert it, or leave it out by pattern="
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read: {error.strerror}; check the path") from error


def _json_lines(path: Path, name: str, text: str, title: str) -> Iterator[Document]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            where = f"line {number} of {str(path)!r}"
            yield _document(_object(line, where), where, name, text, title)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        value = values.parse(line)
    except ValueError as error:
        raise ConfigurationError(f"{where} is not JSON: {error}; write one JSON object a line") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} is not a JSON object; write one JSON object a line")
    return cast("dict[str, Any]", value)


def _document(row: Mapping[str, Any], where: str, name: str, text: str, title: str) -> Document:
    def field(key: str) -> str:
        if row.get(key) is None:
            raise ConfigurationError(
                f"{where} has no {key!r}, only {', '.join(sorted(row))}{nearest(key, row)}"
            )
        return str(row[key])

    return Document(name=field(name), text=field(text), title=field(title) if title else "")
