"""Tables as software exports them, each read by one call without editing.

The texts follow the public formats: of jsPsych's `data.get().csv()` and `.json()`, JATOS' result files, lab.js'
download, PsychoPy's wide CSV, Gorilla's task data, Qualtrics' CSV and TSV with three rows of header, PsyToolkit's data
files, and what Excel, LibreOffice, Google Sheets, R and pandas write.
"""

import io
import json
import logging
import sys

import pandas as pd
import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments

NAMES = ["cat.png", "dog.png", "car.png", "bus.png"]
TRIPLETS, ODD = [[0, 1, 2], [3, 1, 0], [2, 3, 1]], [2, 0, 1]
# Who, and how fast
PEOPLE, SECONDS = ["p1", "p1", "p2"], [1.5, 2.25, 0.8]

EXCEL = """sep=;
Bild 1;Image 2;Image 3;Odd one out;Subject;RT;Gefühl
cat.png;dog.png;car.png;car.png;p1;1,5;schön
bus.png;dog.png;cat.png;bus.png;p1;2,25;
car.png;bus.png;dog.png;bus.png;p2;0,8;
;;;;;;
"""
SHEETS = """Odd one out study of May\t\t\t\t\t
\t\t\t\t\t
image_1\timage_2\timage_3\tchoice\tparticipant ID\treaction time (s)
cat\tdog\tcar\tcar\tp1\t1.5
bus\tdog\tcat\tbus\tp1\t2.25
car\tbus\tdog\tbus\tp2\t0.8
"""
R = """"";"img1";"img2";"img3";"odd";"subj";"rt"
"1";"cat.png";"dog.png";"car.png";3;"p1";1,5
"2";"bus.png";"dog.png";"cat.png";1;"p1";2,25
"3";"car.png";"bus.png";"dog.png";2;"p2";0,8
"""
JSPSYCH = """"rt","stimulus","response","trial_type","trial_index","time_elapsed","choices","subject_id"
"null","<p>Which is odd?</p>","0","html-button-response","0","1200","[""Start""]","p1"
"null","+","null","html-keyboard-response","1","1700","NO_KEYS","p1"
"1500","Odd?","2","html-button-response","2","3400","[""img/cat.png"",""img/dog.png"",""img/car.png""]","p1"
"2250","Odd?","0","html-button-response","3","6100","[""img/bus.png"",""img/dog.png"",""img/cat.png""]","p1"
"null","Odd?","null","html-button-response","4","9100","[""img/bus.png"",""img/car.png"",""img/cat.png""]","p1"
"800","Odd?","1","html-button-response","2","2200","[""img/car.png"",""img/bus.png"",""img/dog.png""]","p2"
"""
LAB_JS = """sender,sender_type,sender_id,timestamp,meta,duration,ended_on,response,left,middle,right,participant
Start,html.Screen,0,2024-05-01T09:00:00.000Z,"{""labjs_version"":""20.2.4""}",4021.5,response,continue,,,,
Fixation,canvas.Screen,1_0_0,2024-05-01T09:00:05.000Z,,500,timeout,,cat.png,dog.png,car.png,p1
Choice,html.Screen,1_0_1,2024-05-01T09:00:06.000Z,,1500,response,right,cat.png,dog.png,car.png,p1
Choice,html.Screen,1_1_1,2024-05-01T09:00:09.000Z,,2250,response,left,bus.png,dog.png,cat.png,p1
Choice,html.Screen,1_2_1,2024-05-01T09:00:12.000Z,,5000,timeout,,bus.png,car.png,cat.png,p1
Choice,html.Screen,1_0_1,2024-05-01T10:00:06.000Z,,800,response,middle,car.png,bus.png,dog.png,p2
"""
PSYCHOPY_MOUSE = """image_1,image_2,image_3,trials.thisN,mouse.x,mouse.clicked_name,mouse.time,participant,date,
,,,,,,,p1,2024-05-01_09h00.00.000,
stimuli/cat.png,stimuli/dog.png,stimuli/car.png,0,0.4,['image_3'],[1.5],p1,2024-05-01_09h00.00.000,
stimuli/bus.png,stimuli/dog.png,stimuli/cat.png,1,-0.4,['image_1'],[2.25],p1,2024-05-01_09h00.00.000,
stimuli/car.png,stimuli/bus.png,stimuli/dog.png,2,0.0,['image_2'],[0.8],p2,2024-05-01_09h00.00.000,
"""
PSYCHOPY_KEYS = """\
leftImage,middleImage,rightImage,trials.thisN,key_instr.keys,key_instr.rt,odd_resp.keys,odd_resp.rt,participant,
,,,,space,3.2,,,p1,
stimuli\\cat.png,stimuli\\dog.png,stimuli\\car.png,0,,,3,1.5,p1,
stimuli\\bus.png,stimuli\\dog.png,stimuli\\cat.png,1,,,1,2.25,p1,
stimuli\\bus.png,stimuli\\car.png,stimuli\\cat.png,2,,,None,,p1,
stimuli\\car.png,stimuli\\bus.png,stimuli\\dog.png,3,,,2,0.8,p2,
"""
GORILLA = """\
Event Index,Participant Public ID,Participant Private ID,Zone Type,Reaction Time,Response,Image1,Image2,Image3
1,BLIND,p1,BEGIN TASK,,,,,
2,BLIND,p1,fixation,500.1,,cat.png,dog.png,car.png
3,BLIND,p1,response_button_image,1500,car.png,cat.png,dog.png,car.png
4,BLIND,p1,fixation,500.2,,bus.png,dog.png,cat.png
5,BLIND,p1,response_button_image,2250,bus.png,bus.png,dog.png,cat.png
6,BLIND,p2,timelimit_screen,800,AUTO ADVANCE,car.png,bus.png,dog.png
7,BLIND,p2,response_button_image,800,bus.png,car.png,bus.png,dog.png
END OF FILE
"""
QUALTRICS = [
    ["StartDate", "Status", "Duration (in seconds)", "ResponseId"]
    + [f"{k}_{name}" for k in (1, 2) for name in ("image_1", "image_2", "image_3", "odd", "Q4_Page Submit")],
    ["Start Date", "Response Type", "Duration (in seconds)", "Response ID"]
    + [f"Which is odd,\n{name}?" for _ in (1, 2) for name in ("a", "b", "c", "d", "Timing - Page Submit")],
    [json.dumps({"ImportId": f"QID{i}", "timeZone": "Europe/Berlin"}) for i in range(14)],
    ["2024-05-01 09:00:00", "Survey Preview", "10", "R_0", *(["cat.png", "dog.png", "car.png", "dog.png", "1"] * 2)],
    ["2024-05-01 09:10:00", "IP Address", "200", "p1"]
    + ["cat.png", "dog.png", "car.png", "car.png", "1.5", "bus.png", "dog.png", "cat.png", "bus.png", "2.25"],
    ["2024-05-01 10:10:00", "IP Address", "210", "p2", "car.png", "bus.png", "dog.png", "bus.png", "0.8"] + [""] * 5,
]
PSYTOOLKIT = """oddtask p1 cat dog car 3 1500 1
oddtask p1 bus dog cat 1 2250 1
oddtask p2 car bus dog 2 800 1
"""


def records(odd: str = "response", first: int = 0) -> list[dict]:
    return [
        {"image_1": NAMES[t[0]], "image_2": NAMES[t[1]], "image_3": NAMES[t[2]], odd: odd_one + first}
        | {"participant": who, "rt": 1000 * seconds, "trial_type": "image-button-response"}
        for t, odd_one, who, seconds in zip(TRIPLETS, ODD, PEOPLE, SECONDS, strict=True)
    ]


def qualtrics(delimiter: str) -> str:
    text = io.StringIO()
    pd.DataFrame(QUALTRICS).to_csv(text, index=False, header=False, sep=delimiter)
    return text.getvalue()


def jspsych_json() -> str:
    other = {"trial_type": "instructions", "rt": 3000, "view_history": [{"page_index": 0, "viewing_time": 12}]}
    return json.dumps([other, *records()])


def jatos() -> str:
    """One participant a line."""
    rows = records()
    return json.dumps(rows[:2]) + "\n" + json.dumps(rows[2:]) + "\n"


MILLISECONDS = ("j.csv", "j.json", "jatos.jsonl", "l.csv", "g.csv", "s.1234.data.txt")
EXPORTS = {
    "Excel, semicolons and decimal commas": (
        "e.csv",
        EXCEL,
        "cp1252",
        {"columns": "image_1=Bild 1,image_2=Image 2,image_3=Image 3"},
    ),
    "Google Sheets, with a title": ("s.tsv", SHEETS, "utf-8", {}),
    "Excel, Unicode text": ("u.txt", SHEETS, "utf-16", {}),
    "R, write.csv2": ("r.csv", R, "utf-8-sig", {}),
    "jsPsych, CSV": ("j.csv", JSPSYCH, "utf-8", {}),
    "jsPsych, JSON": ("j.json", jspsych_json(), "utf-8", {}),
    "JATOS, a list a line": ("jatos.jsonl", jatos(), "utf-8", {}),
    "lab.js": ("l.csv", LAB_JS, "utf-8", {}),
    "PsychoPy, clicks": ("m.csv", PSYCHOPY_MOUSE, "utf-8-sig", {}),
    "PsychoPy, keys": ("k.csv", PSYCHOPY_KEYS, "utf-8-sig", {"columns": "rt=odd_resp.rt,odd_one_out=odd_resp.keys"}),
    "Gorilla": ("g.csv", GORILLA, "utf-8-sig", {}),
    "Qualtrics, CSV of a loop": ("q.csv", qualtrics(","), "utf-8-sig", {}),
    "Qualtrics, TSV of a loop": ("q.tsv", qualtrics("\t"), "utf-16", {}),
    "PsyToolkit, no header": (
        "s.1234.data.txt",
        PSYTOOLKIT,
        "utf-8",
        {"columns": "participant=2,image_1=3,image_2=4,image_3=5,odd_one_out=6,rt=7"},
    ),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_text_exports(export, tmp_path, caplog):
    file, text, encoding, settings = EXPORTS[export]
    (tmp_path / file).write_text(text, encoding=encoding, newline="")
    with caplog.at_level(logging.INFO):
        found = load_judgments(str(tmp_path / file), NAMES, **settings)["train"]
    order = [0, 2, 1] if "loop" in export else [0, 1, 2]  # first all first passes
    assert found["triplet"][:] == [TRIPLETS[i] for i in order] and found["odd"][:] == [ODD[i] for i in order]
    assert found["participant"][:] == [PEOPLE[i] for i in order]
    assert found["rt"][:] == pytest.approx([SECONDS[i] for i in order])
    assert ("read as Western European text (Windows-1252)" in caplog.text) == (encoding == "cp1252")
    assert ("in ms (by their median; median 1.5 s)" in caplog.text) == (file in MILLISECONDS)
    assert f"{file}: 3 choices; 2 participants" in caplog.text


@pytest.mark.parametrize("sheet", ["first", "second"])
def test_workbook(sheet, tmp_path):
    pytest.importorskip("openpyxl")
    rows = [["Study of May", *[None] * 5], [None] * 6]
    rows += [["Image 1", "Image 2", "Image 3", "Answer", "Worker", "RT (ms)"]]
    used = ("image_1", "image_2", "image_3", "response", "participant", "rt")
    rows += [[record[name] for name in used] for record in records(first=1)]
    rows[-1][3] = None
    with pd.ExcelWriter(tmp_path / "study.xlsx") as book:
        if sheet == "second":
            pd.DataFrame([["read me"]]).to_excel(book, sheet_name="notes", header=False, index=False)
        pd.DataFrame(rows).to_excel(book, sheet_name="data", header=False, index=False)
    found = load_judgments(str(tmp_path / "study.xlsx"), NAMES)["train"]
    assert found["triplet"][:] == TRIPLETS[:2] and found["odd"][:] == ODD[:2]
    assert found["participant"][:] == PEOPLE[:2] and found["rt"][:] == pytest.approx(SECONDS[:2])
    with pytest.raises(InputError, match=r"1 of 3 trials of study.xlsx have no answer \(rows 6\), .*`max_missing=0`"):
        load_judgments(str(tmp_path / "study.xlsx"), NAMES, max_missing=0)


def test_several_sheets_of_choices_are_refused(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "study.xlsx") as book:
        for person in ("anna", "ben"):
            pd.DataFrame(records()).to_excel(book, sheet_name=person, index=False)
    with pytest.raises(InputError, match="the sheets anna, ben of the workbook study.xlsx all have choices"):
        load_judgments(str(tmp_path / "study.xlsx"), NAMES)


def test_a_participant_above_the_trials(tmp_path):
    trials = [{key: value for key, value in trial.items() if key != "participant"} for trial in records()]
    people = [{"subject": "p1", "age": 30, "trials": trials[:2]}, {"subject": "p2", "age": 40, "trials": trials[2:]}]
    (tmp_path / "study.json").write_text(json.dumps(people))
    assert load_judgments(str(tmp_path / "study.json"), NAMES)["train"]["participant"][:] == PEOPLE


def test_pictures_in_a_table_have_the_names_of_their_paths(tmp_path):
    pictures = [{"bytes": b"picture", "path": name} for name in NAMES]
    table = {f"image_{k + 1}": [pictures[row[k]] for row in TRIPLETS] for k in range(3)}
    pd.DataFrame({**table, "choice": [NAMES[row[odd]] for row, odd in zip(TRIPLETS, ODD, strict=True)]}).to_parquet(
        tmp_path / "study.parquet"
    )
    found = load_judgments(str(tmp_path / "study.parquet"), NAMES)["train"]
    assert found["triplet"][:] == TRIPLETS and found["odd"][:] == ODD


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json"])
def test_pandas(suffix, tmp_path):
    table, path = pd.DataFrame(records("odd_one_out", first=1)), tmp_path / f"mine.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=suffix == "jsonl")
    found = load_judgments(str(path), NAMES)["train"]
    assert found["triplet"][:] == TRIPLETS and found["odd"][:] == ODD and found["rt"][:] == pytest.approx(SECONDS)


def test_a_workbook_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    pd.DataFrame(records()).to_excel(tmp_path / "study.xlsx", index=False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"install openpyxl: pip install 'hf_alignet\[tables\]'; or save it as CSV"):
        load_judgments(str(tmp_path / "study.xlsx"), NAMES)
