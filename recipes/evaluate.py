"""How human is a model? The command `hf-alignet evaluate`, from a clone.

    python recipes/evaluate.py --model_name_or_path facebook/dinov2-base outputs/dinov2-base-aligned
        --benchmarks choices:choices.csv rsa:rdm48.mat --images user/stimuli user/things48

`python recipes/evaluate.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.evaluate import main

if __name__ == "__main__":
    main()
