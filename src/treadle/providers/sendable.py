"""What of a conversation an interface takes: everything goes out, or the request is refused before it does.

Nothing of a message is left out in silence, but what another provider's model kept for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.errors import RequestRejected
from treadle.messages import Message, Opaque, Part

PLACES: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset({"text", "cache_point"}),
    "user": frozenset({"text", "image", "document", "opaque", "cache_point"}),
    "assistant": frozenset({"text", "tool_call", "refusal", "reasoning", "opaque", "cache_point"}),
    "tool": frozenset({"tool_result", "cache_point"}),
}
"""The kinds of parts that a message of each role may hold, at every interface."""


def check_places(messages: Sequence[Message], interface: str) -> None:
    """Make sure that each part of a conversation stands where it can be sent from.

    Raises:
        RequestRejected: One does not.
    """
    for message in messages:
        allowed = PLACES[message.role]
        for part in message.parts:
            if part.kind not in allowed:
                raise unsendable(_misplaced(part, message.role), interface, _home(part))


def _misplaced(part: Part, role: str) -> str:
    return f"a part of kind {part.kind!r} in a message of the role {role!r}"


def _home(part: Part) -> str:
    home = next(role for role, allowed in PLACES.items() if part.kind in allowed)
    return f"put it into a message of the role {home!r}"


def unsendable(what: str, interface: str, mend: str) -> RequestRejected:
    """The error for a part of a message that an interface has no form for; nothing was sent."""
    return RequestRejected(
        f"{what} cannot be sent to {interface}; {mend}", provider=interface.partition("-")[0], sent=False
    )


def short_id(given: str, most: int | None) -> str:
    """The id of a call as an interface takes it that allows so many characters, or any number: a longer
    one, of another provider, is replaced by a digest, the same for the call and for its result."""
    if most is None or len(given) <= most:
        return given
    return f"call_{hashlib.sha256(given.encode()).hexdigest()[: most - 5]}"


def own_part(part: Opaque, interface: str) -> dict[str, Any]:
    """A part in the words of one interface, in a message of the user's.

    Raises:
        RequestRejected: It is for another interface.
    """
    if part.provider == interface:
        return part.content
    what = f"a part of kind {part.content.get('type', 'unknown')!r} from {part.provider}"
    raise unsendable(what, interface, "leave it out of the conversation")
