"""Asking people: questions that survive the process, answers checked against their type."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ValidationError

from treadle.engine.body import Body, Call
from treadle.engine.failures import storable
from treadle.engine.live import Live
from treadle.engine.records import AttemptRecords
from treadle.engine.requests import pack_arguments
from treadle.engine.uncertain import refuse
from treadle.errors import Ambiguity, NodeTimeout, PlanError
from treadle.events import QuestionAnswered, QuestionAsked, StepFailed
from treadle.ids import NodeId, QuestionId, StepId, named_before, question_id
from treadle.interfaces.storage import ENDED, NOT_FOUND_OUT
from treadle.values import JSON, Codec, Payload, canonical, codec, digest


class Question(Protocol):
    """What a body asks: filled in by ``@human``, or given to ``ctx.ask``."""

    @property
    def prompt(self) -> str: ...

    @property
    def show(self) -> object: ...

    @property
    def to(self) -> str: ...

    @property
    def within(self) -> float | None: ...

    @property
    def codec(self) -> Codec[Any] | None: ...


class Asker(Protocol):
    """The attempt that asks.

    Attributes:
        questions: What its calls wait for.
    """

    live: Live
    node: NodeId
    number: int
    records: AttemptRecords
    questions: set[QuestionId]

    @property
    def is_unwound(self) -> bool:
        """Whether it is being taken out of memory to wait."""
        ...

    async def wait_for_people(self) -> None:
        """Return when something changed: an answer came, or another call ended."""
        ...


class DoubtAnswer(BaseModel):
    """What a person says about a call in doubt.

    Attributes:
        outcome: ``"happened"``: it is done, and ``result`` is what it gave; ``"did_not_happen"``: it
            fails; ``"run_again"``: it is made again, under the same idempotency key.
    """

    outcome: Literal["happened", "did_not_happen", "run_again"]
    result: Any = None


_DOUBT: Final = codec(DoubtAnswer)


async def ask(calls: Asker, body: Body, question: Question) -> Any:
    """Ask a person, or give the answer that is there already.

    Raises:
        PlanError: The body, or one around it, may not be repeated, so it cannot be unwound to wait.
    """
    if body.is_once:
        raise PlanError(
            f"node {calls.node!r} asks a person inside a call declared effect='once'; such a body would run "
            "again on the answer: ask in a node before it, and pass the answer in"
        )
    reader = question.codec
    if reader is None:
        raise PlanError(f"the question in node {calls.node!r} has no answer type; write Ask(..., answer=T)")
    if not question.to:
        raise PlanError(f"the question in node {calls.node!r} is to nobody; write Ask(..., to='a-person')")
    now = calls.live.now()
    schema = _form(reader)
    shown = None if question.show is None else codec(type(question.show)).pack(question.show)
    prompt = storable(question.prompt)
    content = [question.to, prompt, "" if shown is None else shown.digest, schema.digest]
    asked = QuestionAsked(
        at=now,
        node=calls.node,
        attempt=calls.number,
        step=body.numbered(f"ask#{digest(canonical(content))[:10]}"),  # whatever order they are asked in
        question=QuestionId(""),
        to=question.to,
        prompt=prompt,
        schema=schema,
        shown=shown,
        deadline=None if question.within is None else now + question.within,
    )
    return await _answer(calls, body, _identified(calls, body, asked), reader.unpack)


def _identified(calls: Asker, body: Body, asked: QuestionAsked) -> QuestionAsked:
    """Give a question its id: that of an answer of an earlier plan, where the call takes one.

    Raises:
        AmbiguousHistory: Under an edited plan it is not certain whose answer this is.
    """
    live, former = calls.live, calls.live.claims.former
    if live.claims.site is None:
        return replace(asked, question=_identify(live, asked))
    ids = (_identify(live, asked, count) for count in itertools.count())
    known = list(itertools.takewhile(lambda question: live.questions.asked(question) is not None, ids))
    now = next((question for question in known if former.is_asked_now(question)), None)
    if now is not None:
        return replace(asked, question=now)
    call = body.identity if body.path else live.claims.site.identity(calls.node)
    found = former.find(live.claims, live.questions.answer, asked, call)
    if isinstance(found, Ambiguity):
        refuse(found)
    mine = (one for one in known if former.stays(live.claims, replace(asked, question=one)))
    new = _identify(live, asked, len(known))
    asked = replace(asked, question=next(mine, new))
    if found is None:
        return asked
    answer = live.questions.answer(found.asked.question)
    if found.asked.question == asked.question:
        former.take_home(asked.question, calls.node)
    elif answer is not None:
        _take_over(live, replace(asked, question=new), found.asked, answer)
        return replace(asked, question=new)
    return asked


def _take_over(live: Live, asked: QuestionAsked, former: QuestionAsked, answer: QuestionAnswered) -> None:
    """Let an answer that was given to a question of an earlier plan be the answer to this one."""
    asked = replace(asked, at=former.at, opening=former.opening, deadline=None, former=former.question)
    live.record(asked)
    live.claims.former.see(asked)
    answered = replace(answer, node=asked.node, question=asked.question, opening=asked.opening)
    live.claims.former.see(answered)
    live.questions.see(answered)
    live.histories.see(answered)
    live.feed(answered)


async def ask_about_doubt(calls: Asker, call: Call) -> DoubtAnswer:
    """Ask whether a call in doubt happened; an answer that had it run again holds for that one time."""
    asked = _doubt_of(calls, call)
    call.asks = True
    try:
        answer: DoubtAnswer = await _answer(
            calls, call.body, asked, functools.partial(_read_doubt, call), after=call.again
        )
    finally:
        call.asks = False
    if answer.outcome == "run_again":
        opened = calls.live.questions.asked(asked.question)
        call.again = 1 if opened is None else opened.opening
    return answer


def said_about_doubt(calls: Asker, call: Call) -> DoubtAnswer | None:
    """What a person has said already about a call in doubt; it is made again by no answer twice."""
    answer = calls.live.questions.answer(_doubt_of(calls, call).question)
    if answer is None or answer.opening <= call.again:
        return None
    return _read_doubt(call, answer.value)


def read_doubt(payload: Payload) -> DoubtAnswer:
    """Read what a person said; ``result`` is plain JSON data."""
    answer: DoubtAnswer = _DOUBT.decode(payload.data)
    return answer


def _read_doubt(call: Call, payload: Payload) -> DoubtAnswer:
    answer = read_doubt(payload)
    if answer.outcome == "happened":
        answer.result = call.callee.result.decode(canonical(payload.json().get("result")))
    return answer


def _cause(calls: Asker, call: Call) -> str:
    """What is known of how a call in doubt ended, and why a function could not find out more."""
    record = calls.records.steps.get(call.step)
    if record is None:
        return ""
    ended = record.failure
    known = [] if ended is None else [f"{ENDED}{ended.type}: {ended.message}"]
    if isinstance(record.finding, StepFailed):
        looked = record.finding.failure
        finder = call.callee.policies.in_doubt
        known.append(f"{finder!r}{NOT_FOUND_OUT}{looked.type}: {looked.message}")
    return "; ".join(known)


async def open_doubt(calls: Asker, call: Call) -> bool:
    """Ask about a call in doubt without waiting; tell whether the question is open now."""
    questions, asked = calls.live.questions, _doubt_of(calls, call)
    answer = questions.answer(asked.question)
    if not questions.is_open(asked.question) and (answer is None or answer.opening <= call.again):
        await _open(calls, asked)
    calls.questions.add(asked.question)
    return questions.is_open(asked.question)


def _doubt_of(calls: Asker, call: Call) -> QuestionAsked:
    """The question about a call, with what was said of it at another place in an earlier plan."""
    live, asked = calls.live, _about_doubt(calls, call)
    former = live.claims.former.doubt(call.key)
    if former is None or former == asked.question or live.questions.asked(asked.question) is not None:
        return asked
    answer, before = live.questions.answer(former), live.questions.asked(former)
    if answer is not None and before is not None and answer.opening > call.again:
        _take_over(live, asked, before, answer)
    return asked


def _about_doubt(calls: Asker, call: Call) -> QuestionAsked:
    """The question, known by its first words alone: what came to light since makes no other one of it."""
    asked = QuestionAsked(
        at=calls.live.now(),
        node=calls.node,
        attempt=calls.number,
        step=StepId(f"{call.step}/doubt" if call.step else "doubt"),
        question=QuestionId(""),
        to="operators",
        prompt=f"{call.callee.name!r} in node {calls.node!r} {_UNRECORDED} (idempotency key {call.key})",
        schema=_doubt_form(call.callee.result),
        about="doubt",
        complaint=_cause(calls, call),
    )
    shown = pack_arguments(call.callee, call.arguments)  # what it is known by: its place, not its arguments
    prompt = asked.prompt
    if asked.complaint.startswith(ENDED):
        prompt = prompt.replace(_UNRECORDED, _UNTOLD)
    return replace(asked, question=_identify(calls.live, asked), shown=shown, prompt=prompt)


_UNRECORDED: Final = "began, and nobody recorded how it ended. Did it happen?"
_UNTOLD: Final = "began, and how it ended does not tell whether it happened. Did it?"


@functools.lru_cache(maxsize=1024)
def _form(reader: Codec[Any]) -> Payload:
    """The JSON Schema of an answer, made once: pydantic takes a millisecond."""
    return JSON.pack(reader.schema())


@functools.lru_cache(maxsize=1024)
def _doubt_form(result: Codec[Any]) -> Payload:
    """The JSON Schema of an answer about a call in doubt: what it gave is needed where it happened."""
    given = result.schema()
    named = given.pop("$defs", None)  # references in it start at the root
    forms = [
        _outcome("happened", result=given),
        _outcome("did_not_happen"),
        _outcome("run_again"),
    ]
    return JSON.pack({"anyOf": forms} if named is None else {"anyOf": forms, "$defs": named})


def _outcome(outcome: str, **more: Any) -> dict[str, Any]:
    properties = {"outcome": {"const": outcome}, **more}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _identify(live: Live, asked: QuestionAsked, count: int = 0) -> QuestionId:
    """A question is known by where it is asked and by what is shown: other content is another one.

    Under an edited plan the same name may stand for another place: the count tells their questions apart.
    """
    shown = "" if asked.shown is None else asked.shown.digest
    known_by = [live.run_id, asked.node, asked.step, asked.prompt, shown, asked.schema.digest]
    question = question_id(digest(canonical([*known_by, count] if count else known_by)))
    before = named_before(question)
    return question if live.questions.asked(before) is None else before


async def _answer(
    calls: Asker, body: Body, asked: QuestionAsked, read: Callable[[Payload], Any], *, after: int = 0
) -> Any:
    """Open a question where it is not open yet, and wait for an answer that fits its type.

    Answers to openings up to ``after`` have had their effect already.
    """
    live, questions = calls.live, calls.live.questions
    while True:
        answer, complaint = questions.answer(asked.question), ""
        if asked.about == "answer":
            await body.reach(live.histories.closed.get(asked.question, 0))
        if answer is not None and answer.opening > after:
            try:
                return read(answer.value)
            except ValidationError as error:
                complaint = _complaint(error)
        elif questions.is_late(asked.question, calls.number):
            raise _late(calls, asked)
        with body.asking(), body.activity.waiting():
            await _ask_or_wait(calls, asked, complaint)


async def _ask_or_wait(calls: Asker, asked: QuestionAsked, complaint: str) -> None:
    """Open the question, or wait where it is open; where the attempt is unwound it stays noted."""
    calls.questions.add(asked.question)
    try:
        if calls.live.questions.is_open(asked.question):
            await calls.wait_for_people()
        else:
            await _open(calls, asked, complaint=complaint)
    finally:
        if not calls.is_unwound:
            calls.questions.discard(asked.question)


async def _open(calls: Asker, asked: QuestionAsked, *, complaint: str = "") -> None:
    live = calls.live
    before = live.questions.asked(asked.question)
    opening = 1 if before is None else before.opening + 1
    asked = replace(asked, at=live.now(), opening=opening, complaint=complaint or asked.complaint)
    live.record(asked)
    live.claims.former.see(asked)
    if asked.deadline is not None:
        live.services.watch_deadline(live.run_id, asked.question, asked.deadline)
    await live.log.flush()


def _late(calls: Asker, asked: QuestionAsked) -> NodeTimeout:
    return NodeTimeout(
        f"nobody of {asked.to!r} answered node {calls.node!r} in time (question {asked.question}); give them "
        "longer with within=, or name who comes next: fallback(desk(...), another(...))",
        run_id=calls.live.run_id,
        node=calls.node,
        attempt=calls.number,
    )


def _complaint(error: ValidationError) -> str:
    faults = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, f['loc'])) or 'answer'}: {f['msg']}" for f in faults)
