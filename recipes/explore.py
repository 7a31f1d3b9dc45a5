"""What does a model find similar? The command `hf-alignet explore`, from a clone.

    python recipes/explore.py --base facebook/dinov2-base --aligned outputs/dinov2-base-aligned --images user/images

`python recipes/explore.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.explore import main

if __name__ == "__main__":
    main()
