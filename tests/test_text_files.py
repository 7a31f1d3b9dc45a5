import pytest

from hf_alignet.errors import InputError
from hf_alignet.text_files import load_json, load_yaml


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("a: 10\nb: [1, -2]\n", {"a": 10, "b": [1, -2]}),
        ("a: 1_000\nb: 0\nc: 1.5\nd: '010'\ne: no\n", {"a": 1000, "b": 0, "c": 1.5, "d": "010", "e": False}),
        ("\ufeffa: ü\n", {"a": "ü"}),
    ],
)
def test_yaml(text, content, tmp_path):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert load_yaml(tmp_path / "a.yaml", "the settings") == content


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"seed: 1\nrate: 2\nseed: 3\n", "the key 'seed' comes more than once"),
        (b"a: {b: 1, b: 1}\n", "the key 'b' comes more than once"),
        (b"seed: 010\n", "'010' is not a decimal number"),
        (b"seed: 0x10\n", "'0x10' is not a decimal number"),
        (b"seed: 1:30\n", "'1:30' is not a decimal number"),
        (BOMB.encode(), "an alias"),
        (b"[" * 100_000, "recursion"),
        (b"a: [1\n", "expected"),
        (b"a: \xff\n", "codec"),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"a: 2026-13-45\n", "month"),
    ],
)
def test_yaml_that_would_be_misread_is_refused(text, problem, tmp_path):
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(InputError, match=f"cannot read the settings .*a.yaml: .*{problem}"):
        load_yaml(tmp_path / "a.yaml", "the settings")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "Expecting value"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": \xff}', "codec"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' comes more than once"),
        (b"[1]", "must hold a JSON object, and holds list"),
        (b"null", "must hold a JSON object, and holds NoneType"),
    ],
)
def test_json_that_is_no_object_is_refused(text, problem, tmp_path):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(InputError, match=f"cannot read the settings .*a.json: .*{problem}"):
        load_json(tmp_path / "a.json", "the settings")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the settings"):
        load_json(tmp_path, "the settings")
    with pytest.raises(InputError, match="cannot read the settings"):
        load_yaml(tmp_path / "nowhere.yaml", "the settings")
