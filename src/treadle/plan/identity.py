"""What a graph function asks by ``is``: Python lets no object see that, so the source is looked at.

``note is None`` on a stand-in is false whatever a run will give, and the branch is the same for ever.
Only what is certain is told: the name is a parameter that was given a stand-in, or it is assigned once,
from the call of a node; it is read in the function itself and not in one inside it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import opcode
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Final

from treadle.plan.ref import StandIn

_BY_IDENTITY: Final = frozenset(
    code for name, code in opcode.opmap.items() if name == "IS_OP" or name.endswith(("_IF_NONE", "_NOT_NONE"))
)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)

_NONE: Final = "write when(is_none(x), ..., ...) to choose by it, or some(x) to go on with what is there"
_CLASS: Final = "write match(x, {Class: ...}) to choose by class, or narrow(x, Class) to go on with one"
_VALUE: Final = "write when(x == ..., ..., ...) to choose by it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One comparison by ``is``.

    Attributes:
        name: What it asks about: a parameter, or a local name.
        made_by: The dotted name whose call the local name is assigned from; empty for a parameter.
        text: The comparison as it is written.
        mend: What to write for it.
    """

    name: str
    made_by: tuple[str, ...]
    line: int
    text: str
    mend: str


def always_the_same(function: object, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give place and text of each comparison by ``is`` that a graph function makes of a stand-in.

    Args:
        function: The graph function; what has no source goes without a word.
        values: What it is called with.
    """
    if not isinstance(function, FunctionType):
        return
    for one in _questions(function.__code__):
        if one.made_by:
            is_asked = _is_node(_found(function, one.made_by))
        else:
            is_asked = type(values.get(one.name)) is StandIn
        if is_asked:
            text = f"`{one.text}` is always the same while the graph is wired, whatever the value will be"
            yield f"{function.__code__.co_filename}:{one.line}", f"{text}; {one.mend}"


@functools.lru_cache(maxsize=1024)
def _questions(code: CodeType) -> tuple[Question, ...]:
    if _BY_IDENTITY.isdisjoint(code.co_code[::2]):
        return ()
    try:
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError):
        return ()
    body = tree.body[0]
    if not isinstance(body, ast.FunctionDef) or body.name != code.co_name:
        return ()
    return tuple(_read(body, first - 1))


def _read(function: ast.FunctionDef, above: int) -> Iterator[Question]:
    nodes = [node for statement in function.body for node in _own(statement)]
    known = _known(function, nodes)
    for node in nodes:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            continue
        asked = _asked(node)
        if asked is not None and asked[0] in known:
            name, mend = asked
            yield Question(
                name=name, made_by=known[name], line=above + node.lineno, text=ast.unparse(node), mend=mend
            )  # fmt: skip


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all inside it that belongs to the same function."""
    yield node
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _own(child)


def _known(function: ast.FunctionDef, nodes: list[ast.AST]) -> dict[str, tuple[str, ...]]:
    """The names that stand for one thing all through the function, and whose call made them."""
    every = function.args
    known: dict[str, tuple[str, ...]] = {
        one.arg: () for one in (*every.posonlyargs, *every.args, *every.kwonlyargs)
    }
    bound = [node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    for field in ("name", "asname"):  # of `except ... as`, `case ... as`, `import ... as`, `def`
        bound += [str(getattr(node, field, None)) for node in nodes]
    elsewhere = {name for node in ast.walk(function) if isinstance(node, ast.Nonlocal) for name in node.names}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            made_by = _dotted(node.value.func) if isinstance(node.value, ast.Call) else ()
            name = node.targets[0].id
            if made_by and name not in known and bound.count(name) == 1:
                known[name] = made_by
    own = {name for name, made_by in known.items() if made_by}
    return {
        name: made_by
        for name, made_by in known.items()
        if name not in elsewhere and (name in own or name not in bound) and made_by[:1] != (name,)
    }


def _asked(node: ast.Compare) -> tuple[str, str] | None:
    """The name that a comparison by ``is`` looks at, and what to write for it."""
    left, right = node.left, node.comparators[0]
    if not isinstance(node.ops[0], ast.Is | ast.IsNot):
        return None
    if isinstance(left, ast.Call):
        is_type = isinstance(left.func, ast.Name) and left.func.id == "type" and len(left.args) == 1
        name = _root(left.args[0]) if is_type else ""
        return (name, _CLASS) if name else None
    name = _root(left)
    if not name or not isinstance(right, ast.Constant):
        return None
    return name, _NONE if right.value is None else _VALUE


def _root(node: ast.AST) -> str:
    """The name that a chain of reads begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else ()
    return (*before, node.attr) if before and isinstance(node, ast.Attribute) else ()


def _found(function: FunctionType, path: tuple[str, ...]) -> object:
    """What a dotted name stands for in a function; attributes are read of modules alone."""
    first, *rest = path
    if first in function.__code__.co_freevars:
        cell = (function.__closure__ or ())[function.__code__.co_freevars.index(first)]
        try:
            found: object = cell.cell_contents
        except ValueError:  # not bound yet
            return None
    else:
        found = function.__globals__.get(first)
    for name in rest:
        found = vars(found).get(name) if isinstance(found, ModuleType) else None
    return found


def _is_node(found: object) -> bool:
    """Whether its call gives a stand-in: a graph may give a constant."""
    return hasattr(type(found), "settings") and hasattr(type(found), "resolved")
