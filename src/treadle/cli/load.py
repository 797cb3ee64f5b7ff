"""The user's file as a module, and the graphs in it."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from treadle.errors import ConfigurationError, TreadleError, WiringError, nearest
from treadle.nodes.graph import Graph
from treadle.plan.plan import Plan

AnyGraph = Graph[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A user's file.

    Attributes:
        graphs: The graphs in it by name, in the order of the file.
        rehearsal: The model that answers where none is configured, or ``None``.
    """

    path: Path
    graphs: dict[str, AnyGraph]
    rehearsal: object | None


def load_file(path: Path) -> Loaded:
    """Run a file as a module, with its directory at the front of ``sys.path``.

    Raises:
        ConfigurationError: There is no such file, it fails, or there is no graph in it.
    """
    module = _module(_existing(path))
    found: dict[str, AnyGraph] = {}
    for value in vars(module).values():
        if isinstance(value, Graph):
            graph = cast("AnyGraph", value)
            found.setdefault(graph.name, graph)
    own = {name: graph for name, graph in found.items() if graph.__module__ == module.__name__}
    if not found:
        raise ConfigurationError(f"there is no graph in {path}; declare one with @graph")
    return Loaded(path=path, graphs=own or found, rehearsal=getattr(module, "rehearsal", None))


def load_graph(reference: str) -> tuple[Loaded, AnyGraph]:
    """Give the graph that ``FILE`` or ``FILE:name`` names.

    Without a name it is the only graph of the file, or the only one that no other graph of it uses.

    Raises:
        ConfigurationError: It is not found, or there are several to choose from.
        WiringError, PlanError: It cannot be wired.
    """
    file, name = split_reference(reference)
    loaded = load_file(Path(file))
    if name:
        return loaded, _wired(named_graphs(loaded, name)[name])
    outermost = _outermost(loaded.graphs)
    if len(outermost) != 1:
        first, known = next(iter(outermost or loaded.graphs)), ", ".join(loaded.graphs)
        raise ConfigurationError(
            f"{file} has several graphs; name one, as in {file}:{first} (it has {known})"
        )
    return loaded, _wired(loaded.graphs[outermost[0]])


def _wired(graph: AnyGraph) -> AnyGraph:
    wire(graph)
    return graph


def wire(graph: AnyGraph) -> Plan:
    """Give the plan of a graph.

    Raises:
        PlanError, WiringError: It is wrong.
        WiringError: It gives something that is not what is wanted, or its function raised something else;
            the text says at which line.
    """
    try:
        return graph.plan
    except ConfigurationError as error:
        raise WiringError(f"{_line_of(graph, error)}: {error}") from error
    except TreadleError:
        raise
    except Exception as error:
        line = _line_of(graph, error)
        raise WiringError(f"{line}: wiring {graph.name!r} raised {type(error).__name__}: {error}") from error


def _line_of(graph: AnyGraph, error: BaseException) -> str:
    """Where in the file of a graph an error came from."""
    return _line(error, Path(sys.modules[graph.__module__].__file__ or ""))


def split_reference(reference: str) -> tuple[str, str]:
    """Take ``FILE`` or ``FILE:GRAPH`` apart; the graph is ``""`` where none is named."""
    if Path(reference).exists():
        return reference, ""
    file, _, name = reference.partition(":")
    return file, name


def named_graphs(loaded: Loaded, name: str) -> dict[str, AnyGraph]:
    """Give the graph of a file that was named; all of them where none was.

    Raises:
        ConfigurationError: There is no such graph in it.
    """
    if name and name not in loaded.graphs:
        hint, known = nearest(name, loaded.graphs), ", ".join(loaded.graphs)
        raise ConfigurationError(f"there is no graph {name!r} in {loaded.path.name}{hint}; it has {known}")
    return {name: loaded.graphs[name]} if name else loaded.graphs


def project_files(file: Path | None) -> list[Path]:
    """Give the file that was named, else those of ``[tool.treadle] graphs`` in ``pyproject.toml``.

    Raises:
        ConfigurationError: Neither is there.
    """
    if file is not None:
        return [file]
    settings = Path("pyproject.toml")
    table: dict[str, Any] = {}
    if settings.exists():
        try:
            table = tomllib.loads(settings.read_text(encoding="utf-8")).get("tool", {}).get("treadle", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{settings} cannot be read: {error}") from error
    named: list[object] = table.get("graphs") or []
    if not named:
        raise ConfigurationError(
            "no file with graphs was named; write it behind the command, or list it in pyproject.toml:\n"
            '  [tool.treadle]\n  graphs = ["examples/support.py"]'
        )
    return [Path(str(one)) for one in named]


def _outermost(graphs: dict[str, AnyGraph]) -> list[str]:
    if len(graphs) == 1:
        return list(graphs)
    plans = [wire(graph) for graph in graphs.values()]
    used = {scope.graph for plan in plans for scope in plan.scopes}
    used |= {node.body.name for plan in plans for node in plan.all_nodes() if node.body is not None}
    return [name for name in graphs if name not in used]


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    folder = path if path.is_dir() else path.parent
    known = [str(one) for one in folder.glob("*.py") if one.is_file()] if folder.is_dir() else []
    if path.is_dir():
        some = f" such as {min(known)}" if known else ""
        raise ConfigurationError(f"{str(path)!r} is a directory; name a file with graphs{some}")
    raise ConfigurationError(
        f"there is no file {str(path)!r}{nearest(str(path), known) or '; name a Python file with graphs'}"
    )


def _module(path: Path) -> ModuleType:
    """Import a file under its own name, or under another where that name is taken."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or not _leads_to(name, path):
        name = f"{name}_file"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _execute(spec.loader.exec_module, module, path)
    return module


def _leads_to(name: str, path: Path) -> bool:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    return spec is not None and spec.origin == str(path)


def _execute(execute: Any, module: ModuleType, path: Path) -> None:
    try:
        execute(module)
    except ConfigurationError as error:
        raise ConfigurationError(f"{_line(error, path)}: {error}") from error
    except (TreadleError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}" if error.filename else str(path)
        raise ConfigurationError(f"{where}: {error.msg}") from error
    except SystemExit as error:
        why = f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
        raise ConfigurationError(f"{_line(error, path)}: importing it ends the process: {why}") from error
    except Exception as error:
        line = _line(error, path)
        raise ConfigurationError(f"{line}: importing it raised {type(error).__name__}: {error}") from error


def _line(error: BaseException, path: Path) -> str:
    """Where in the user's file an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)
