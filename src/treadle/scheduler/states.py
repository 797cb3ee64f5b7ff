"""The states of a vertex, and the moves between them: the table that the page on the scheduler draws.

A vertex is a node of a part's plan, or the part's result.  Tests watch that no other move is ever made,
and that each of these is.
"""

from __future__ import annotations

from typing import Final

IDLE, WAITING, DECIDING, RUNNING, PARKED, CANCELLING, OPEN, DONE, FAILED = range(9)
NAMES: Final = ("idle", "waiting", "deciding", "running", "parked", "cancelling", "open", "done", "failed")

MEANINGS: Final = {
    IDLE: "nobody needs it, or the run is ending",
    WAITING: "somebody needs it; what it needs is not there yet",
    DECIDING: "a choice, a read, the length of a list or the end of a loop is being computed on values",
    RUNNING: "an attempt has been asked for; it may be running, or waiting for the end of a backoff",
    PARKED: "its attempt waits for people, and has left memory",
    CANCELLING: "its attempt is being cancelled, or settles an effect in doubt before it is",
    OPEN: "items of its `each`, or a round of its `loop`, are under way",
    DONE: "its result is recorded",
    FAILED: "it failed, or what it counts on did",
}

MOVES: Final = (
    (IDLE, WAITING, "needed"),
    (IDLE, RUNNING, "needed again by the time its attempt was cancelled"),
    (IDLE, CANCELLING, "the run is resumed after its failure, and an effect in it may be in doubt"),
    (WAITING, RUNNING, "inputs are there"),
    (WAITING, DECIDING, "inputs, or a subject, are there"),
    (WAITING, OPEN, "the list, or the start, is there"),
    (WAITING, DONE, "what it joins is there"),
    (WAITING, FAILED, "what it counts on has failed"),
    (WAITING, IDLE, "not needed any more"),
    (DECIDING, WAITING, "a case is chosen"),
    (DECIDING, OPEN, "the list has items; another round is needed"),
    (DECIDING, DONE, "computed"),
    (DECIDING, FAILED, "a read found nothing, no case fits, a loop is at its limit"),
    (DECIDING, IDLE, "not needed any more"),
    (OPEN, DONE, "all items have ended"),
    (OPEN, DECIDING, "a round has ended"),
    (OPEN, FAILED, "an item failed that nobody takes"),
    (OPEN, IDLE, "not needed any more"),
    (RUNNING, DONE, "NodeCompleted"),
    (RUNNING, RUNNING, "AttemptFailed, and another try is granted"),
    (RUNNING, FAILED, "AttemptFailed"),
    (RUNNING, PARKED, "AttemptParked"),
    (RUNNING, CANCELLING, "not needed any more"),
    (RUNNING, IDLE, "AttemptCancelled, or parked in a run that ends"),
    (PARKED, RUNNING, "QuestionAnswered"),
    (PARKED, IDLE, "not needed any more"),
    (PARKED, CANCELLING, "an answer about an effect in doubt; not needed any more"),
    (CANCELLING, IDLE, "AttemptCancelled"),
    (CANCELLING, DONE, "NodeCompleted all the same"),
    (CANCELLING, FAILED, "AttemptFailed, and needed again"),
    (CANCELLING, PARKED, "AttemptParked, over an effect in doubt"),
    (FAILED, IDLE, "the run is resumed after its failure"),
)
"""From one state to another, and why; the order of the states."""
