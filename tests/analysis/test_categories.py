"""Categories of images at three levels, from names, a table, and the hierarchy of BREEDS."""

import numpy as np
import pytest

from hf_alignet.analysis.categories import (
    RELATIONS,
    Categories,
    categories_of_breeds,
    categories_of_columns,
    categories_of_table,
    read_table,
    relations,
)
from hf_alignet.errors import InputError
from hf_alignet.evaluation import Hierarchy

ROOT = "n00001740"


def test_images_without_a_category_are_left_out_and_the_others_keep_their_rows():
    found = categories_of_columns(
        [["tabby", None, "rose", "pug"], ["cat", "cat", "rose", "dog"], ["animal"] * 2 + ["plant", "animal"]]
    )
    assert found.rows.tolist() == [0, 2, 3]
    assert [[names[code] for names, code in zip(found.names, row, strict=True)] for row in found.codes] == [
        ["tabby", "cat", "animal"],
        ["rose", "rose", "plant"],
        ["pug", "dog", "animal"],
    ]
    assert [found.names[1][parent] for parent in found.parents[0]] == ["dog", "rose", "cat"]  # of pug, rose, tabby
    assert [found.names[2][parent] for parent in found.parents[1]] == ["animal", "animal", "plant"]


def test_relations_are_the_lowest_category_in_common():
    names = [
        ("tabby", "cat", "animal"),
        ("tabby", "cat", "animal"),
        ("manx", "cat", "animal"),
        ("pug", "dog", "animal"),
    ]
    codes = Categories.of_names([*names, ("rose", "rose", "plant")]).codes
    found = relations(codes, np.zeros(4, int), np.arange(1, 5))
    assert [RELATIONS[relation] for relation in found] == list(RELATIONS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([("a", "b", "s"), ("a", "c", "t")], "the class category 'a' is in two basic categories, b, c"),
        ([("a", "b", "s"), ("d", "b", "t")], "the basic category 'b' is in two superordinate categories, s, t"),
        ([("a", "b", "s"), ("d", "c", "s")], "two superordinate categories or more, and have s"),
        ([("a", None, "s")], "two superordinate categories or more, and have none"),
    ],
)
def test_categories_that_are_no_hierarchy_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        Categories.of_names(names)


def test_a_table_names_categories_by_class(tmp_path):
    file = tmp_path / "levels.csv"
    file.write_text("superordinate,class,basic\nanimal,tabby,cat\nplant,rose,rose\n")
    found = categories_of_table(["rose", "chair", "tabby"], read_table(file))
    assert found.rows.tolist() == [0, 2] and found.names[2] == ["animal", "plant"]
    with pytest.raises(InputError, match="none of the classes of the images, such as 'chair', is in the table"):
        categories_of_table(["chair"], read_table(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,basic\na,b\n", "lacks the column superordinate"),
        ("class,basic,superordinate\na,b,c\nd,,c\n", "line 3 of .* has an empty cell: d,,c"),
        ("class,basic,superordinate\na,b,c\na,e,c\n", "line 3 of .* tells of a class again: a,e,c"),
    ],
)
def test_a_table_with_faults_is_refused(tmp_path, text, message):
    file = tmp_path / "levels.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(file)


def test_breeds_gives_animals_dogs_and_a_class_that_is_its_own_basic_category():
    children = {ROOT: ["living"], "living": ["animal", "plant"], "animal": ["mammal"], "mammal": ["carnivore"]}
    children |= {"carnivore": ["dog"], "dog": ["n1", "n2"], "plant": ["flower"], "flower": ["n3"]}
    names = {"animal": "animal, beast", "dog": "dog, domestic dog", "n1": "pug", "n2": "corgi", "plant": "plant"}
    found = categories_of_breeds(["n1", "n3", "n2", "n9"], Hierarchy(children, names | {"n3": "rose"}))
    assert found.rows.tolist() == [0, 1, 2]
    assert [[n[c] for n, c in zip(found.names, row, strict=True)] for row in found.codes] == [
        ["pug (n1)", "dog", "animal"],
        ["rose (n3)", "rose", "plant"],
        ["corgi (n2)", "dog", "animal"],
    ]
    with pytest.raises(InputError, match="such as 'n9', is in the hierarchy of BREEDS"):
        categories_of_breeds(["n9"], Hierarchy(children, names))
