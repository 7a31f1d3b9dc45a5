"""Notebooks run from a clean kernel, at a small size, and what is committed is what they show."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
# The first code cell holds the size, as a reader would change it
SMALL = {"quickstart": "STEPS = 10", "own_images": None, "how_human": "NUMBER = 60"}
LARGEST = 60_000  # bytes of a committed notebook


@pytest.mark.slow
@pytest.mark.multi_process
@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs_from_a_clean_kernel(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    file = ROOT / "recipes" / "notebooks" / f"{name}.ipynb"
    assert file.stat().st_size < LARGEST
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs or "=" in cell.source for cell in code)
    shown = ["text/markdown" in output.get("data", {}) for cell in code for output in cell.outputs]
    assert any(shown), "it is committed without the table that it makes"
    code[0].source = SMALL[name] or code[0].source.replace("80, 4000", "10, 1000")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("text/markdown" in output.get("data", {}) for output in outputs)
    assert not list(tmp_path.iterdir())  # results are in a folder of their own
