"""Similarity matrices in every form, on small files made here as the publishers make theirs."""

import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.spatial.distance import squareform

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsa import rsa_noise_ceiling
from hf_alignet.judgments import SimilarityMatrix, load_cichy, load_king, load_peterson, load_similarity_matrix
from hf_alignet.judgments.similarity_matrices import as_rows

NAMES = ["zebra", "ant", "NA", "007"]


@pytest.fixture
def matrix():
    values = squareform([1.5, 2, 3, 4, 5.25, 6])
    return values + 10 * np.eye(4)


def add_pictures(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")


@pytest.mark.parametrize("suffix", [".csv", ".TSV"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("names", [NAMES, ["3", "1", "2", "0"]])
def test_tables(suffix, header, index, names, matrix, tmp_path):
    path = tmp_path / f"ratings{suffix}"
    table = pd.DataFrame(matrix, index=names, columns=names)
    table.to_csv(path, header=header, index=index, sep="," if suffix == ".csv" else "\t")
    found = load_similarity_matrix(path, "similarity")
    assert found.names == (names if header or index else list("0123"))
    assert found.kind == "similarity" and found.source == path.name and found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix, matrix.astype(np.float32))
    assert load_similarity_matrix(path, "similarity", names=list("wxyz")).names == list("wxyz")


@pytest.mark.parametrize("missing", ["", "NA", "nan"])
def test_tables_with_gaps(missing, matrix, tmp_path):
    matrix[0, 2] = matrix[2, 0] = np.nan
    matrix[np.diag_indices(4)] = np.nan
    for names in (False, True):
        path = tmp_path / f"{names}.csv"
        pd.DataFrame(matrix, NAMES, NAMES).to_csv(path, header=names, index=names, na_rep=missing)
        found = load_similarity_matrix(path, "similarity")
        assert found.names == (NAMES if names else list("0123"))
        np.testing.assert_array_equal(found.matrix, matrix.astype(np.float32))


def test_text_as_numpy_writes_it(matrix, tmp_path):
    np.savetxt(tmp_path / "ratings.txt", matrix)
    np.testing.assert_array_equal(load_similarity_matrix(tmp_path / "ratings.txt", "similarity").matrix, matrix)


def test_arrays(matrix, tmp_path):
    np.save(tmp_path / "one.npy", matrix)
    np.savez(tmp_path / "two.npz", ratings=matrix, names=NAMES, ages=[1, 2])
    np.savez(tmp_path / "three.npz", a=matrix, b=2 * matrix)
    savemat(tmp_path / "four.mat", {"a": matrix, "b": 2 * matrix, "note": "text"})
    assert load_similarity_matrix(tmp_path / "one.npy", "dissimilarity").kind == "dissimilarity"
    assert load_similarity_matrix(tmp_path / "two.npz", "similarity").names == NAMES
    for file in ("three.npz", "four.mat"):
        found = load_similarity_matrix(tmp_path / file, "similarity", variable="b")
        np.testing.assert_array_equal(found.matrix, 2 * matrix)
        with pytest.raises(
            InputError, match=f"{file} has 2 arrays .* give the name of one as `variable` .*: it has a, b"
        ):
            load_similarity_matrix(tmp_path / file, "similarity")
        with pytest.raises(InputError, match=f"{file} has no array 'c'; it has a, b"):
            load_similarity_matrix(tmp_path / file, "similarity", variable="c")


R_MATRIX = """{corner}V1{d}V2{d}V3{d}V4
1{d}10{d}1,5{d}2{d}3
2{d}1,5{d}10{d}4{d}5,25
3{d}2{d}4{d}10{d}6
4{d}3{d}5,25{d}6{d}10
"""


@pytest.mark.parametrize("sep", ["", "sep=;\n"])
@pytest.mark.parametrize("names", [None, ["zebra", "ant", "NA", "owl"]])
@pytest.mark.parametrize("corner", ["", ";"])  # of write.table and of write.csv2
def test_matrices_of_r_have_decimal_commas_and_default_names(sep, names, corner, matrix, tmp_path):
    text = R_MATRIX.format(corner=corner, d=";")
    for number, name in enumerate(names or (), 1):
        text = text.replace(f"\n{number};", f'\n"{name}";')
    (tmp_path / "r.csv").write_text(sep + text, encoding="cp1252")
    found = load_similarity_matrix(tmp_path / "r.csv", None)
    np.testing.assert_array_equal(found.matrix, matrix)
    assert found.is_named == (names is not None) and found.names == (names or list("0123"))


def test_columns_without_rows_named_by_default_are_no_names(matrix, tmp_path):
    pd.DataFrame(matrix, columns=["V1", "V2", "V3", "V4"]).to_csv(tmp_path / "v.csv", index=False)
    assert not load_similarity_matrix(tmp_path / "v.csv", "similarity").is_named


@pytest.mark.parametrize("columns", ["a,b,rating", "Image 1,Image 2,Similarity", "stim_left,stim_right,score"])
def test_ratings_in_long_form(columns, tmp_path):
    rows = ["cat,dog,4", "dog,cat,6", "cat,car,1", "car,dog,NA", "car,bus,9", "bus,dog,2", "cat,bus,3", "cat,cat,10"]
    (tmp_path / "long.csv").write_text("\n".join([columns, *rows]))
    found = load_similarity_matrix(tmp_path / "long.csv", None if "Similarity" in columns else "similarity")
    assert found.names == ["cat", "dog", "car", "bus"] and found.participants is None
    nan = np.nan
    expected = [[10, 5, 1, 3], [5, nan, nan, 2], [1, nan, nan, 9], [3, 2, 9, nan]]
    np.testing.assert_array_equal(found.matrix, np.array(expected, np.float32))
    (tmp_path / "long.csv").write_text("\n".join([columns, "cat,dog,very"]))
    with pytest.raises(InputError, match="row 2 of long.csv has the rating 'very', which is no number"):
        load_similarity_matrix(tmp_path / "long.csv", "similarity")
    (tmp_path / "long.csv").write_text("\n".join([columns, "cat,dog,1", "cat,,2"]))
    with pytest.raises(InputError, match="row 3 of long.csv has a rating, but not the names of two stimuli"):
        load_similarity_matrix(tmp_path / "long.csv", "similarity")


def test_participants_of_long_ratings_and_of_stacks_of_matlab_stay(matrix, tmp_path):
    people = np.stack([matrix, 2 * matrix, matrix + 1])
    rows = [
        f"p{person};{i};{j};{values[i, j]:g}".replace(".", ",")
        for person, values in enumerate(people)
        for i in range(4)
        for j in range(i, 4)
    ]
    (tmp_path / "long.tsv").write_text("\n".join(["Subject;item1;item2;distance", *rows]).replace(";", "\t"))
    savemat(tmp_path / "stack.mat", {"rdm": np.moveaxis(people, 0, 2), "age": [1, 2]})
    for file in ("long.tsv", "stack.mat"):
        found = load_similarity_matrix(tmp_path / file, "similarity")
        assert found.participants is not None
        np.testing.assert_allclose(found.participants, people)
        np.testing.assert_allclose(found.matrix, people.mean(0), rtol=1e-6)
        assert rsa_noise_ceiling(found)["upper"]["value"] > 0.9
    assert load_similarity_matrix(tmp_path / "long.tsv", None).kind == "dissimilarity"


def test_participants_are_averaged_over_who_judged(matrix, tmp_path):
    single = np.stack([matrix, 3 * matrix, matrix])
    single[0, 0, 1] = single[0, 1, 0] = np.nan
    single[:, 2, 3] = single[:, 3, 2] = np.nan
    np.save(tmp_path / "single.npy", single)
    found = load_similarity_matrix(tmp_path / "single.npy", "similarity")
    assert found.participants.shape == (3, 4, 4) and found.participants.dtype == np.float32
    assert found.matrix[0, 1] == 2 * matrix[0, 1] and np.isnan(found.matrix[2, 3])
    assert found.matrix[1, 3] == pytest.approx(5 / 3 * matrix[1, 3])


@pytest.mark.parametrize(
    ("file", "variable"),
    [
        ("turkResults_CogSci2016_sim.mat", "simMatrix"),
        ("fruits_mturk_sim.mat", "simmat"),
        ("simMatrix_mturkveggies.mat", "simMatrix_mturkveggies"),
    ],
)
def test_peterson(file, variable, matrix, tmp_path):
    pictures = ["b.png", "a.JPG".lower(), "C.png", "d10.jpg"]
    add_pictures(tmp_path / "fruits" / "images", pictures)
    (tmp_path / "fruits" / "sim_judgements").mkdir()
    matrix[np.diag_indices(4)] = 10
    savemat(tmp_path / "fruits" / "sim_judgements" / file, {variable: matrix, "ratings": np.ones((4, 4))})
    found = load_peterson(tmp_path / "fruits")
    assert found.names == ["C.png", "a.jpg", "b.png", "d10.jpg"]  # by code point
    assert found.kind == "similarity" and file in found.source
    np.testing.assert_array_equal(found.matrix, matrix.astype(np.float32))
    assert load_peterson(tmp_path / "fruits" / "sim_judgements" / file).names == list("0123")


def test_peterson_files_that_are_none(matrix, tmp_path):
    folder = tmp_path / "animals"
    (folder / "sim_judgements").mkdir(parents=True)
    with pytest.raises(InputError, match=r"must hold one file sim_judgements/\*sim\*.mat, found none"):
        load_peterson(folder)
    savemat(folder / "sim_judgements" / "sim.mat", {"ratings": matrix})
    with pytest.raises(InputError, match="sim.mat has no variable with 'sim' in its name"):
        load_peterson(folder)
    savemat(folder / "sim_judgements" / "sim.mat", {"simMatrix": 10 * matrix})
    with pytest.raises(InputError, match="has entries from 15 to 100; mean ratings are from 0 to 10"):
        load_peterson(folder)
    add_pictures(folder / "images", ["a.png", "b.png"])
    with pytest.raises(InputError, match="has 4 stimuli, but 2 names"):
        load_peterson(folder)


@pytest.mark.parametrize("participants", [1, 3])
def test_king(participants, tmp_path):
    rng = np.random.default_rng(0)
    one, two = rng.random((participants, 10)), rng.random((participants, 6))
    (tmp_path / "sim_judgements").mkdir()
    sets = {"set1": {"pairwisedistances": one}, "set2": {"pairwisedistances": two, "subjects": "x"}}
    savemat(tmp_path / "sim_judgements" / "BEHAVIOR.mat", {"BEHAVIOR": sets})
    names = [f"{number:04d}.jpg" for number in (12, 3, 40, 7, 9)]
    add_pictures(tmp_path / "images" / "set1", names)
    found = load_king(tmp_path)
    assert found.names == sorted(names) and found.kind == "dissimilarity"
    np.testing.assert_allclose(found.matrix, squareform(one.mean(0)), rtol=1e-6)  # pdist's order
    np.testing.assert_allclose(found.participants[-1], squareform(one[-1]), rtol=1e-6)
    other = load_king(tmp_path / "sim_judgements" / "BEHAVIOR.mat", "set2")
    assert other.names == list("0123") and other.source == "King et al. 2019, set2"
    with pytest.raises(InputError, match="no BEHAVIOR.set3.pairwisedistances of numbers"):
        load_king(tmp_path, "set3")
    savemat(tmp_path / "wrong.mat", {"BEHAVIOR": {"set1": {"pairwisedistances": one[:, :9]}}})
    with pytest.raises(InputError, match=rf"has shape \({participants}, 9\); expected one row for each participant"):
        load_king(tmp_path / "wrong.mat")


def test_cichy(tmp_path):
    single = np.stack([squareform(row) for row in np.random.default_rng(0).random((6, 10))])
    (tmp_path / "sim_judgements").mkdir()
    savemat(tmp_path / "sim_judgements" / "judgments_general.mat", {"judgments": single})
    add_pictures(tmp_path / "images", [f"{number}.jpg" for number in range(5)])
    found = load_cichy(tmp_path)
    assert found.names[0] == "0.jpg" and found.kind == "dissimilarity" and found.source == "Cichy et al. 2019"
    np.testing.assert_allclose(found.matrix, single.mean(0), rtol=1e-6)
    assert found.participants.shape == (6, 5, 5)
    savemat(tmp_path / "wrong.mat", {"judgments": single[0]})
    for content in ({"judgments": single[0]}, {"other": single}):
        savemat(tmp_path / "wrong.mat", content)
        with pytest.raises(InputError, match=r"wrong.mat has no array judgments of shape \(participants, n, n\)"):
            load_cichy(tmp_path / "wrong.mat")


def test_a_matrix_of_the_other_kind_is_noticed(matrix, caplog):
    with caplog.at_level(logging.WARNING):
        SimilarityMatrix(NAMES, matrix, "similarity", "ratings")
        SimilarityMatrix(NAMES, 10 - matrix, "dissimilarity", "ratings")
        SimilarityMatrix(NAMES, np.where(np.eye(4), np.nan, matrix), "dissimilarity", "ratings")
        assert not caplog.records
        SimilarityMatrix(NAMES, matrix, "dissimilarity", "ratings")
        SimilarityMatrix(NAMES, squareform([1, 2, 3, 4, 5, 6]), "similarity", "ratings")
    assert ["larger" in record.getMessage() for record in caplog.records] == [True, False]


def test_the_diagonal_tells_the_kind(matrix, tmp_path, caplog):
    for kind, ratings in (("similarity", matrix), ("dissimilarity", 10 - matrix)):
        np.save(tmp_path / "ratings.npy", ratings)
        assert load_similarity_matrix(tmp_path / "ratings.npy", None).kind == kind
    assert not caplog.records
    for diagonal in (np.nan, matrix.min(), matrix.mean()):
        np.save(tmp_path / "ratings.npy", np.where(np.eye(4), diagonal, matrix))
        with pytest.raises(InputError, match="does not show whether the entries are similarities or dissimilarities"):
            load_similarity_matrix(tmp_path / "ratings.npy", None)
    np.save(tmp_path / "ratings.npy", np.ones((3, 4)))
    with pytest.raises(InputError, match="must be square"):
        load_similarity_matrix(tmp_path / "ratings.npy", None)


def test_files_that_are_no_matrices(matrix, tmp_path):
    def error_of(content, suffix=".csv"):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError) as error:
            load_similarity_matrix(path, "similarity")
        assert "file" in str(error.value)
        return str(error.value)

    assert "is empty" in error_of("")
    assert "line 3 of file.csv has 2 cells, but the first line has 3" in error_of("1,2,3\n2,1,4\n3,4\n")
    assert "the entry (1, 2) is 'x', which is not a number" in error_of("a,b,c\n1,2,3\n2,1,x\n3,x,1\n")
    assert "stimulus 1 is 'b' in the first row, 'c' in the first column" in error_of(
        ",a,b,c\na,1,2,3\nc,2,1,4\nb,3,4,1\n"
    )
    assert "not symmetric: the entry (0, 1) is 2.0, and (1, 0) is 9.0" in error_of("1,2,3\n9,1,4\n3,4,1\n")
    assert "must be square" in error_of("1,2,3,5,5\n2,1,4,5,5\n3,4,1,5,5\n")
    assert "two stimuli of file.csv have the name 'a'" in error_of("a,b,a\n1,2,3\n2,1,4\n3,4,1\n")
    assert "cannot read the similarity matrix" in error_of("no array", ".npy")
    assert "cannot read the similarity matrix" in error_of("no archive", ".npz")
    assert "cannot read the MATLAB file" in error_of("no matrix", ".mat")
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    assert "with -v7.3 (HDF5), which is not supported; save it with -v7" in error_of(header, ".mat")
    assert "supported are .csv, .tsv, .txt, .npy, .npz, .mat" in error_of("{}", ".json")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot read the similarity matrix"):
        load_similarity_matrix(tmp_path / "objects.npy", "similarity")
    for suffix in (".csv", ".npy", ".npz", ".mat"):
        with pytest.raises(InputError, match="cannot read"):
            load_similarity_matrix(tmp_path / f"nowhere{suffix}", "similarity")
    with pytest.raises(InputError, match="`kind` must be one of similarity, dissimilarity, got 'distance'"):
        load_similarity_matrix(tmp_path / "nowhere.csv", "distance")
    with pytest.raises(InputError, match=r"matrices of its participants have the shape \(2, 3, 3\)"):
        SimilarityMatrix(NAMES, matrix, "similarity", "ratings", np.ones((2, 3, 3)))


def test_a_dataset_of_a_matrix_opens_as_the_matrix(tmp_path):
    values = np.array([[9, 1, np.nan], [1, 9, 3], [np.nan, 3, 9]], np.float32)
    matrix = SimilarityMatrix(["a", "b", "c"], values, "similarity", "raters")
    as_rows(matrix)["matrix"].save_to_disk(tmp_path / "rows")
    found = load_similarity_matrix(tmp_path / "rows", None)
    assert (found.kind, list(found.names)) == ("similarity", ["a", "b", "c"])
    np.testing.assert_array_equal(found.matrix, matrix.matrix)
    rows = as_rows(matrix)["matrix"]
    rows.select([0, 1]).save_to_disk(tmp_path / "fewer")
    with pytest.raises(InputError, match="must hold 2 numbers, one for each stimulus"):
        load_similarity_matrix(tmp_path / "fewer", None)
    rows.rename_column("similarity", "ratings").save_to_disk(tmp_path / "others")
    with pytest.raises(InputError, match="there are name, ratings"):
        load_similarity_matrix(tmp_path / "others", None)
