"""The played laboratory: its tables are read as they are, and name its pictures."""

import runpy
import sys
from pathlib import Path

from hf_alignet.images.opening import load_images
from hf_alignet.judgments import image_names, load_judgments

FOLDER = Path(__file__).parents[2] / "recipes" / "own-study"


def test_tables_are_read_without_editing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--output_dir", str(tmp_path)])
    runpy.run_path(str(FOLDER / "prepare.py"), run_name="__main__")
    line = next(
        row for row in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if row.startswith("COLUMNS=")
    )
    columns = line.removeprefix("COLUMNS=").strip('"')
    names = image_names(load_images(str(tmp_path / "pictures")))
    assert len(names) == 180
    for file, choices, people in (("erste Welle", 2942, 20), ("zweite Welle", 1958, 10)):
        judgments = load_judgments(str(tmp_path / f"{file}.csv"), names, columns=columns)["train"]
        assert len(judgments) == choices and len(set(judgments["participant"][:])) == people
        assert 2 < sorted(judgments["rt"][:])[choices // 2] < 2.5
    assert len({row for triplet in judgments["triplet"][:] for row in triplet}) == 180
