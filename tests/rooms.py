"""The rooms of the package and the imports between them, read from the source: run it for a table, as the test does.

    python tests/rooms.py [FOLDER]

FOLDER is the package in a checkout (default: the one here). The order of the rooms is `ORDER`, from the ground up: a
module may import from its own room and from the rooms before it. The walks count the files that one follows from a
start to an end, by the shortest way through the imports.
"""

import ast
from collections import deque
from pathlib import Path

ORDER = (
    *("errors", "metric", "similarity", "storage", "sources"),
    *("hub.rendering", "hub.transport", "hub.cards"),
    *("images", "encoder", "judgments", "triplets", "demo", "teacher", "student", "evaluation", "analysis"),
    *("hub.publish", "workflows", "cli"),
)
# From where one starts to read, to where one wants to get, in this version of the package
WALKS = {
    "an image to the loss": ("cli.align", "student.losses"),
    "a CSV row to the transform": ("cli.fit_teacher", "judgments.own_table"),
    "a model directory to results.json": ("cli.evaluate", "encoder.pretrained"),
    "a folder to the Hub": ("cli.publish", "hub.transport.repository"),
}

Imports = dict[str, set[str]]


def read_imports(package: Path) -> tuple[Imports, list[str]]:
    """What each module imports from the package, without the faces (`__init__`) of rooms; and hidden imports.

    An import from a face is one from the modules that define the names. Hidden are imports in a function, or under
    TYPE_CHECKING.
    """
    files = {_name(file, package): file for file in sorted(package.rglob("*.py"))}
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}
    faces = {name for name, file in files.items() if file.name == "__init__.py"}
    offered = {face: _imported(trees[face], files) for face in faces}
    imports: Imports = {}
    hidden = []
    for name in files.keys() - faces:
        found: set[str] = set()
        for module, symbol in _imported(trees[name], files).values():
            while module in faces and symbol in offered[module]:
                module, symbol = offered[module][symbol]
            found.add(module)
        imports[name] = {module for module in found - faces if module != name}
        top = {id(node) for node in trees[name].body}
        hidden += [
            f"{name}:{node.lineno}"
            for node in ast.walk(trees[name])
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith(package.name)
            and id(node) not in top
        ]
    return imports, hidden


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, files: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """By the name that it gets here: the module that something is imported from, and its name there."""
    package = next(iter(files.values())).parents[0]
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("hf_alignet"):
            continue
        module = (node.module or "").removeprefix("hf_alignet").removeprefix(".")
        for alias in node.names:
            inner = f"{module}.{alias.name}".removeprefix(".")
            found[alias.asname or alias.name] = (inner, "") if inner in files else (module, alias.name)
    del package
    return found


def room_of(module: str) -> str | None:
    """The room of `ORDER` that a module is in; None for one that is in none."""
    return next((room for room in ORDER if module == room or module.startswith(f"{room}.")), None)


def arrows_up(imports: Imports) -> list[str]:
    """Imports from a room that comes later, each as `importer -> imported`."""
    floors = {module: ORDER.index(room) for module in imports if (room := room_of(module)) is not None}
    return [
        f"{module} -> {other}"
        for module, others in sorted(imports.items())
        for other in sorted(others)
        if floors.get(module, -1) < floors.get(other, -1)
    ]


def cycles(imports: Imports) -> list[list[str]]:
    """Groups of modules each of which leads to all others of the group."""
    reached = {module: _reachable(imports, module) for module in imports}
    groups = {
        tuple(sorted(other for other in imports if module in reached[other] and other in reached[module]))
        for module in imports
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reachable(imports: Imports, start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for other in imports.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def walk(imports: Imports, start: str, end: str) -> list[str]:
    """The modules on the shortest way from one to another; empty without one."""
    before: dict[str, str | None] = {start: None}
    queue = deque([start])
    while queue:
        module = queue.popleft()
        if module == end:
            way: list[str] = []
            step: str | None = end
            while step is not None:
                way.append(step)
                step = before[step]
            return way[::-1]
        for other in sorted(imports.get(module, ())):
            if other not in before:
                before[other] = module
                queue.append(other)
    return []
