"""The rooms of the package and the imports between them, read from the source: run it for a table, as the test does.

    python tests/rooms.py [CHECKOUT …]

The order of the rooms is `ORDER`, from the ground up: a module may import from its own room and from the rooms before
it. A walk goes from a script to what does the work; its length is the number of files that lie on any way between the
two through the imports, so of files that one may have to open. With two checkouts the table compares them.
"""

import ast
import sys
from pathlib import Path

ORDER = (
    *("errors", "processes", "ranges", "text_files", "markdown", "metric", "similarity"),
    *("storage", "hub.connection", "sources"),
    *("hub.rendering", "hub.transport", "hub.cards"),
    *("images", "encoder", "judgments", "triplets", "demo", "teacher", "student", "evaluation", "analysis"),
    *("collect", "explore"),
    *("hub.publish", "workflows", "cli"),
)
# From a script in recipes/ to functions and classes, wherever they are defined
WALKS = {
    "an image to the loss": ("align", ("read_pictures", "triplet_kl")),
    "a CSV row to the transform": ("fit_teacher", ("read_own_table", "AffineTeacher", "AffineTransform")),
    "a model directory to results.json": ("evaluate", ("VisionEncoder", "rsa_score", "write_json")),
    "a model directory to the report": ("analyze", ("VisionEncoder", "relation_effects", "write_report")),
    "a model directory to the page in the browser": ("explore", ("VisionEncoder", "odd_one_table", "serve")),
    "pictures to trial sets": ("collect", ("read_pictures", "trial_sets_of")),
    "an answer to a judgment": ("collect", ("store_answer", "judgments_of")),
    "a table of many models to what it tells": ("study", ("VisionEncoder", "u_shape", "write_text")),
    "a folder to the Hub": ("publish", ("check_shareable", "share_folder")),
}

Imports = dict[str, set[str]]


def read_imports(package: Path) -> tuple[Imports, list[str]]:
    """What each module imports from the package, without the faces (`__init__`) of rooms; and hidden imports.

    An import from a face is one from the module that defines the name. Hidden are imports in a function, or under
    TYPE_CHECKING.
    """
    imports: Imports = {}
    hidden = []
    for file in sorted(package.rglob("*.py")):
        tree, name = ast.parse(file.read_text(encoding="utf-8")), _name(file, package)
        if file.name != "__init__.py":
            imports[name] = _targets(tree, package, name)
        top = {id(node) for node in tree.body}
        hidden += [
            f"{name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith(package.name)
            and id(node) not in top
        ]
    return imports, hidden


def _targets(tree: ast.Module, package: Path, name: str) -> set[str]:
    """The modules of the package that a file takes something from, through the faces of rooms."""
    found = set()
    for module, symbol in _imported(tree, package).values():
        face = package / module.replace(".", "/") / "__init__.py"
        while face.is_file():
            offered = _imported(ast.parse(face.read_text(encoding="utf-8")), package)
            if symbol not in offered:
                break
            module, symbol = offered[symbol]
            face = package / module.replace(".", "/") / "__init__.py"
        else:
            found.add(module)
    return found - {name}


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, package: Path) -> dict[str, tuple[str, str]]:
    """By the name that it gets here: the module that something is imported from, and its name there."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(package.name):
            continue
        module = (node.module or "").removeprefix(package.name).removeprefix(".")
        for alias in node.names:
            inner = f"{module}.{alias.name}".removeprefix(".")
            is_module = (package / (inner.replace(".", "/") + ".py")).is_file()
            found[alias.asname or alias.name] = (inner, "") if is_module else (module, alias.name)
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


def walk(imports: Imports, start: str, ends: list[str]) -> set[str]:
    """The modules on any way from one module to others, through the imports."""
    leads = {module: _reachable(imports, module) | {module} for module in imports}
    return {module for module in leads[start] if any(end in leads[module] for end in ends)}


def describe(checkout: Path) -> dict[str, int]:
    """The numbers of the table."""
    package = checkout / "hf_alignet"
    imports, hidden = read_imports(package)
    found = {
        "modules": len(imports),
        "loose modules on the ground floor": sum("." not in module for module in imports),
        "lines": sum(len(file.read_text(encoding="utf-8").splitlines()) for file in package.rglob("*.py")),
        "modules of the same name as another": _namesakes(imports),
        "imports that are hidden": len([place for place in hidden if not place.startswith(":")]),
        "circles": len(cycles(imports)),
        "arrows that go up": len(arrows_up(imports)),
    }
    defined = _definitions(package)
    for what, (script, names) in WALKS.items():
        tree = ast.parse((checkout / "recipes" / f"{script}.py").read_text(encoding="utf-8"))
        with_script = imports | {script: _targets(tree, package, script)}
        found[f"files from {what}"] = len(walk(with_script, script, [defined[name] for name in names]))
    return found


def _namesakes(imports: Imports) -> int:
    names = [module.rpartition(".")[2] for module in imports]
    return sum(names.count(name) > 1 for name in names)


def _definitions(package: Path) -> dict[str, str]:
    """The module of each function and class at the top of a module."""
    return {
        node.name: _name(file, package)
        for file in sorted(package.rglob("*.py"))
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def main() -> None:
    checkouts = [Path(given) for given in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [describe(checkout) for checkout in checkouts]
    print("| | " + " | ".join(checkout.resolve().name for checkout in checkouts) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name in columns[-1]:
        print(f"| {name} | " + " | ".join(str(column[name]) for column in columns) + " |")


if __name__ == "__main__":
    main()
