import pytest

from hf_alignet.cli.arguments.alignment import DataArguments, StudentArguments
from hf_alignet.errors import InputError


def test_adapter_is_what_the_flags_say():
    assert StudentArguments(lora_r=4).lora is None
    lora = StudentArguments(use_lora=True).lora
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules) == (16, 32, 0.0, None)
    lora = StudentArguments(
        use_lora=True, lora_r=4, lora_alpha=6, lora_dropout=0.1, lora_target_modules=["q", "v"]
    ).lora
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules) == (4, 6, 0.1, {"q", "v"})
    assert StudentArguments(use_lora=True, lora_target_modules=["all-linear"]).lora.target_modules == "all-linear"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "x"}, "give both `images` and `triplets`"),
        ({"triplets": "x"}, "give both `images` and `triplets`"),
        ({"class_vectors": "v.npy"}, "the teacher's vectors belong to `images`"),
        ({"triplet_source": "batch"}, "`triplet_source=batch` needs `teacher_embeddings` or `class_vectors`"),
        ({"teacher_embeddings": "a.npy", "class_vectors": "b.npy"}, "not both"),
    ],
)
def test_data_that_do_not_go_together(settings, message):
    with pytest.raises(InputError, match=message):
        DataArguments(**settings)
