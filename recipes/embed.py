"""Embed images for a search index: the command `hf-alignet embed` from a clone, also under `accelerate launch`.

    python recipes/embed.py outputs/dinov2-small-aligned my-images --output_dir outputs/embeddings

`--help` explains the settings.
"""

from hf_alignet.cli.embed import main

if __name__ == "__main__":
    main()
