"""Collect odd-one-out choices in the browser: the command `hf-alignet collect` from a clone.

    python recipes/collect.py init my-study --images my-pictures --num_participants 100
    python recipes/collect.py serve my-study

`--help` explains the steps, and `STEP --help` their settings.
"""

from hf_alignet.cli.collect import main

if __name__ == "__main__":
    main()
