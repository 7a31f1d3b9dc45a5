"""Scripts of recipes as modules, for tests of their functions."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "recipes"


def load_script(file: Path) -> ModuleType:
    """A script as a module, with its folder on the path while it loads, as when it runs."""
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}/{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    path = [*sys.path]
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module
