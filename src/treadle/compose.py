"""Names and URLs to live objects: a store by URL, an index by path, a model by name.

The one place that imports the outside rooms, inside functions, so that each loads on first use.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from treadle import weights
from treadle.errors import ConfigurationError, nearest
from treadle.interfaces import Model
from treadle.messages import AUTOMATIC, INTERFACES, model_complaint

if TYPE_CHECKING:
    from treadle.interfaces import Index, Store, Tracer


def open_store(url: str) -> Store:
    """Give the store behind a URL; it is not connected before ``await store.open()``.

    Args:
        url: ``"memory:"``, ``"sqlite:///runs.db"`` (relative to the working directory) or
            ``"sqlite:////var/lib/runs.db"`` (absolute).

    Raises:
        ConfigurationError: The URL leads nowhere.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise ConfigurationError(
            f"{url!r} is not a store URL; write 'sqlite:///{url or 'treadle.db'}' for a file, or 'memory:'"
        )
    if scheme in {"postgresql", "postgres"}:
        raise ConfigurationError(
            "stores on PostgreSQL ('postgresql://...') are not in this release; "
            "use 'sqlite:///path.db' on a disk of this machine"
        )
    opener = _STORES.get(scheme)
    if opener is None:
        raise ConfigurationError(
            f"no store speaks {scheme + ':'!r}{nearest(scheme, _STORES)}; "
            "write 'memory:' or 'sqlite:///path.db' (four slashes for an absolute path)"
        )
    return opener(rest, url)


def as_store(store: str | Store) -> Store:
    """Give the store behind a URL; an object is given back as it is.

    Raises:
        ConfigurationError: The URL leads nowhere, or it is neither a URL nor a store.
    """
    if isinstance(store, str):
        return open_store(store)
    if callable(getattr(store, "open", None)) and callable(getattr(store, "create", None)):
        return store
    url = f"sqlite:///{store}" if isinstance(cast("object", store), os.PathLike) else "sqlite:///path.db"
    raise ConfigurationError(f"{store!r} is no store; write {url!r}, or 'memory:', or give a store object")


def _memory(rest: str, url: str) -> Store:
    from treadle.stores.memory import MemoryStore  # noqa: PLC0415 - loads on first use

    if rest.strip("/"):
        raise ConfigurationError(f"{url!r}: the memory store has no path; write 'memory:'")
    return MemoryStore()


def _sqlite(rest: str, url: str) -> Store:
    from treadle.stores.sqlite import SqliteStore  # noqa: PLC0415 - loads apsw

    path = rest.removeprefix("///")
    if path == rest or path in {"", "/"}:
        raise ConfigurationError(
            f"{url!r} names no file; write 'sqlite:///runs.db' (relative to the working directory) "
            "or 'sqlite:////var/lib/runs.db' (absolute)"
        )
    return SqliteStore(path)


_STORES: Final = {"memory": _memory, "sqlite": _sqlite}


def open_index(index: str | Index) -> Index:
    """Give the index behind a path; an object is given back as it is."""
    if not isinstance(index, str):
        return index
    from treadle import retrieval  # noqa: PLC0415 - loads apsw

    return retrieval.open_index(index)


def open_tracer() -> Tracer | None:
    """Give what makes spans, where an OpenTelemetry SDK is set up; ``None`` costs nothing."""
    if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        return None
    from treadle.tracing import detect  # noqa: PLC0415 - loads on first use

    return detect.open_tracer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model a name came to, and why.

    Attributes:
        source: What decided it, such as ``"OPENAI_API_KEY"``.
        is_rehearsal: Whether it is the module's scripted model and no real one.
    """

    model: Model
    source: str
    is_rehearsal: bool = False

    @property
    def line(self) -> str:
        """One line for people: the model taken and why."""
        if self.is_rehearsal:
            return f"rehearsal: no model is configured, so the scripted model {self.model.name!r} answers"
        return f"model {self.model.name!r} of {self.model.provider}, from {self.source}"


def check_model(name: str) -> None:
    """Tell whether a model's name has a form that this release knows, and a local one's file is there.

    Nothing is loaded or sent.

    Raises:
        ConfigurationError: It has not; the text says what to write.
    """
    complaint = model_complaint(name) or weights.complaint_of(name)
    if complaint:
        raise ConfigurationError(complaint)


def resolve_model(name: str, *, rehearsal: object | None = None) -> Model:
    """Give the model behind a name; see ``choose_model``."""
    return choose_model(name, rehearsal=rehearsal).model


def choose_model(name: str, *, rehearsal: object | None = None, probe: bool = True) -> ModelChoice:
    """Give the model behind a name, and say what decided it.

    ``"openai:NAME"`` is that model by Chat Completions, ``"openai-responses:NAME"`` by Responses, at
    ``OPENAI_BASE_URL`` where it is set; ``"anthropic:NAME"`` at ``ANTHROPIC_BASE_URL``; ``"local:PATH"``
    that GGUF file, served by a process of this machine.  ``"auto"`` and ``"auto:small"`` take the
    first that is configured: ``OPENAI_API_KEY``, ``ANTHROPIC_API_KEY``, ``OPENAI_BASE_URL``, a server on
    a usual loopback port of this machine, ``TREADLE_LOCAL_MODEL`` (a path), the rehearsal.
    It may block for 0.2 s while it looks for local servers.  Each call makes a new model with
    connections of its own: keep it, and close it with ``aclose()``.

    Args:
        name: The declared name.
        rehearsal: A module's scripted model; it is served over loopback HTTP in OpenAI's wire
            format, by one server for each process.
        probe: Whether to look for local servers; an empty ``TREADLE_LOCAL_PORTS`` says no, too.

    Raises:
        ConfigurationError: The name has no known form, or nothing is configured.
    """
    check_model(name)
    if name not in AUTO:
        return ModelChoice(model=_named(name), source=f"the name {name!r}")
    wanted = _wanted(name)
    if wanted.partition(":")[0] in INTERFACES and ":" in wanted:
        return choose_model(wanted)
    choice = _configured(name, wanted) or (_local(wanted) if probe else None) or _from_file()
    if choice is None and rehearsal is not None:
        return _rehearse(rehearsal)
    if choice is None:
        raise ConfigurationError(_NOTHING.format(name=name))
    return choice


AUTO: Final[dict[str, str]] = dict(zip(AUTOMATIC, ("TREADLE_MODEL", "TREADLE_MODEL_SMALL"), strict=True))
"""The names that leave the choice to what is configured, and the variable that overrides each."""

_NOTHING: Final = (
    "no model is configured for {name!r}; do one of these: set OPENAI_API_KEY or ANTHROPIC_API_KEY; set "
    "OPENAI_BASE_URL to a compatible server (and TREADLE_MODEL to a model of it); start a local server on "
    "port 11434, 8080, 1234 or 8000; set TREADLE_LOCAL_MODEL to a GGUF file; name one: model='openai:NAME', "
    "'anthropic:NAME' or 'local:PATH'; or define rehearsal = ScriptedModel(...) in the graph's module"
)


def _named(name: str) -> Model:
    """The model of a full name; each interface loads on first use."""
    interface, _, model = name.partition(":")
    if interface == "anthropic":
        from treadle.providers.anthropic import AnthropicModel  # noqa: PLC0415 - loads on first use

        return AnthropicModel(model)
    if interface == "openai-responses":
        from treadle.providers.openai_responses import OpenAIResponsesModel  # noqa: PLC0415 - the same

        return OpenAIResponsesModel(model)
    if interface == "local":
        from treadle.providers.local import LocalModel  # noqa: PLC0415 - the same

        return LocalModel(model)
    from treadle.providers.openai import OpenAIModel  # noqa: PLC0415 - the same

    return OpenAIModel(model)


def _wanted(name: str) -> str:
    """The user's own name for ``auto`` or ``auto:small``; a small model is not a large one's stand-in."""
    return os.environ.get(AUTO[name], "").strip()


def _configured(name: str, wanted: str) -> ModelChoice | None:
    from treadle.providers import names, probe  # noqa: PLC0415 - loads on first use
    from treadle.providers.openai import OpenAIModel  # noqa: PLC0415 - loads on first use

    url = os.environ.get("OPENAI_BASE_URL", "").strip()
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and os.environ.get("ANTHROPIC_API_KEY", "").strip():
        from treadle.providers.anthropic import AnthropicModel  # noqa: PLC0415 - loads on first use

        chosen = AnthropicModel(wanted or names.ANTHROPIC[name])
        return ModelChoice(model=chosen, source="ANTHROPIC_API_KEY")
    if not url and not key:
        return None
    source = "OPENAI_API_KEY" if key else "OPENAI_BASE_URL"
    if not url or names.is_openai(url):
        return ModelChoice(model=OpenAIModel(wanted or names.OPENAI[name]), source=source)
    listed = wanted or probe.first_model(url, api_key=key, timeout=5.0)
    told = names.without_password(url)
    if not listed:
        raise ConfigurationError(
            f"OPENAI_BASE_URL={told!r} does not list its models; set {AUTO[name]} to the name of one"
        )
    return ModelChoice(model=OpenAIModel(listed), source=f"OPENAI_BASE_URL={told}")


def _local(wanted: str) -> ModelChoice | None:
    from treadle.providers import probe  # noqa: PLC0415 - loads on first use
    from treadle.providers.openai import OpenAIModel  # noqa: PLC0415 - loads on first use

    found = probe.local_server(probe.local_ports())
    if found is None:
        return None
    url, first = found
    model = OpenAIModel(wanted or first, base_url=url)
    return ModelChoice(model=model, source=f"the local server at {url}")


def _from_file() -> ModelChoice | None:
    path = os.environ.get("TREADLE_LOCAL_MODEL", "").strip().removeprefix("local:")
    if not path:
        return None
    check_model(f"local:{path}")
    return ModelChoice(model=_named(f"local:{path}"), source="TREADLE_LOCAL_MODEL")


_served: Final[dict[int, tuple[object, str]]] = {}  # rehearsals by id, with their URLs
_serving: Final = threading.Lock()


def _rehearse(rehearsal: object) -> ModelChoice:
    from treadle.providers.openai import OpenAIModel  # noqa: PLC0415 - loads on first use
    from treadle.providers.serving import ModelServer  # noqa: PLC0415 - loads on first use

    if not isinstance(rehearsal, Model):
        raise ConfigurationError(
            f"rehearsal = {rehearsal!r} is not a model; write rehearsal = treadle.testing.ScriptedModel(...)"
        )
    with _serving:
        if id(rehearsal) not in _served:  # the object is kept, so its id is not given to another
            _served[id(rehearsal)] = (rehearsal, ModelServer(rehearsal).start().url)
        url = _served[id(rehearsal)][1]
    model = OpenAIModel(rehearsal.name, base_url=url, api_key="rehearsal", price=rehearsal.price)
    return ModelChoice(model=model, source="the module's rehearsal", is_rehearsal=True)
