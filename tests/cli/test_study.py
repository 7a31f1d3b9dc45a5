"""The command that studies many models: its table, whatever stopped it, and what the table tells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Image
from PIL import Image as Pictures

from hf_alignet.analysis.alignment_study import high_middle_low, mean_alignments, usefulness
from hf_alignet.cli.study import COMMAND, study_command
from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream import labelled_tasks
from hf_alignet.workflows import study_run

NUMBER = 16
FILES = ("alignments.csv", "correlations.csv", "groups.csv", "study.csv", "study.md", "u_shapes.csv")
FIGURES = ("u_shape", "groups", "correlations")


def call(*flags) -> None:
    """The command in this process; errors stay exceptions."""
    COMMAND.call(study_command, [*map(str, flags), "--disable_tqdm"])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two similarity matrices of people about the same things, and features of seven models."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    people = rng.normal(size=(NUMBER, 6))
    for name in ("animals", "fruits"):
        seen = people + 0.1 * rng.normal(size=people.shape)
        matrix = np.asarray(np.corrcoef(seen), np.float32)
        np.fill_diagonal(matrix, 1)
        np.save(folder / f"{name}.npy", matrix)
    for model in range(7):
        mixed = people * (model - 2) / 4 + 0.5 * rng.normal(size=people.shape)
        np.save(folder / f"m{model}.npy", mixed.astype(np.float32))
    return folder


def ready(seed: int = 1, number: int = 18) -> pd.DataFrame:
    """A table with few shots that follow a U-shape, of two families by nine methods."""
    rng = np.random.default_rng(seed)
    agreement = np.linspace(0.2, 0.9, number)
    rows = []
    for model, value in enumerate(agreement):
        facts = {"model": f"m{model}", "family": "ab"[model % 2], "method": model // 2, "top1": rng.random()}
        for dataset in ("animals", "fruits"):
            found = value + 0.01 * rng.normal()
            rows.append(facts | {"kind": "human", "metric": f"{dataset}/triplet_agreement", "value": found})
        for shots in (1, 5):
            for head in ("linear", "one_hidden"):
                accuracy = 0.2 + (value - 0.5) ** 2 + 0.1 * shots + 0.005 * rng.normal()
                metric = f"cifar_n_shot/{shots}_shot/{head}_accuracy"
                rows.append(facts | {"kind": "downstream", "metric": metric, "value": accuracy})
    return pd.DataFrame(rows)


def flags_of(made: Path, out: Path, number: int = 7) -> list:
    models = [made / f"m{model}.npy" for model in range(number)]
    return ["--model_name_or_path", *models, "--benchmarks", f"alignment:{made / 'animals.npy'}"] + [
        *(f"alignment:{made / 'fruits.npy'}", "--rsa_kind", "similarity", "--output_dir", out)
    ]


def test_a_run_that_was_killed_goes_on_and_gives_the_same_table(made, tmp_path, monkeypatch):
    monkeypatch.setattr(study_run, "write_study", lambda *given: None)
    call(*flags_of(made, tmp_path / "whole"))
    measured, rows = [], study_run._rows

    def stopping(name, *given):
        measured.append(name)
        if len(measured) == 4:
            raise KeyboardInterrupt
        return rows(name, *given)

    monkeypatch.setattr(study_run, "_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        call(*flags_of(made, tmp_path / "killed"))
    assert not (tmp_path / "killed" / "study.csv").exists()
    call(*flags_of(made, tmp_path / "killed"))
    assert (tmp_path / "killed" / "study.csv").read_bytes() == (tmp_path / "whole" / "study.csv").read_bytes()
    assert len(measured) == 2 * 7 + 2  # two benchmarks each; the model that was stopped was begun again
    measured.clear()
    np.save(made / "m6.npy", np.load(made / "m5.npy"))  # another model in its place
    call(*flags_of(made, tmp_path / "killed"))
    assert measured == ["m6.npy"] * 2


def test_the_table_is_tidy_and_says_what_was_built(made, tmp_path, monkeypatch):
    monkeypatch.setattr(study_run, "write_study", lambda *given: None)
    covariates = '{"m0.npy": {"family": "far", "size": 3}, "m3.npy": {"family": "near"}}'
    call(*flags_of(made, tmp_path / "out"), "--covariates", covariates)
    table = pd.read_csv(tmp_path / "out" / "study.csv")
    assert list(table) == ["model", "family", "size", "kind", "metric", "value", "n", "chance", "low", "high"]
    assert len(table) == 7 * 2 * 3 and set(table.kind) == {"human"}
    assert set(table[table.model == "m0.npy"].family) == {"far"}
    alignments = mean_alignments(table)
    assert list(alignments) == ["rsa_pearson", "rsa_spearman", "triplet_agreement"]
    assert alignments.loc["m6.npy", "triplet_agreement"] > 0.6
    one = table[(table.model == "m4.npy") & table.metric.str.endswith("rsa_pearson")]
    assert alignments.loc["m4.npy", "rsa_pearson"] == pytest.approx(one.value.mean())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "either --model_name_or_path to measure, or --results"),
        (("--model_name_or_path", "x.npy"), "give --benchmarks"),
        (("--results", "nowhere.csv"), "--results: cannot read the table nowhere.csv"),
    ],
)
def test_errors_are_one_line(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        call(*flags, "--output_dir", tmp_path / "out")


def test_unknown_covariates_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="--covariates names 'm99', which is no name of a model"):
        call(*flags_of(made, tmp_path / "out", 2), "--covariates", '{"m99": {"size": 1}}')


def test_a_ready_table_is_analysed(tmp_path):
    table = ready()
    table.to_csv(tmp_path / "study.csv", index=False)
    given = ["--results", tmp_path / "study.csv", "--output_dir", tmp_path / "out", "--accuracy", "top1"]
    call(*given, "--factors", "family", "method")
    out = tmp_path / "out"
    for name in FIGURES:
        with Pictures.open(out / f"{name}.png") as figure:
            assert figure.width > 300
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
    shapes = pd.read_csv(out / "u_shapes.csv")
    assert (shapes.p_u < 0.001).all() and (shapes.vertex - 0.5).abs().max() < 0.05
    correlations = pd.read_csv(out / "correlations.csv", keep_default_na=False)
    assert set(correlations.given) == {"", "top1"}
    of_squares = correlations[(correlations["transform"] == "z²") & (correlations.method == "pearson")]
    assert (of_squares.low > 0).all()
    anova = pd.read_csv(out / "anova.csv").set_index("effect")
    assert anova.p_value["method"] < 0.001
    assert "| cifar_n_shot/mean/accuracy | triplet_agreement |" in (out / "study.md").read_text()


def test_groups_are_the_highest_the_lowest_and_those_near_the_mean():
    table = ready()
    alignments, useful = mean_alignments(table), usefulness(table)
    groups = high_middle_low(alignments, useful).set_index(["group", "metric"])
    metric = "cifar_n_shot/1_shot/linear_accuracy"
    expected = {"high": range(13, 18), "low": range(5), "middle": range(6, 12)}
    for group in ("high", "low"):
        values = useful.loc[[f"m{model}" for model in expected[group]], metric]
        assert groups.loc[(group, metric), "mean"] == pytest.approx(values.mean())
    values = alignments["triplet_agreement"]
    nearest = (values - values.mean()).abs().nsmallest(5).index
    assert set(nearest) <= {f"m{model}" for model in expected["middle"]}
    assert groups.loc[("middle", metric), "mean"] == pytest.approx(useful.loc[nearest, metric].mean())
    means = useful.drop(columns="cifar_n_shot/mean/accuracy").mean(axis=1)
    assert useful["cifar_n_shot/mean/accuracy"].to_numpy() == pytest.approx(means.to_numpy())


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (lambda t: t.drop(columns="kind"), (), "no column 'kind'"),
        (lambda t: pd.concat([t, t.iloc[:1]]), (), "animals/triplet_agreement of 'm0' twice"),
        (lambda t: t[t.model.isin(["m0", "m1"])], (), "a study needs 5 models or more"),
        (lambda t: t, ("--accuracy", "top5"), "--accuracy top5 is neither a covariate nor a metric"),
        (lambda t: t[t.kind == "human"], (), "there is no downstream metric"),
        (lambda t: t, ("--factors", "family", "size"), "--factors must name two covariates"),
    ],
)
def test_tables_that_tell_nothing_are_refused(change, flags, message, tmp_path):
    change(ready()).to_csv(tmp_path / "study.csv", index=False)
    with pytest.raises(InputError, match=message):
        call("--results", tmp_path / "study.csv", "--output_dir", tmp_path / "out", *flags)


def test_encoders_on_few_shots(tmp_path, tiny_directory, monkeypatch):
    monkeypatch.setattr(study_run, "write_study", lambda *given: None)
    monkeypatch.setattr(labelled_tasks, "STUDY_DRAWS", 1)
    rng = np.random.default_rng(0)
    pictures = [Pictures.fromarray(rng.integers(256, size=(16, 16, 3), dtype=np.uint8)) for _ in range(24)]
    images = Dataset.from_dict({"image": pictures, "label": [row % 2 for row in range(24)]})
    images.cast_column("image", Image()).cast_column("label", ClassLabel(names=["a", "b"])).save_to_disk(
        tmp_path / "x"
    )
    given = ["--model_name_or_path", tiny_directory("vit"), "--benchmarks", f"n_shot:{tmp_path / 'x'}"]
    call(*given, "--output_dir", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "study.csv")
    heads = ("linear", "one_hidden", "two_hidden")
    assert set(table.metric) == {f"x_n_shot/{n}_shot/{head}_accuracy" for n in (1, 5) for head in heads}
    assert set(table.kind) == {"downstream"} and table.value.between(0, 1).all()
