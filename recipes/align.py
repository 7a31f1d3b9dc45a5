"""Align a vision encoder with human similarity judgments: the command `hf-alignet align`, from a clone.

    accelerate launch recipes/align.py
    accelerate launch recipes/align.py --model_name_or_path facebook/dinov2-small --images user/images
        --triplets user/triplets --output_dir outputs/dinov2-small-aligned --bf16

Without flags it is the demo. `python recipes/align.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.align import main

if __name__ == "__main__":
    main()
