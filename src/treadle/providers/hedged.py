"""``Hedged``: a model whose slow requests are sent a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle import given, weights
from treadle.budget import Price
from treadle.errors import ConfigurationError
from treadle.interfaces import Model
from treadle.messages import Message, ModelRequest, ModelResponse, model_complaint


class Hedged:
    """A model, and after how long a request that is still without an answer is sent a second time.

    The engine does that, so that both requests are held, recorded and charged; asked directly, it is
    the model inside.  In plans and identities it is that model, too: a run goes on, with what it has
    finished, where a model is hedged from now on.

    Attributes:
        hedged: The model: a name, or an object.
        hedge_after: Seconds.
    """

    def __init__(self, model: str | Model, *, after: float | str) -> None:
        complaint = model_complaint(model)
        if complaint or isinstance(model, Hedged):
            raise ConfigurationError(complaint or f"{model!r} is hedged already; hedge a model once")
        self.hedged: Final = model
        self.hedge_after: Final = given.seconds("hedge", "after", after)

    def __repr__(self) -> str:
        return f"hedge({self.hedged!r}, after={self.hedge_after:g})"

    @property
    def declared(self) -> str:
        """What the model is called in plans."""
        model = self.hedged
        return model if isinstance(model, str) else f"{model.provider}:{model.name}"

    @property
    def complaint(self) -> str:
        """What keeps the model from being asked on this machine, or nothing."""
        model = self.hedged
        return weights.complaint_of(model) if isinstance(model, str) else getattr(model, "complaint", "")

    @property
    def name(self) -> str:
        """That of the model."""
        return self.declared.partition(":")[2] or self.declared

    @property
    def provider(self) -> str:
        """That of the model; of a name, what stands before the colon."""
        return self.declared.partition(":")[0]

    @property
    def price(self) -> Price | None:
        """That of the model, for each request."""
        return None if isinstance(self.hedged, str) else self.hedged.price

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Send one request to the model.

        Raises:
            ProviderError: As the model's.
            ConfigurationError: The model is a name, which an engine alone looks up.
        """
        return await self._object().complete(request)

    def input_bound(self, messages: Sequence[Message], request: ModelRequest) -> int | None:
        """That of the model.

        Raises:
            ConfigurationError: The model is a name, which an engine alone looks up.
        """
        return self._object().input_bound(messages, request)

    def _object(self) -> Model:
        if isinstance(self.hedged, str):
            raise ConfigurationError(
                f"hedge({self.hedged!r}, ...) is looked up by an engine; to ask it yourself, hedge an object"
            )
        return self.hedged


@given.told("hedge")
def hedge(model: str | Model, *, after: float | str) -> Model:
    """Give a model whose requests are sent a second time where the first takes long.

    Whichever answers first is taken; the other is cancelled, and charged what was held for it, because
    nobody can tell what the provider has made of it.  The second is sent only where nothing has to
    give way to it: its worst case fits every budget beside the first, a permit lies free, and the
    model's circuit is closed.  A request that fails is not helped by it: that is what ``Retry`` is for.

    Args:
        model: A name, or a model object.
        after: From when on, after the first was sent: seconds, or text such as ``"2s"``.  Take what
            nineteen of twenty requests stay under, so that few are sent twice.

    Raises:
        ConfigurationError: It is no model, its name has no known form, it is hedged already, or
            ``after`` is no length of time.

    Example:
        >>> hedge("openai:gpt-6-luna", after="2s")
        hedge('openai:gpt-6-luna', after=2)
    """
    return Hedged(model, after=after)
