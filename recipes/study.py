"""How does alignment go together with usefulness over many models? The command `hf-alignet study`, from a clone.

    accelerate launch recipes/study.py --config study.yaml

`python recipes/study.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.study import main

if __name__ == "__main__":
    main()
