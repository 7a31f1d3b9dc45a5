"""Share a dataset, a transform, a metric or a model on the Hub: the command `hf-alignet publish` from a clone.

    python recipes/publish.py dataset choices.csv user/choices --object_names names.txt
    python recipes/publish.py model outputs/dinov2-small-aligned user/dinov2-small-aligned

`--help` explains the settings.
"""

from hf_alignet.cli.publish import main

if __name__ == "__main__":
    main()
