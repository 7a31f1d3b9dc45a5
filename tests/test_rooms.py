"""The order of the rooms: imports go one way, none is hidden, and no name means two things."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import rooms

PACKAGE = Path(__file__).parents[1] / "hf_alignet"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400


@pytest.fixture(scope="module")
def imports():
    return rooms.read_imports(PACKAGE)


def test_every_module_is_in_a_room(imports):
    assert [module for module in imports[0] if rooms.room_of(module) is None] == []


def test_imports_go_one_way(imports):
    assert rooms.arrows_up(imports[0]) == []
    assert rooms.cycles(imports[0]) == []


def test_no_import_is_hidden(imports):
    assert [place for place in imports[1] if not place.startswith(":")] == []  # the public API is lazy on purpose


def test_no_two_modules_share_a_name():
    names = Counter(file.stem for file in FILES if file.stem != "__init__")
    assert [name for name, number in names.items() if number > 1] == []


def test_no_two_public_classes_share_a_name():
    names = Counter(
        node.name
        for file in FILES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_files_are_short():
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: number for name, number in lines.items() if number > MOST_LINES} == {}
    assert lines["student/trainer.py"] <= 250


def test_flags_stay_in_the_command_line():
    """No other room quotes a flag, or takes what was parsed from flags."""
    flag = re.compile(r"(?<![\w-])--[a-z][a-z_-]+")
    quoted = []
    for file in FILES:
        if "cli" in file.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and flag.search(node.value):
                quoted.append(f"{file.relative_to(PACKAGE)}:{node.lineno}: {flag.search(node.value)[0]}")
    # Options of other programs, in commands that a message names
    options = ("--repo-type", "--revision", "--include", "--exclude", "--delete", "--check")
    assert [place for place in quoted if not place.endswith(options)] == []


def test_the_checker_sees_what_it_should(tmp_path):
    package = tmp_path / "hf_alignet"
    files = {
        "__init__.py": "",
        "errors.py": "",
        "student/__init__.py": "from hf_alignet.student.losses import loss\n",
        "student/losses.py": "from hf_alignet.errors import E\nfrom hf_alignet.teacher.vice import V\nloss = 1\n",
        "teacher/__init__.py": "",
        "teacher/vice.py": "from hf_alignet.student import loss\n\n\ndef f():\n    from hf_alignet.errors import E\n",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    imports, hidden = rooms.read_imports(package)
    assert imports["teacher.vice"] == {"student.losses", "errors"}  # through the room's face
    assert rooms.arrows_up(imports) == ["teacher.vice -> student.losses"]
    assert rooms.cycles(imports) == [["student.losses", "teacher.vice"]]
    assert hidden == ["teacher.vice:5"]
    assert rooms.walk(imports | {"x": {"teacher.vice"}}, "x", ["errors"]) == {"x", *imports}
    assert rooms.walk({"a": {"b", "c"}, "b": {"d"}, "c": set(), "d": set()}, "a", ["d"]) == {"a", "b", "d"}
