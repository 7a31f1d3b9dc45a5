"""What the page shows, as tables, against computations of their own."""

import itertools
import math

import numpy as np
import pytest
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.explore import Exploration, judged_triplets
from hf_alignet.explore.nearest import nearest_table, unit_rows
from hf_alignet.explore.odd_ones import choice_temperatures, odd_one_table


def test_probabilities_of_the_odd_one_are_those_of_the_other_two_together():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    table = odd_one_table({"m": vectors}, {"m": 0.5}, np.array([1, 0, 3]))
    s = {pair: vectors[pair[0]] @ vectors[pair[1]] / 0.5 for pair in itertools.combinations(range(3), 2)}
    weights = np.exp([s[1, 2], s[0, 2], s[0, 1]])  # picture 0 is odd if 1 and 2 go together, and so on
    expected = weights / weights.sum()
    model, people = table.to_dict("records")
    assert [model[name] for name in ("first", "second", "third")] == pytest.approx(expected)
    assert model["odd"] == 2 and model["entropy"] == pytest.approx(-(expected * np.log(expected)).sum())
    assert (people["who"], people["odd"], people["first"]) == ("people", 2, 0.25)
    assert people["entropy"] == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_nobody_decides_about_ties():
    table = odd_one_table({"m": np.ones((3, 2))}, {"m": 1.0}, np.array([1, 1, 0]))
    assert table.odd.tolist() == [-1, -1]
    assert table.entropy[0] == pytest.approx(math.log(3))


def test_people_are_found_whatever_the_order():
    data = Dataset.from_dict({"triplet": [[7, 2, 5], [5, 2, 7], [1, 2, 3]], "odd": [0, 2, 1]})
    judged = judged_triplets({"train": data})
    assert judged.answer([2, 5, 7]).tolist() == [0, 0, 2] and judged.answer([7, 5, 2]).tolist() == [2, 0, 0]
    assert judged.answer([2, 5, 6]) is None and judged.judge == "people"
    assert sorted(judged.odd.tolist()) == [1, 2]


def test_levels_of_choices_are_those_of_their_column():
    columns = {"triplet": [[0, 1, 2], [1, 2, 3]], "odd": [0, 1], "level": ["fine", None]}
    judged = judged_triplets({"test": Dataset.from_dict(columns)})
    assert sorted(judged.levels.tolist()) == ["fine", "test"]


def test_fitted_temperatures_do_not_depend_on_the_scale(world):
    found = choice_temperatures(world.embeddings, world.judged).values
    scaled = {name: 10 * of_model for name, of_model in world.embeddings.items()}
    again = choice_temperatures(scaled, world.judged).values
    assert again["aligned"] == pytest.approx(100 * found["aligned"], rel=1e-3)


def test_without_judgments_models_are_equally_unsure(world):
    found = choice_temperatures(world.embeddings | {"flat": np.ones((60, 3), np.float32)}, None)
    rng = np.random.default_rng(5)
    entropies = {}
    for name in ("base", "aligned"):
        tables = [
            odd_one_table({name: world.embeddings[name][rng.choice(60, 3, replace=False)]}, found.values)
            for _ in range(200)
        ]
        entropies[name] = np.mean([table.entropy[0] for table in tables])
    assert entropies["base"] == pytest.approx(entropies["aligned"], abs=0.06)
    assert found.values["flat"] == 1.0 and "same mean entropy" in found.how


def test_neighbours_are_those_of_a_plain_loop(world):
    table = world.neighbours(7)
    for name, x in world.embeddings.items():
        cosines = [-2 if i == 7 else x[7] @ x[i] / np.linalg.norm(x[7]) / np.linalg.norm(x[i]) for i in range(60)]
        of_model = table[table.model == name]
        assert of_model.row.tolist() == np.argsort(cosines)[::-1][:8].tolist()
        assert of_model.cosine.tolist() == pytest.approx(sorted(cosines)[::-1][:8], abs=1e-5)
    before = table[table.model == "base"].set_index("row")["rank"]
    shared = table[(table.model == "aligned") & table.row.isin(before.index)]
    assert (shared.before == before[shared.row].to_numpy()).all() and len(table) == 16


def test_a_copy_of_the_query_is_a_neighbour():
    unit = {"m": unit_rows(np.array([[1.0, 0], [2.0, 0], [0, 1.0], [0, 0]]))}
    table = nearest_table(unit, 0)
    assert table.row.tolist() == [1, 2, 3] and table.cosine[0] == pytest.approx(1)


def test_levels_tell_what_alignment_brought(world):
    table = world.levels.set_index(["level", "model"])
    decided = {"coarse": (world.judged.levels == "coarse") & (world.judged.odd >= 0)}
    assert table.loc[("coarse", "aligned"), "accuracy"] > table.loc[("coarse", "base"), "accuracy"] + 0.2
    assert table.loc[("coarse", "aligned"), "n"] == decided["coarse"].sum() < 150
    assert (table.low < table.accuracy).all() and set(table.index.get_level_values(0)) == {"coarse", "other"}


def test_disputed_triplets_have_one_model_right(world):
    for number in range(3):
        rows = world.disputed_three(number)
        table = world.odd_one_out(rows, {name: x[rows] for name, x in world.embeddings.items()})
        base, aligned, teacher = table.odd
        assert base != aligned and teacher in (base, aligned) and table.who[2] == "teacher"


def test_pictures_are_found_by_label_and_row(world):
    rows, total = world.find("DOG")
    assert total == 10 and all(world.labels[row] == "dog" for row in rows)
    assert world.find("17")[0].tolist() == [17]
    assert world.find("")[0].tolist() == list(range(24)) and world.find("", 2)[0].tolist() == list(range(48, 60))
    assert world.find("zebra")[1] == 0


def test_map_has_every_picture_and_its_colour(world):
    names, codes = world.colours
    assert names == ["animal", "vehicle"] and (codes == (np.arange(60) % 6 >= 3)).all()
    assert world.axes[:2] == ["components 1 and 2", "components 3 and 4"] and len(world.mapped) == 60
    places = world.places("components 1 and 2")
    animals = codes == 0
    apart = {
        name: np.linalg.norm(placed[animals].mean(0) - placed[~animals].mean(0)) for name, placed in places.items()
    }
    assert apart["aligned"] > apart["base"] + 0.5
    assert len(world.moved) == 24


def test_one_model_and_no_judgments_are_enough(world):
    alone = Exploration(world.images, {"base": world.embeddings["base"]})
    assert alone.levels is None and alone.moved == [] and alone.disputed_three(0) is None
    rows = alone.three(3)
    assert len(set(rows)) == 3 and alone.three(3) == rows != alone.three(4)
    assert len(alone.odd_one_out(rows, {"base": world.embeddings["base"][rows]})) == 1


def test_two_pictures_are_too_few(world):
    with pytest.raises(InputError, match="three pictures or more, and there are 2"):
        Exploration(world.images.select([0, 1]), {"base": world.embeddings["base"][:2]})
