"""What did alignment do? The command `hf-alignet analyze`, from a clone.

    python recipes/analyze.py --base facebook/dinov2-base --aligned outputs/dinov2-base-aligned --images user/images
        --level_columns name category kind

`python recipes/analyze.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.analyze import main

if __name__ == "__main__":
    main()
