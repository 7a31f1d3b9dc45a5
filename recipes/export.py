"""Export a model to ONNX: the command `hf-alignet export` from a clone.

    python recipes/export.py outputs/dinov2-small-aligned --output_dir outputs/onnx --int8

`--help` explains the settings.
"""

from hf_alignet.cli.export import main

if __name__ == "__main__":
    main()
