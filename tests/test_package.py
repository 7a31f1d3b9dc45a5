"""What a user installs: the wheel holds all that the package opens, and names load when they are used."""

import ast
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import hf_alignet
from hf_alignet.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "datasets", "numpy", "peft", "sklearn", "matplotlib", "accelerate", "pandas")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = directory.glob("hf_alignet-*.whl")
    return wheel


def test_wheel_is_complete(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        *("hf_alignet/py.typed", "hf_alignet/demo/NOTICE.md", "hf_alignet/analysis/report.html.jinja"),
        *("hf_alignet/demo/emoji.parquet", "hf_alignet/demo/encoder/model.safetensors"),
        *("hf_alignet/explore/map.js", "hf_alignet/explore/page.css"),
        *(f"hf_alignet/hub/templates/{template.name}" for template in (ROOT / "hub_cards").glob("*.jinja")),
        *(f"hf_alignet/cli/configs/{file.name}" for file in (ROOT / "recipes" / "configs").glob("*.yaml")),
        *(f"hf_alignet/cli/accelerate/{file.name}" for file in (ROOT / "recipes" / "accelerate").glob("*.yaml")),
    }
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "hf_alignet").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == package


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_of_the_installed_wheel_has_the_numbers_of_the_readme(wheel, tmp_path):
    """Outside of any checkout: the packages of this environment, but of ours nothing except the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (scripts,) = (line for line in _metadata(wheel, "entry_points.txt") if line.startswith("hf-alignet"))
    module, _, function = scripts.partition("=")[2].strip().partition(":")
    start = f"import sys; from {module} import {function}; sys.argv = ['hf-alignet', 'demo']; {function}()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads((tmp_path / "outputs" / "demo-aligned" / "results.json").read_text())
    assert results["settings"]["command"] == "hf-alignet demo"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, after in results["aligned"].items():
        variant = name.split("/")[1].replace("_new_concepts", ", new concepts")
        (row,) = (line for line in readme.splitlines() if line.startswith(f"| {variant} |"))
        shown = [cell.strip().replace("*", "") for cell in row.strip("| ").split("|")]
        assert shown[1:4] == [str(after["n"]), _cell(results["base"][name]), _cell(after)]


def _metadata(wheel: Path, name: str) -> list[str]:
    archive = zipfile.ZipFile(wheel)
    (entry,) = (entry for entry in archive.namelist() if entry.endswith(f".dist-info/{name}"))
    return archive.read(entry).decode().splitlines()


def _cell(metric: dict) -> str:
    low, high = metric["ci95"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


def test_importing_the_package_imports_nothing_heavy():
    """Nor does the help of the command: both answer at once."""
    code = f"""
import sys
import hf_alignet
from hf_alignet.cli.main import main
assert "align" in dir(hf_alignet)
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "hf-alignet align" in done.stdout


# What only some runs need, and takes 0.4 to 1.6 CPU seconds to import: each loads where it is used
LATE = ("peft", "transformers.modeling_utils", "sklearn", "scipy.stats", "matplotlib.pyplot")


def test_no_help_waits_for_what_only_some_runs_need():
    """But for `align` and `demo`, whose flags are those of transformers' trainer."""
    modules = [f"hf_alignet.cli.{name.replace('-', '_')}" for name in COMMANDS if name not in ("align", "demo")]
    code = f"import sys, {', '.join(modules)}; print([name for name in {LATE!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_loads():
    assert hf_alignet.__all__ == sorted(hf_alignet.__all__)
    for name in hf_alignet.__all__:
        assert getattr(hf_alignet, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hf_alignet.nothing  # noqa: B018


def test_version_is_the_same_everywhere():
    version = hf_alignet.__version__
    assert f"## {version} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_lowest_versions_are_those_of_the_package():
    """The lane of lowest versions tests what pyproject.toml promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = dict(line.split(",")[0].split(">=") for line in project["dependencies"])
    lowest = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lowest if "==" in line)
    assert {"transformers", "peft", "datasets", "huggingface_hub", "accelerate"} <= pinned.keys()
    assert pinned.pop("torch")  # its CPU build of that version, which no package index has for older ones
    for name, version in pinned.items():
        assert version.startswith(promised.get(name, version)), name


def test_what_is_imported_is_declared():
    """Every package that ours imports is a dependency of its own, not one that another package happens to bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.split(">")[0].replace("-", "_").lower() for line in project["dependencies"]}
    names = {"PIL": "pillow", "sklearn": "scikit_learn", "yaml": "pyyaml", "markdown_it": "markdown_it_py"}
    imported = set()
    for file in (ROOT / "hf_alignet").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {module.split(".")[0] for module in modules}
    ours = {names.get(module, module).lower() for module in imported - set(sys.stdlib_module_names) - {"hf_alignet"}}
    optional = {"triton"}  # it comes with PyTorch for CUDA
    extras = [line for extra, lines in project["optional-dependencies"].items() if extra != "dev" for line in lines]
    optional |= {line.split(">")[0].replace("-", "_").lower() for line in extras}
    assert ours - optional <= declared, ours - optional - declared
