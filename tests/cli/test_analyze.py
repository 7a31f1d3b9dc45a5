"""The command that says what alignment did: its tables, its figures, and a report that needs nothing else."""

import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Image, load_from_disk
from matplotlib.figure import Figure
from PIL import Image as Pictures

from hf_alignet.analysis import projections, save_figure
from hf_alignet.cli.analyze import COMMAND, analyze_command
from hf_alignet.errors import InputError
from hf_alignet.triplets import triplets_from_arrays
from hf_alignet.workflows.analysis_run import analyze as analyze_in_python

RECIPE = Path(__file__).parents[2] / "recipes" / "analyze.py"
NUMBER = 72
FIGURES = ("categories", "models", "projections", "relations", "triplets", "variance")
TABLES = ("categories", "examples", "models", "neighbours", "places", "relations", "triplets", "variance")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CLASSES = [f"class <{i}>" for i in range(12)]  # names that HTML must escape
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(NUMBER) % 12)
PEOPLE = 3 * RNG.normal(size=(2, 8))[LABELS // 6] + RNG.normal(size=(6, 8))[LABELS // 2]


@pytest.fixture(autouse=True)
def _without_trimap(monkeypatch):
    """It compiles for a quarter of a minute; its own test runs it."""
    monkeypatch.setattr(projections, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Images of twelve classes, embeddings before and after, and triplets that people answered."""
    folder = tmp_path_factory.mktemp("study")
    colours = np.random.default_rng(1).integers(256, size=(12, 3), dtype=np.uint8)
    pictures = [Pictures.fromarray(np.broadcast_to(colours[label], (16, 16, 3)).copy()) for label in LABELS]
    images = Dataset.from_dict(
        {
            "image": pictures,
            "label": LABELS.tolist(),
            "kind": [f"basic {label // 2}" for label in LABELS],
            "realm": [f"realm {label // 6}" for label in LABELS],
        }
    )
    images = images.cast_column("image", Image()).cast_column("label", ClassLabel(names=CLASSES))
    images.save_to_disk(folder / "images")
    rng = np.random.default_rng(2)
    base = rng.normal(size=(NUMBER, 8))
    for name, embeddings in (
        ("base", base),
        ("aligned", base + PEOPLE),
        ("control", base + 0.1 * rng.normal(size=base.shape)),
        ("other", rng.normal(size=(NUMBER, 6))),
    ):
        np.save(folder / f"{name}.npy", embeddings.astype(np.float32))
    triplets = np.stack([rng.permutation(NUMBER)[:3] for _ in range(400)])
    x = PEOPLE[triplets]
    similarities = np.stack([(x[:, i] * x[:, j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    labelled = triplets_from_arrays(triplets, similarities)
    labelled.save_to_disk(folder / "triplets")
    labelled.remove_columns("similarities").filter(lambda row: row["odd"] >= 0).save_to_disk(folder / "judgments")
    return folder


def analyze(study: Path, out: Path, *flags, base=("base.npy",), aligned=("aligned.npy", "control.npy")) -> None:
    """The command in this process; errors stay exceptions."""
    models = ["--base", *(study / name for name in base), "--aligned", *(study / name for name in aligned)]
    given = [*models, "--images", study / "images", "--output_dir", out, "--disable_tqdm", *flags]
    COMMAND.call(analyze_command, list(map(str, given)))


COLUMNS = ("--level_columns", "label", "kind", "realm")


@pytest.fixture(scope="module")
def report(study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("analysis") / "out"
    flags = ["--triplets", f"asked={study / 'triplets'}", "--judgments", study / "judgments"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projections, "find_spec", lambda name: None)
        analyze(study, out, *COLUMNS, *flags, "--i_have_the_right_to_share_images")
    return out


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "poster")]

    def handle_data(self, data):
        self.words += data


def test_tables_and_figures_are_written(report):
    for name in TABLES:
        assert len(pd.read_csv(report / f"{name}.csv"))
    for name in (*FIGURES, "pictures"):
        with Pictures.open(report / "figures" / f"{name}.png") as figure:
            assert figure.width >= 780
        assert (report / "figures" / f"{name}.svg").read_text().startswith("<?xml")


def test_the_numbers_are_as_built(report, study):
    relations = pd.read_csv(report / "relations.csv").set_index(["aligned", "relation"])
    assert relations.effect_high["aligned.npy", "same superordinate category"] < 0
    assert relations.z_low["aligned.npy", "different"] > 0
    control = relations.loc["control.npy"].drop("different")
    assert ((control.effect_low < 0.3) & (control.effect_high > -0.3)).all()
    models = pd.read_csv(report / "models.csv")
    assert len(models) == 3 + 1 and set(models.models) == {"all models"}
    triplets = pd.read_csv(report / "triplets.csv")
    assert triplets[triplets.triplets == "asked"].pairs.sum() == 3 * 400
    assert {"sampling class_boundary", "sampling cluster_boundary", "sampling random"} < set(triplets.triplets)
    examples = pd.read_csv(report / "examples.csv")
    of_aligned = examples[examples.aligned == "aligned.npy"]
    assert (of_aligned.agrees == "aligned").sum() > (of_aligned.agrees == "base").sum()
    names = np.array(CLASSES)[LABELS]
    assert (examples.first_class == names[examples["first"]]).all()


def test_the_report_has_all_inside(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    inner = [link for link in page.links if link.startswith("#")]
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,")]
    assert sorted([*inner, *pictures]) == sorted(page.links)
    assert {link[1:] for link in inner} == set(page.ids)
    assert len(pictures) > len(FIGURES)
    for picture in pictures:
        Pictures.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).verify()
    assert "http" not in re.sub(r"<meta http-equiv=\"Content-Security-Policy\"", "", text)
    assert not {"script", "iframe", "link", "object"} & set(page.tags)
    assert "default-src 'none'" in text
    assert CLASSES[0] in page.words and "<0>" not in text
    assert "aligned.npy against base.npy" in page.words and "TriMap is left out" in page.words


@pytest.fixture
def small_figures(monkeypatch):
    """Drawing takes most of the time."""
    monkeypatch.setattr("hf_alignet.analysis.report.save_figure", lambda _, file: save_figure(Figure((1, 1)), file))


@pytest.mark.usefixtures("small_figures")
def test_without_the_right_no_picture_is_shown(study, tmp_path):
    analyze(study, tmp_path / "out", *COLUMNS, aligned=("aligned.npy",))
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert sum(link.startswith("data:") for link in page.links) == len(FIGURES)
    assert not (tmp_path / "out" / "figures" / "pictures.png").exists()
    assert "there are no triplets that people answered" in page.words


@pytest.mark.usefixtures("small_figures")
def test_several_models_before_and_after(study, tmp_path):
    rng = np.random.default_rng(4)
    np.save(study / "other-aligned.npy", (np.load(study / "other.npy") + PEOPLE[:, :6]).astype(np.float32))
    pairs = {"base": ("base.npy", "other.npy"), "aligned": ("aligned.npy", "other-aligned.npy")}
    analyze(study, tmp_path / "out", *COLUMNS, "--seed", rng.integers(99), **pairs)
    models = pd.read_csv(tmp_path / "out" / "models.csv")
    means = models[models.model == "mean"].set_index("models").cka
    assert means["after alignment"] > means["before alignment"]
    assert set(pd.read_csv(tmp_path / "out" / "relations.csv").base) == {"base.npy", "other.npy"}


@pytest.mark.usefixtures("small_figures")
def test_categories_from_a_table_leave_out_unknown_classes(study, tmp_path):
    table = tmp_path / "levels.csv"
    rows = [f"{name},basic {i // 2},realm {i // 6}" for i, name in enumerate(CLASSES) if i]
    table.write_text("\n".join(["class,basic,superordinate", *rows]))
    flags = ["--levels_table", table, "--judgments", study / "triplets"]
    analyze(study, tmp_path / "out", *flags, aligned=("aligned.npy",))
    places = pd.read_csv(tmp_path / "out" / "places.csv")
    assert set(places.image) == set(np.flatnonzero(LABELS > 0))
    examples = pd.read_csv(tmp_path / "out" / "examples.csv")
    assert (LABELS[examples[["first", "second", "third"]]] > 0).all()
    assert "66 with categories, of 72" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("small_figures")
def test_judgments_may_be_splits_in_memory(study, tmp_path):
    labelled = load_from_disk(study / "triplets")
    analyze_in_python(
        *(str(study / "base.npy"), str(study / "aligned.npy"), load_from_disk(study / "images")),
        level_columns=COLUMNS[1:],
        judgments=DatasetDict(one=labelled.select(range(150)), two=labelled.select(range(150, 300))),
        output_dir=tmp_path / "out",
        progress=False,
    )
    assert "Of 300 triplets" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "models", "message"),
    [
        ((), {}, "the images have no columns concept, subgroup, group, but .*--level_columns"),
        ((*COLUMNS, "--levels_table", "x.csv"), {}, "only one of --level_columns and --levels_table"),
        (("--level_columns", "label", "kind"), {}, "--level_columns: it must name three columns"),
        (COLUMNS, {"base": ("base.npy", "other.npy"), "aligned": ("aligned.npy",)}, "2 models in --base and 1 in"),
        (COLUMNS, {"aligned": ("base.npy",)}, "--base and --aligned name '.*base.npy' twice"),
        ((*COLUMNS, "--triplets", "nowhere"), {}, "nowhere"),
    ],
)
def test_errors_are_one_line(study, tmp_path, flags, models, message):
    with pytest.raises(InputError, match=message):
        analyze(study, tmp_path / "out", *flags, **models)
    assert not (tmp_path / "out").exists()


def test_embeddings_of_other_images_are_refused(study, tmp_path):
    np.save(tmp_path / "short.npy", np.ones((5, 3)))
    with pytest.raises(InputError, match="short.npy has 5 rows, but there are 72 images"):
        analyze(study, tmp_path / "out", *COLUMNS, aligned=(tmp_path / "short.npy",))


@pytest.mark.slow
def test_encoders_embed_once_and_the_script_is_the_command(study, tmp_path, tiny_directory):
    flags = ["--images", study / "images", "--output_dir", tmp_path / "out", *COLUMNS, "--disable_tqdm"]
    command = [sys.executable, RECIPE, "--base", tiny_directory("vit"), "--aligned", study / "aligned.npy", *flags]
    for _ in range(2):
        subprocess.run(list(map(str, command)), check=True, timeout=280)
    (embeddings,) = (tmp_path / "out" / "embeddings").glob("*/embeddings.npy")
    assert len(np.load(embeddings)) == NUMBER


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason=f"needs a browser: one of {', '.join(BROWSERS)}")
def test_a_browser_shows_the_report_from_a_file(report, tmp_path):
    browser = next(path for path in map(shutil.which, BROWSERS) if path)
    shot = tmp_path / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--window-size=1240,8000"]
    page = (report / "report.html").as_uri()
    done = subprocess.run([*command, f"--screenshot={shot}", page], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr  # where what was blocked or not found is told
    pixels = np.asarray(Pictures.open(shot).convert("RGB")).astype(int)
    colourful = (np.ptp(pixels, axis=2) > 60).mean(1)
    assert pixels.shape[:2] == (8000, 1240)
    assert (colourful > 0.05).sum() > 1000  # lines of the page in which figures are
