"""The adapter that the flags describe."""

from hf_alignet.cli.arguments.lora_arguments import LoraArguments


def test_adapter_is_what_the_flags_say():
    assert LoraArguments(lora_r=4).config() is None
    lora = LoraArguments(use_lora=True).config()
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules) == (16, 32, 0.0, None)
    lora = LoraArguments(
        use_lora=True, lora_r=4, lora_alpha=6, lora_dropout=0.1, lora_target_modules=["q", "v"]
    ).config()
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules) == (4, 6, 0.1, {"q", "v"})
    assert LoraArguments(use_lora=True, lora_target_modules=["all-linear"]).config().target_modules == "all-linear"
