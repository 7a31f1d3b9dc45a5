"""Fit a teacher to people's choices: the command `hf-alignet fit-teacher`, from a clone.

    python recipes/fit_teacher.py --judgments choices.csv --images user/stimuli
        --model_name_or_path google/siglip-so400m-patch14-384 --output_dir outputs/siglip-teacher

`python recipes/fit_teacher.py --help` has more examples, and explains every setting.
"""

from hf_alignet.cli.fit_teacher import main

if __name__ == "__main__":
    main()
