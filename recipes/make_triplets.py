"""Make triplets of any images, labelled by a teacher: the command `hf-alignet make-triplets`, from a clone.

    python recipes/make_triplets.py --images my-images --teacher facebook/dinov2-base --transform outputs/teacher
        --num_triplets 1000000 --output_dir outputs/triplets

Several processes share the embedding: `accelerate launch recipes/make_triplets.py …`. `--help` has more examples, and
explains every setting.
"""

from hf_alignet.cli.make_triplets import main

if __name__ == "__main__":
    main()
