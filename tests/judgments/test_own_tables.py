"""Which columns, cells and files of a table of choices mean what, and what is said about those that do not."""

import logging
import unicodedata

import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments
from hf_alignet.judgments.column_names import find_columns, parse_mapping
from hf_alignet.judgments.stimulus_names import AMBIGUOUS, UNKNOWN, find_rows

HEAD = "image_1,image_2,image_3,odd_one_out"
NAMES = ["a.jpg", "b.jpg", "c.jpg"]


@pytest.fixture
def read(tmp_path):
    def read_text(text: str, names=NAMES, file="mine.csv", encoding="utf-8", **settings):
        (tmp_path / file).write_text(text, encoding=encoding, newline="")
        return load_judgments(str(tmp_path / file), names, **settings)["train"]

    return read_text


def check_answers(read, text, odd, names=NAMES):
    """A table is read with these odd ones out (a list), or refused with this message."""
    if isinstance(odd, list):
        assert read(text, names)["odd"][:] == odd
    else:
        with pytest.raises(InputError, match=odd):
            read(text, names)


# ---- columns


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("IMAGE_1|Image 2|image3|Odd One Out", {"image_1": 0, "image_2": 1, "image_3": 2, "odd_one_out": 3}),
        ("image_0|image_1|image_2|choice", {"image_1": 0, "image_2": 1, "image_3": 2, "odd_one_out": 3}),
        ("left|right|middle|answer", {"image_1": 0, "image_2": 2, "image_3": 1, "odd_one_out": 3}),
        ("stimA|stimB|stimC|worker_id", {"image_1": 0, "image_2": 1, "image_3": 2, "participant": 3}),
        ("stim1_id|stim1_name|stim2_name|stim3_name", {"image_1": 1, "image_2": 2, "image_3": 3}),
        ("images|choice|Response Latency [ms]", {"images": 0, "odd_one_out": 1, "rt": 2}),
        ("Duration (in seconds)|choices|odd", {"images": 1, "odd_one_out": 2}),
    ],
)  # fmt: skip
def test_columns_are_known_by_name(header, expected):
    assert find_columns(header.split("|"), {}).places == expected


@pytest.mark.parametrize("name", ["rt_ms", "RT (ms)", "reaction time [msec]", "Response Time milliseconds"])
def test_unit_of_time_in_a_name(name):
    assert find_columns([name], {}).time_unit == "ms"
    assert find_columns([name.replace("illi", "").replace("ms", "s")], {}).time_unit == "s"


def test_mapping_comes_as_text_or_json_and_names_what_is_wrong(read):
    expected = {"image_1": "Left, first", "odd_one_out": "a=b", "rt": ""}
    assert parse_mapping("image_1=Left, first,odd_one_out=a=b, rt=") == expected
    assert parse_mapping('{"image_1": "Left, first", "odd_one_out": "a=b", "rt": ""}') == expected
    text = "x,Y,z,Answer,RT\na.jpg,b.jpg,c.jpg,2,-7\n"
    found = read(text, columns="image_1=z,image_2=y,image_3=x,odd_one_out=answer,rt=")
    assert found["triplet"][:] == [[2, 1, 0]] and found.column_names == ["triplet", "odd"]
    for columns, message in (
        ("image_1=nose", "names the column 'nose', which mine.csv lacks; it has x, Y, z"),
        ("image_7=x", "`columns` names 'image_7', which no table has; it can be image_1, image_2"),
        ("image_1", "must be like image_1=Left"),
        ("image_1=x,image_2=y", "lacks the column image_3 and odd_one_out|lacks the column image_3"),
    ):
        with pytest.raises(InputError, match=message):
            read(text, columns=columns)


def test_a_header_that_is_not_known_is_the_widest_row_not_the_title_above_it(read):
    text = "My study; first wave\n\nBild A;Bild B;Bild C;Odd\na;b;c;c\n"
    with pytest.raises(InputError, match="lacks the column image_1 and .*; it has Bild A, Bild B, Bild C, Odd"):
        read(text, columns="odd_one_out=Odd")
    assert read(text, columns="image_1=Bild A,image_2=Bild B,image_3=Bild C,odd_one_out=Odd")["odd"][:] == [2]


def test_columns_that_could_both_be_meant_are_not_guessed(read, caplog):
    with pytest.raises(InputError, match="Either of a.keys and b.keys could be the answer; name the columns"):
        read("left,middle,right,a.keys,b.keys\na,b,c,1,3\n", NAMES)
    with caplog.at_level(logging.INFO):
        found = read(f"{HEAD},a.rt,b.rt,age\na,b,c,3,1,2,30\n")
    assert found.column_names == ["triplet", "odd"]
    assert "rt is a.rt or b.rt: not used" in caplog.text and "ignored a.rt, b.rt, age" in caplog.text


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("image_1,image_2,image_3,Image 3,odd_one_out", None),
        ("image_1,image_1,image_2,image_3,odd_one_out", None),
        ("image_1,image_2,image_3,x,x", "odd_one_out=x"),
        ("image_1,image_2,image_3,odd_one_out,odd_one_out", None),
        *((f"{HEAD},{name},{name}", None) for name in ("participant", "rt", "is_catch", "level")),
    ],
)
def test_columns_of_the_same_name_are_refused(read, head, columns):
    with pytest.raises(InputError, match="mine.csv has several columns '.*': give each its own name"):
        read(f"{head}\na,b,c,b,a\n", columns=columns)


def test_a_mapping_of_some_images_leaves_the_others(read):
    found = read("Bild,image_1,image_2,image_3,odd_one_out\nb,a,a,c,c\n", columns="image_1=Bild")
    assert found["triplet"][:] == [[1, 0, 2]]


def test_participants_are_the_same_as_whole_and_decimal_numbers(read, caplog):
    with caplog.at_level(logging.INFO):
        found = read(f"{HEAD},subject\na,b,c,a,7\na,b,c,b,7.0\na,b,c,c,\na,b,c,c,7.05\n")
    assert found["participant"][:] == ["7", "7", None, "7.05"]
    assert "2 participants; 1 choices without a participant" in caplog.text


# ---- answers


@pytest.mark.parametrize("missing", ["", "NA", "null", "None", "nan", "timeout", "N/A", "-", " "])
def test_missing_answers_are_skipped_and_counted(read, missing, caplog):
    text = f"{HEAD}\na.jpg,b.jpg,c.jpg,a.jpg\na.jpg,b.jpg,c.jpg,{missing}\nc.jpg,b.jpg,a.jpg,a.jpg\n"
    with caplog.at_level(logging.INFO):
        assert read(text)["odd"][:] == [0, 2]
    assert "2 choices" in caplog.text and "skipped trials without an answer: 1" in caplog.text
    with pytest.raises(InputError, match=r"1 of 3 trials of mine.csv have no answer \(rows 3\), .* `max_missing=0.2`"):
        read(text, max_missing=0.2)
    with pytest.raises(InputError, match="a share from 0 to 1, got 2"):
        read(text, max_missing=2)


def test_an_image_may_be_called_like_a_missing_answer(read):
    assert read(f"{HEAD}\nNA,none,-,NA\nNA,none,-,-\n", ["NA", "none", "-"])["odd"][:] == [0, 2]


@pytest.mark.parametrize(
    ("header", "answers", "odd"),
    [
        ("response", "0 1 2", [0, 1, 2]),
        ("response", "1 3 2", [0, 2, 1]),
        ("response", "1.0 3.0", [0, 2]),
        ("odd_one_out", "1 2", [0, 1]),
        ("response", "image_2 Image_3", [1, 2]),
        ("response", "A c", [0, 2]),
        ("response", "img/b.jpg C.JPG", [1, 2]),
        ("response", "1 2", "can be positions from 0 or from 1; say it by `columns=odd=response`"),
        ("response", "0 3", "positions from 0 to 3"),
        ("response", "1 4", "row 3 of mine.csv chooses '4'"),
        ("response", "1 a", "row 2 of mine.csv chooses '1'|row 3 of mine.csv chooses 'a'"),
    ],
)
def test_answers(read, header, answers, odd):
    rows = "".join(f"a.jpg,b.jpg,c.jpg,{answer}\n" for answer in answers.split())
    check_answers(read, f"image_1,image_2,image_3,{header}\n{rows}", odd)


@pytest.mark.parametrize(
    ("head", "answers", "odd"),
    [
        ("image_a,image_b,image_c", "b C", [1, 2]),
        ("left_image,middle_image,right_image", "right Left", [2, 0]),
        ("image_0,image_1,image_2", "image_1 image_0", [1, 0]),
        ("image_0,image_1,image_2", "0 1", [0, 1]),
        ("image_0,image_1,image_2", "3 1", [2, 0]),
        ("image_0,image_1,image_2", "1 2", "only 1 and 2, so that they can be positions from 0 or from 1"),
    ],
)
def test_answers_by_names_of_columns(read, head, answers, odd):
    rows = "".join(f"a,b,c,{answer}\n" for answer in answers.split())
    check_answers(read, f"{head},odd_one_out\n{rows}", odd)


@pytest.mark.parametrize(
    ("rows", "odd"),
    [
        ("4.jpg,5.jpg,6.jpg,5 5.jpg,6.jpg,4.jpg,4", [1, 2]),
        ("1.jpg,2.jpg,3.jpg,3 4.jpg,5.jpg,6.jpg,1", [2, 0]),
        ("1.jpg,2.jpg,3.jpg,3 2.jpg,4.jpg,1.jpg,1", "row 3 has the images '2.jpg', '4.jpg', '1.jpg' and the odd one"),
    ],
)
def test_numbers_are_names_or_positions_if_they_cannot_be_both(read, rows, odd):
    text, names = "\n".join([HEAD, *rows.split()]), [f"{k}.jpg" for k in range(1, 7)]
    check_answers(read, text, odd, names)


def test_a_mapping_says_where_positions_begin(read):
    text = "image_1,image_2,image_3,response\na,b,c,1\na,b,c,2\n"
    assert read(text, columns="odd_one_out=response")["odd"][:] == [0, 1]
    assert read(text, columns={"odd": "response"})["odd"][:] == [1, 2]


def test_screens_that_ask_something_else_are_left_out_and_named(read, caplog):
    rows = ("a,b,c,a,odd", "a,b,c,very sure,confidence", "a,b,c,,fixation", "c,b,a,b,odd", "c,b,a,,odd")
    text = "\n".join(["image_1,image_2,image_3,response,trial_type", *rows])
    with caplog.at_level(logging.INFO):
        assert read(text)["odd"][:] == [0, 1]
    assert "rows of mine.csv with trial_type 'confidence' are left out" in caplog.text
    assert "skipped trials without an answer: 1; skipped rows that are no trials: 2" in caplog.text


def test_results_of_levels_are_not_read_without_their_exclusions(read):
    with pytest.raises(InputError, match="which do not show judgments"):
        read("subject_id,image1Path,image2Path,image3Path,selected_image,rt,exp_trial_type\np,a,b,c,a,900,exp_trial\n")


# ---- what else is known


@pytest.mark.parametrize(
    ("header", "cells", "seconds"),
    [
        ("rt", ["1.5", "NA", "2"], [1.5, None, 2]),
        ("rt", ["1500", "", "2000"], [1.5, None, 2]),
        ("RT (ms)", ["1500", "null", "20"], [1.5, None, 0.02]),
        ("rt", ['"1,5"', '"2,25"', ".5"], [1.5, 2.25, 0.5]),
        ("rt_s", ["80", "90", "100"], "look like milliseconds"),
        ("rt_ms", ["1.5", "2", "3"], "is 0.002 s, if the unit is ms: nobody is so fast. Give the unit as `rt_unit`"),
        ("rt", ["1", "0", "2"], "row 3 of mine.csv has '0' in the column 'rt', which must be a number above 0"),
    ],
)
def test_response_times(read, header, cells, seconds):
    text = f"{HEAD},{header}\n" + "".join(f"a.jpg,b.jpg,c.jpg,a.jpg,{cell}\n" for cell in cells)
    if isinstance(seconds, str):
        with pytest.raises(InputError, match=seconds):
            read(text)
    else:
        assert read(text)["rt"][:] == pytest.approx(seconds)


def test_unit_of_time_as_given(read):
    text = f"{HEAD},rt\na,b,c,a,20\na,b,c,a,30\n"
    assert read(text)["rt"][:] == [20, 30] and read(text, rt_unit="ms")["rt"][:] == pytest.approx([0.02, 0.03])
    with pytest.raises(InputError, match="`rt_unit` must be s or ms, got 'min'"):
        read(text, rt_unit="min")


def test_levels_and_checks_of_attention(read, caplog):
    text = f"{HEAD},Level,Attention Check\na,b,c,a,Coarse,FALSE\na,b,c,a,,1.0\na,b,c,b,NA,\n"
    with caplog.at_level(logging.INFO):
        found = read(text)
    assert found["level"][:] == ["coarse", None, None] and found["is_catch"][:] == [False, True, False]
    assert "1 of them checks of attention" in caplog.text


# ---- files


def test_row_numbers_are_those_of_the_spreadsheet(read):
    row = "a.jpg,b.jpg,c.jpg,a.jpg\n"
    for text in (f"My study\n\n{HEAD}\n{row}\n{row}a.jpg,,c.jpg,a.jpg\n", f"sep=,\n,,\n\n{HEAD}\n\n{2 * row}a.jpg\n"):
        with pytest.raises(InputError, match="row 7 of mine.csv has no image_[23]"):
            read(text)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_delimiters_and_ends_of_lines(read, end, encoding, delimiter):
    head = (*HEAD.split(","), '"Why; in a word, please"', "")
    lines = [delimiter.join(row) for row in (head, ("ä.jpg", "b.jpg", "é.jpg", "é.jpg", '"x, y; z"', ""))]
    found = read(end.join(lines) + 2 * end, ["é.jpg", "ä.jpg", "b.jpg"], encoding=encoding)
    assert found["triplet"][:] == [[1, 2, 0]] and found["odd"][:] == [2]


def test_files_that_are_no_tables(read, tmp_path):
    for file, message in (("mine.csv", "is no text"), ("mine.xlsx", "cannot read the workbook mine.xlsx")):
        with pytest.raises(InputError, match=message):
            read("PK\x03\x04 ...", file=file)
    with pytest.raises(InputError, match="cannot read mine.json as JSON"):
        read("{", file="mine.json")
    with pytest.raises(InputError, match="cannot read mine.json as JSON: it is nested too deeply"):
        read(100_000 * "[", file="mine.json")
    with pytest.raises(InputError, match="is no text"):
        read(f"{HEAD}\na,b,c,a\n", encoding="utf-32")
    with pytest.raises(InputError, match="no row of mine.csv names three images"):
        read(f"{HEAD}\n,,,\n")


def test_a_quote_that_is_never_closed_does_not_swallow_rows(read):
    head, row = f"{HEAD},why\n", "a,b,c,a,5"
    assert len(read(f'{head}{row}"\n{row}\n{row},\n')) == 3
    for tail in ("", ",\n\n"):
        with pytest.raises(InputError, match="row 3 of mine.csv opens a cell by a quote"):
            read(f'{head}{row}\na,b,c,a,"5\n{row}\n{row}{tail}')


# ---- names


@pytest.mark.parametrize(
    ("cells", "names", "rows"),
    [
        (["cat.png"], ["cat.png", "dog/cat.png"], [0]),
        (["img/a/cat.png", r"b\cat.png"], ["a/cat.png", "b/cat.png"], [0, 1]),
        (["https://x.org/exp%201/b/cat.png?v=2", "./a/cat"], ["exp 1/a/cat.png", "exp 1/b/cat.png"], [1, 0]),
        (["CAT.PNG", "Dog"], ["dog.jpg", "cat.png"], [1, 0]),
        (["cat.png", "Cat.png", "img/cat"], ["cat.png"], [0, 0, 0]),
        (["a/cat.png"], ["a/cat.jpg", "b/cat.png"], [0]),
        (["cat.png", "Cat.png"], ["Cat.png", "cat.png"], [1, 0]),
        ([unicodedata.normalize("NFC", "Größe")], [unicodedata.normalize("NFD", "größe.jpg")], [0]),
        (["cat.png"], ["a/cat.png", "b/cat.png"], [AMBIGUOUS]),
        (["cat/1.png", "dog/1.png"], ["1.png", "2.png"], [AMBIGUOUS, AMBIGUOUS]),
        (["bird", "cat.png"], ["cat.png"], [UNKNOWN, 0]),
        (["cat"], ["cat.png", "cat.jpg"], [AMBIGUOUS]),
        (["v1.5", "v1.6"], ["v1.6", "v1.5"], [1, 0]),
    ],
)
def test_names_that_mean_the_same(cells, names, rows):
    assert find_rows(cells, names).tolist() == rows


def test_ambiguous_names_are_listed_with_both_paths(read):
    with pytest.raises(InputError, match=r"'1.jpg' \(may be 'cat/1.jpg' or 'dog/1.jpg'\), .* with their folders"):
        read(f"{HEAD}\n1.jpg,2.jpg,3.jpg,1.jpg\n", ["cat/1.jpg", "dog/1.jpg", "2.jpg", "3.jpg"])


def test_folder_of_tables_of_several_kinds(tmp_path):
    (tmp_path / "anna.tsv").write_text(f"{HEAD}\na,b,c,c\n".replace(",", "\t"))
    (tmp_path / "test_ben.json").write_text('[{"image_1": "b", "image_2": "a", "image_3": "c", "choice": "a"}]')
    found = load_judgments(str(tmp_path), NAMES)
    assert {split: (data["triplet"][0], data["odd"][0]) for split, data in found.items()} == {
        "train": ([0, 1, 2], 2),
        "test": ([1, 0, 2], 1),
    }


def test_values_of_the_same_name_in_an_object_are_refused(tmp_path):
    row = '{"image_1": "a", "image_2": "b", "image_3": "c", "odd_one_out": "c", "odd_one_out": "a"}'
    for content in (f"{row}\n", f"[{row}]", f'{{"trials": [{row}]}}'):
        (tmp_path / "mine.json").write_text(content)
        with pytest.raises(InputError, match="the key 'odd_one_out' comes more than once"):
            load_judgments(str(tmp_path / "mine.json"), ["a", "b", "c"])
