"""Names and facts of other people stay text, in every card and table."""

import json
import re

import pytest

from hf_alignet.encoder import AffineTransform
from hf_alignet.hub.cards.measured_card import update_card
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.rendering import render_card
from hf_alignet.markdown import code, plain, quoted, table

METRIC = {"value": 0.5, "n": 100, "chance": 1 / 3, "ci95": [0.4, 0.6], "unit": "objects"}
WORDS = {
    "html": "<img src=x onerror=alert(1)>",
    "image": "![x](http://evil/p.png)",
    "reference": "![x][y]\n\n[y]: http://evil",
    "heading": "x\n\n# FREE\n\nx",
    "first": "# FREE",
    "row": "a | b |\n| c | d",
    "fence": "x\n```\n<b>out</b>\n```\n",
    "code": "a` <b>x</b> `b",
    "yaml": "x\n---\nlicense: evil\n---\n",
    "python": '"); import os #',
    "entity": "&lt;b&gt; &#60;",
    "direction": "a\u202eb",
}


def check(text: str) -> None:
    """No HTML, image, link, heading or licence of others, no broken code, and every table keeps its columns."""
    _, metadata, body = re.split(r"^---\n", text, maxsplit=2, flags=re.M)
    assert not re.search("^license: evil", metadata, re.M)
    assert not re.search(r"<(?!!--)|!\[x|\]\(http://evil|\]\[y|^ *#+ FREE|^\[y\]|\u202e|&#60;|&lt;b&gt;", body, re.M)
    for snippet in re.findall(r"```python\n(.*?)```", body, re.S):
        assert "\nimport os" not in snippet
        compile(snippet, "card", "exec")
    for rows in re.findall(r"(?:^\|.*\|\n)+", body, re.M):
        columns = {len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}
        assert len(columns) == 1, rows


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_words_of_others_are_text_in_every_card(word, tmp_path):
    facts = {"pooling": "cls", "similarity": "dot", "exported_temperature": 12.5, "num_images": 3, "images": "u/i"}
    facts |= {"num_prefix_tokens": 1}
    metrics = {f"{word}/test/accuracy": METRIC}
    for name in ("base_model", "teacher", "teacher_transform", "triplets", "images", "pooling", "command", word):
        (tmp_path / "alignment.json").write_text(json.dumps(facts | {name: word}))
        (tmp_path / "results.json").write_text(json.dumps({"base": metrics, "aligned": metrics}))
        write_model_card(tmp_path, "u/n")
        check((tmp_path / "README.md").read_text())
    for name in ("images", "teacher", "official", "command", "versions", word):
        info = facts | {"transform": None, name: {word: word} if name == "versions" else word}
        shown = {"images_id": None, "folders": ["triplets"], "has_elbow": False, "repo_id": "u/n"}
        data = AffineTransform.identity(2).generate_model_card().data
        check(str(render_card("triplets.md.jinja", data, info=info, num_rows={word: 1}, **shown)))
    for name in ("base_model", "judgments", "pooling", "warning", "command"):
        check(str(AffineTransform(*[[[1.0]], [0.0]], info={name: word}).generate_model_card("u/n")))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# x\n")
    name = word.replace("/", "")
    update_card(tmp_path, {f"{name}/test/odd_one_out_accuracy": METRIC}, {name: "local"})
    check((tmp_path / "README.md").read_text())


def test_usual_names_stay_as_they_are():
    for name in ("user/my_model-2.0", "a_b (c), 50 % > 3", "-1.5", "R&D", "C:/x, #3, 2.5"):
        assert plain(name) == name
        assert code(name) == f"`{name}`"
    assert plain("['a', 'b'] [0.4, 0.6]") == "['a', 'b'] [0.4, 0.6]"
    assert quoted("user/name") == '"user/name"'
    assert table([["a", "b"], ["x|y", "1"]]) == "| a    | b |\n| ---- | - |\n| x\\|y | 1 |"
