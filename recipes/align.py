"""Align a vision encoder with human similarity judgments, and measure it before and after.

The embedded demo needs no download and takes minutes on two CPU cores:

    accelerate launch recipes/align.py

Your own images, and triplets of them labelled by a teacher, with full fine-tuning:

    accelerate launch recipes/align.py --model_name_or_path facebook/dinov2-small --images user/images
        --triplets user/triplets --output_dir outputs/dinov2-small-aligned --bf16

The same as a small adapter on the frozen model, shared on the Hub: add

    --use_lora --learning_rate 1e-4 --push_to_hub --hub_model_id user/name
"""

import logging
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import set_seed

from hf_alignet.analysis import before_after_figure
from hf_alignet.cli.arguments.alignment import DataArguments, StudentArguments
from hf_alignet.cli.command import Command
from hf_alignet.demo import ENCODER_DIRECTORY, demo_images, demo_triplets
from hf_alignet.encoder.export import check_sharing
from hf_alignet.errors import InputError
from hf_alignet.evaluation import evaluate_splits
from hf_alignet.hub.transport.license import stated_license
from hf_alignet.hub.transport.provenance import dataset_commit, model_commit
from hf_alignet.hub.transport.repository import make_repository
from hf_alignet.images.opening import load_images
from hf_alignet.metric import comparison_table
from hf_alignet.sources import public_name, split_revision
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, load_student
from hf_alignet.student.checkpoints import find_checkpoint
from hf_alignet.student.training_data import describe_teacher, open_images, training_data, without_images
from hf_alignet.triplets import load_triplets

DEMO_CONFIG = Path(__file__).parent / "configs" / "demo.yaml"
HELD_OUT_SHARE = 0.05

logger = logging.getLogger("align")


def load_data(data: DataArguments, seed: int) -> tuple[Dataset, DatasetDict, str]:
    """Images, triplets by split (one of them `train`), and the name of the triplets."""
    if data.images is None or data.triplets is None:
        images = demo_images()
        return images, demo_triplets(images), "demo"
    name = split_revision(public_name(data.triplets))[0].split("/")[-1]
    images, triplets = load_images(data.images), load_triplets(data.triplets)
    if "train" not in triplets:
        raise InputError(f"{data.triplets!r} has no split train; it has {', '.join(triplets)}")
    if len(triplets) == 1:
        logger.warning("no held-out split: measuring on %.0f %% of the triplets, of images seen", 100 * HELD_OUT_SHARE)
        split = triplets["train"].train_test_split(HELD_OUT_SHARE, seed=seed)
        triplets = DatasetDict(train=split["train"], validation=split["test"])
    return images, triplets, name


COMMAND = Command(
    name="align",
    dataclasses=[DataArguments, StudentArguments, AlignTrainingArguments],
    description=str(__doc__),
    default_config=lambda given: None if given.images or given.triplets else DEMO_CONFIG,
    launches=True,
)


def describe(data: DataArguments, student: StudentArguments, push_to_hub: bool) -> dict[str, Any]:
    """Facts about where a run starts, for the card."""
    base = student.model_name_or_path or str(ENCODER_DIRECTORY)
    lora = {"lora_r": student.lora_r, "lora_alpha": student.lora_alpha} if student.use_lora else {}
    return {
        "base_model": public_name(base) if student.model_name_or_path else "hf_alignet demo encoder",
        "base_model_commit": model_commit(base),
        "base_model_license": stated_license(base, ask_hub=push_to_hub) or None,
        "images": public_name(data.images or "hf_alignet demo"),
        "triplets": public_name(data.triplets or "hf_alignet demo"),
        **describe_teacher(data.triplets, data.teacher_embeddings, data.class_vectors, data.triplet_source),
        **lora,
        "pictures_shown": data.images is None or data.i_have_the_right_to_share_images,
        "command": COMMAND.line(),
    }


def align(data: DataArguments, student: StudentArguments, args: AlignTrainingArguments) -> None:
    logging.basicConfig(level=logging.INFO if args.should_log else logging.ERROR, format="%(message)s")
    checkpoint = find_checkpoint(str(args.output_dir), args.resume_from_checkpoint)
    if data.images is not None and student.model_name_or_path is None:
        raise InputError("give `model_name_or_path` with your images: the small encoder of the demo knows only emoji")
    set_seed(args.seed)

    model = student.model_name_or_path or str(ENCODER_DIRECTORY)
    encoder = load_student(model, student.pooling, student.trust_remote_code, student.lora, student.merge_lora)
    if args.push_to_hub and not student.merge_lora:
        check_sharing(encoder)
    if args.push_to_hub and args.should_save:
        # Before anything long
        make_repository(args.hub_name, args.hub_private_repo, revision=args.hub_revision, token=args.hub_token)
    images, triplets, name = load_data(data, args.seed)
    cache = (data.cache_images, data.on_bad_image, args.dataloader_num_workers, not args.disable_tqdm)
    reader, bad = open_images(images, triplets, encoder.preprocessor, *cache)
    vectors = (data.teacher_embeddings, data.class_vectors, data.triplet_source)
    train = training_data(images, triplets["train"], bad, *vectors, args.seed)
    num_triplets = sum(triplets.num_rows.values())
    triplets = without_images(triplets, bad)
    held_out = {split: dataset for split, dataset in triplets.items() if split != "train"}
    evaluated = held_out if args.eval_strategy != "no" else None  # while training; before and after, always
    trainer = AlignTrainer(encoder, args, train_dataset=train, eval_dataset=evaluated, images=reader)
    trainer.provenance = describe(data, student, args.push_to_hub) | {
        "images_commit": dataset_commit(images),
        "triplets_commit": dataset_commit(triplets["train"]),
        "num_images": len(images),
        "num_train_triplets": len(triplets["train"]),
        "num_skipped_images": len(bad),
        "num_skipped_triplets": num_triplets - sum(triplets.num_rows.values()),
    }

    def measure() -> Any:
        return evaluate_splits(encoder, reader, held_out, name, args.similarity, **args.embed_options())

    base, rows, base_embeddings = measure()
    trainer.train(resume_from_checkpoint=checkpoint)
    if student.merge_lora:
        encoder.merge_adapter()
    aligned, _, aligned_embeddings = measure()
    trainer.save_results(base, aligned)

    if args.should_save:
        output = trainer.output_dir
        before_after_figure(
            output / "before_after.png",
            base,
            aligned,
            images,
            rows,
            base_embeddings,
            aligned_embeddings,
            show_pictures=trainer.provenance["pictures_shown"],
        )
        trainer.create_model_card()
        logger.info("\n%s\n\nThe aligned model is in %s", comparison_table(base, aligned), output)
    try:
        if args.push_to_hub:
            trainer.push_to_hub()
    finally:
        trainer.end()


def main() -> None:
    COMMAND.run(align)


if __name__ == "__main__":
    main()
