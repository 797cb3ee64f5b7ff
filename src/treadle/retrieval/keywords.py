"""The keyword index: SQLite FTS5 with the Porter stemmer, in one file.

Each search opens the file anew and closes it (0.2 ms), in a worker thread.  So an index may be used
from any number of tasks, threads and processes, leaves nothing open, and sees a refreshed file at
once; and nothing here blocks an event loop, asyncio's or trio's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from treadle.interfaces import Passage
from treadle.retrieval import query as queries
from treadle.retrieval.corpus import Corpus, Document, version
from treadle.retrieval.database import Database, reading, writing
from treadle.retrieval.split import DEFAULT_LENGTH, split

_SEARCH: Final = """
select passage.document, document.digest, passage.start, passage.end, passage.text, document.title,
       -bm25(word, 2.0, 1.0) as score, (select value from setting where name = 'corpus')
from word
join passage on passage.id = word.rowid
join document on document.name = passage.document
where word match ?
order by score desc, passage.document, passage.start
limit ?
"""
"""A word in the title counts twice; ``bm25`` is negative, the better the lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What refreshing an index did, in numbers of documents."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0


class KeywordIndex:
    """Finds passages by their words; made by ``build_index`` or ``open_index``.

    English endings are stemmed, accents and case ignored, stop words dropped.  Equal scores are
    ordered by document and place, so the same file always answers alike.
    """

    def __init__(
        self, path: Path, documents: Iterable[Document] | None = None, *, length: int = DEFAULT_LENGTH
    ) -> None:
        self.path = path
        self._documents = documents
        self._length = length
        self._refreshing = threading.Lock()

    def __repr__(self) -> str:
        return f"KeywordIndex({str(self.path)!r})"

    async def search(self, query: str, *, k: int = 5) -> list[Passage]:
        """Give the passages that share the most telling words with a query.

        Any text is a query.  The first search of an index opened with ``documents`` refreshes it.
        A cancelled caller waits for its thread, which takes milliseconds.

        Args:
            k: How many passages at most, at least 1.

        Returns:
            The best first; empty where no word of the query stands in the corpus.

        Raises:
            ConfigurationError: There is no file, or the documents cannot be read.
            FormatMismatch: The file is no index of ours, or is damaged.
            StoreUnavailable: It cannot be read now.
        """
        return await anyio.to_thread.run_sync(lambda: self.search_blocking(query, k=k))

    def search_blocking(self, query: str, *, k: int = 5) -> list[Passage]:
        """Do what ``search`` does in this very thread: for scripts without an event loop."""
        if k < 1:
            raise ValueError(f"search(k=...) asks for at least 1 passage, not {k!r}")
        self._refresh_once()
        expression = queries.match_expression(query)
        with reading(self.path) as database:
            rows = database.rows(_SEARCH, (expression, k)) if expression else []
        return [_passage(row) for row in rows]

    def version(self) -> str:
        """The version of the corpus that is indexed: ``Corpus.version`` of its documents.

        Raises:
            ConfigurationError, FormatMismatch, StoreUnavailable: As ``search``.
        """
        self._refresh_once()
        with reading(self.path) as database:
            return database.setting("corpus")

    def _refresh_once(self) -> None:
        with self._refreshing:
            if self._documents is not None:
                refresh(self.path, self._documents, length=self._length)
                self._documents = None


def build_index(
    path: str | Path, documents: Iterable[Document], *, length: int = DEFAULT_LENGTH
) -> KeywordIndex:
    """Make an index file of some documents, or bring it up to date; unchanged documents are kept.

    It is one transaction: after a crash the file holds the old index or the new one.  It blocks; in
    async code use ``open_index(path, documents=...)``, which refreshes in a worker thread.

    Args:
        documents: A ``Corpus``, or any documents; all of them are held in memory meanwhile.
        length: Characters in a passage at most; another length than before splits everything anew.

    Raises:
        ConfigurationError: The documents cannot be read, or two have one name.
        FormatMismatch: The file exists and is something else; it is left as it was.
        StoreUnavailable: It cannot be written.
    """
    refresh(Path(path), documents, length=length)
    return KeywordIndex(Path(path))


def open_index(path: str | Path, *, documents: Iterable[Document] | None = None) -> KeywordIndex:
    """Open an index file.

    Args:
        documents: What the index is to hold: the first search makes or refreshes the file (one
            transaction, in a worker thread).  ``None``: the file is used as it is.

    Raises:
        ConfigurationError: There is no such file, and no ``documents`` to make it of.
        FormatMismatch: The file is no index of ours, is damaged, or from a newer release.
        StoreUnavailable: It cannot be read.
    """
    if documents is None:
        with reading(Path(path)):
            pass
    return KeywordIndex(Path(path), documents)


def refresh(path: Path, documents: Iterable[Document], *, length: int = DEFAULT_LENGTH) -> Changes:
    """Bring an index file up to date with its documents, and say what that took.

    Nothing is written where nothing has changed, so an index on a read-only disk stays usable.
    """
    wanted = {document.name: document for document in Corpus(lambda: documents)}
    settings = {"corpus": version(wanted.values()), "length": str(length)}
    if _is_current(path, settings):
        return Changes(kept=len(wanted))
    with writing(path) as database:
        if database.setting("length") != settings["length"]:
            _forget(database, list(_known(database)))
        changes = _apply(database, wanted, length)
        for setting in settings.items():
            database.rows("insert or replace into setting values (?, ?)", setting)
    return changes


def _is_current(path: Path, settings: Mapping[str, str]) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with reading(path) as database:
        return all(database.setting(name) == value for name, value in settings.items())


def _known(database: Database) -> dict[str, tuple[str, str]]:
    """Digest and title of each document in the index, by name."""
    rows = database.rows("select name, digest, title from document")
    return {name: (digest, title) for name, digest, title in rows}


def _apply(database: Database, wanted: Mapping[str, Document], length: int) -> Changes:
    known = _known(database)
    removed = [name for name in known if name not in wanted]
    changed = [name for name, d in wanted.items() if name in known and known[name] != (d.digest, d.title)]
    added = [name for name in wanted if name not in known]
    _forget(database, removed + changed)
    for name in changed + added:
        _learn(database, wanted[name], length)
    kept = len(wanted) - len(changed) - len(added)
    return Changes(added=len(added), changed=len(changed), removed=len(removed), kept=kept)


def _forget(database: Database, names: Iterable[str]) -> None:
    for name in names:
        database.rows("delete from word where rowid in (select id from passage where document = ?)", (name,))
        database.rows("delete from passage where document = ?", (name,))
        database.rows("delete from document where name = ?", (name,))


def _learn(database: Database, document: Document, length: int) -> None:
    name, title = document.name, document.title
    database.rows("insert into document values (?, ?, ?)", (name, document.digest, title))
    for start, end in split(document.text, length=length):
        text = document.text[start:end]
        [(place,)] = database.rows(
            "insert into passage (document, start, end, text) values (?, ?, ?, ?) returning id",
            (name, start, end, text),
        )
        database.rows("insert into word (rowid, title, text) values (?, ?, ?)", (place, title, text))


def _passage(row: tuple[Any, ...]) -> Passage:
    """Make a passage of a row of ``_SEARCH``."""
    names = ("document", "digest", "start", "end", "text", "title", "score", "corpus")
    return Passage(**dict(zip(names, row, strict=True)))
