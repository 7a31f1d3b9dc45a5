"""From an encoder, images and triplets to an aligned model in a directory: trained, measured before and after."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from peft import LoraConfig
from transformers import set_seed

from hf_alignet.analysis import before_after_figure, save_figure
from hf_alignet.demo import ENCODER_DIRECTORY, demo_images, demo_triplets
from hf_alignet.encoder import Encoder, check_sharing
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import InputError, naming
from hf_alignet.evaluation import evaluate_splits, with_changes
from hf_alignet.hub.cards.model_card import share_undone
from hf_alignet.hub.transport.license import stated_license
from hf_alignet.hub.transport.provenance import dataset_commit, model_commit
from hf_alignet.hub.transport.repository import make_repository
from hf_alignet.images.opening import holds_texts, load_images
from hf_alignet.images.picture_files import refuse_files
from hf_alignet.judgments.own_table import TimeUnit
from hf_alignet.metric import Metric, comparison_table
from hf_alignet.ranges import Share, checked
from hf_alignet.sources import packaged, public_name, split_revision
from hf_alignet.storage import output_folder, require_space
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.checkpoints import MAKER, find_checkpoint
from hf_alignet.student.preparation import Model, load_student
from hf_alignet.student.resumption import check_checkpoint
from hf_alignet.student.training_data import (
    describe_teacher,
    learns_in_batch,
    open_images,
    training_data,
    without_images,
)
from hf_alignet.text_files import load_yaml
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.image_match import match_images
from hf_alignet.triplets.triplet_dataset import ODD, SIMILARITIES, check_triplets

DEMO = "hf_alignet demo"
HELD_OUT_SHARE = 0.05

logger = logging.getLogger(__name__)


def demo_config() -> Path:
    """The settings of the demo."""
    return next(file for file in packaged("configs") if file.stem == "demo")


@checked
def align(
    model: Model | None = None,
    images: str | Dataset | None = None,
    triplets: str | DatasetDict | Dataset | None = None,
    args: AlignTrainingArguments | None = None,
    *,
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    lora: LoraConfig | None = None,
    merge_lora: bool = False,
    teacher_embeddings: str | np.ndarray | None = None,
    class_vectors: str | None = None,
    triplet_source: Literal["auto", "batch", "separate"] = "auto",
    columns: Mapping[str, str] | str | None = None,
    rt_unit: TimeUnit | None = None,
    max_missing: Share = 0.5,
    image_column: str | None = None,
    image_split: str = "train",
    cache_images: str | None = None,
    on_bad_image: Literal["error", "skip"] = "error",
    i_have_the_right_to_share_images: bool = False,
    command: str | None = None,
) -> dict[str, dict[str, Metric]]:
    """Fine-tunes an encoder on labelled triplets of images or texts, and measures it on triplets held out.

    The aligned model is in `args.output_dir`, with results.json, a figure and a card. Without images and triplets it
    is the demo: emoji, simulated raters and, without a model, a small encoder that comes with the package.

    Args:
        model: path or Hub id (optionally with `@revision`), model of transformers or peft, or an encoder.
        images: image dataset, or for a text model one with a column `text`; or its path or Hub id.
        triplets: splits of triplets of the images, or their path or Hub id; or people's choices, as `fit-teacher`
            reads them, for `loss_type="hard"`. All splits but `train` are held out; if `train` is the only one, 5 %
            of it.
        args: settings of the training. Without images, the default is those of the demo.
        pooling: which output of the model is the embedding, if `model` is a path or Hub id.
        trust_remote_code: allow code from the model's repository to run.
        lora: train this adapter on the frozen model, not all weights.
        merge_lora: export plain weights with the adapter merged in.
        teacher_embeddings: the teacher's vectors of all images, (n, p) or a `.npy` file. With them, training labels
            all triplets in each batch of the images that the train split names.
        class_vectors: the same, as a `.npy` file with one vector for each class of the images' column `label`.
        triplet_source: `batch` trains on all triplets in a batch of images, `separate` on those of the train split.
            `auto` is `batch` if the teacher's vectors are given.
        columns: columns of a table of choices, such as `image_1=Left,image_2=Middle,image_3=Right,odd_one_out=Answer`.
            By default common names are known.
        rt_unit: unit of response times in a table. By default the name of their column or their median tells it.
        max_missing: largest share of trials of a table that may have no answer. They are skipped.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        cache_images: directory that keeps resized pictures for all epochs and runs.
        on_bad_image: `error` stops at a picture that cannot be decoded; `skip` leaves out triplets that name one.
        i_have_the_right_to_share_images: show small pictures in the figure, which is shared with the model.
        command: the command that made it, for the card.

    Returns:
        `{"base": metrics, "aligned": metrics}`, odd-one-out accuracy by `dataset/split/odd_one_out_accuracy`.

    Raises:
        InputError: settings, a model or data that cannot work.
        RunError: training cannot go on.

    Example:
        >>> align("facebook/dinov2-small", "my-images", "outputs/triplets")["aligned"]  # doctest: +SKIP
    """
    if (images is None) != (triplets is None):
        given = f"only `{'images' if triplets is None else 'triplets'}={_public(images or triplets)}`"
        raise InputError(
            f"give both `images` and `triplets`, which are rows of the images, or neither for the demo: got {given}"
        )
    if images is not None and model is None:
        raise InputError("give `model` with your images: the small encoder of the demo knows only emoji")
    vectors: dict[str, Any] = {"teacher_embeddings": teacher_embeddings, "class_vectors": class_vectors}
    vectors["triplet_source"] = triplet_source
    learns_in_batch(**vectors)  # refuses what does not go together
    if images is None and (teacher_embeddings is not None or class_vectors is not None):
        raise InputError("the teacher's vectors belong to `images`, which are missing")
    args = args or (AlignTrainingArguments() if images is not None else _demo_arguments())
    with output_folder(str(args.output_dir), MAKER, is_main=args.should_save):
        checkpoint = find_checkpoint(str(args.output_dir), args.resume_from_checkpoint)
        PartialState().wait_for_everyone()  # no process writes there before all have looked
        set_seed(args.seed)

        with naming("model"):
            encoder = load_student(model or str(ENCODER_DIRECTORY), pooling, trust_remote_code, lora, merge_lora)
        if args.push_to_hub and not merge_lora:
            check_sharing(encoder)
        if args.push_to_hub and args.should_save:
            # Before anything long
            make_repository(args.hub_name, args.hub_private_repo, revision=args.hub_revision, token=args.hub_token)
        table = {"columns": columns, "rt_unit": rt_unit, "max_missing": max_missing}
        with naming("images"):
            opened = load_images(images, image_split, image_column) if isinstance(images, str) else images
            if i_have_the_right_to_share_images and isinstance(opened, Dataset) and holds_texts(opened):
                raise InputError(
                    "`i_have_the_right_to_share_images` is for pictures, and these are texts: leave it out"
                )
            if i_have_the_right_to_share_images and isinstance(images, Dataset):
                refuse_files(images, "i_have_the_right_to_share_images")
        dataset, splits = _open_data(opened, triplets, table, args)
        cache = (cache_images, on_bad_image, args.dataloader_num_workers, not args.disable_tqdm)
        reader, bad = open_images(dataset, splits, encoder.preprocessor, *cache)
        train = training_data(dataset, splits["train"], bad, **vectors, seed=args.seed)
        num_triplets = sum(splits.num_rows.values())
        splits = without_images(splits, bad)
        held_out = {split: rows for split, rows in splits.items() if split != "train"}
        evaluated = held_out if args.eval_strategy != "no" else None  # during training; before and after, always
        trainer = AlignTrainer(encoder, args, train_dataset=train, eval_dataset=evaluated, images=reader)
        trainer.held_out = list(held_out.values())
        if checkpoint is not None:
            check_checkpoint(checkpoint, trainer.run)  # before anything long
        trainer.provenance = _describe(encoder, model, images, triplets, lora, args.push_to_hub) | {
            **describe_teacher(triplets if images is None or isinstance(triplets, str) else "", **vectors),
            "pictures_shown": images is None or i_have_the_right_to_share_images,
            "command": command,
            "images_commit": dataset_commit(dataset),
            "triplets_commit": dataset_commit(splits["train"]),
            "num_images": len(dataset),
            "num_train_triplets": len(splits["train"]),
            "num_skipped_images": len(bad),
            "num_skipped_triplets": num_triplets - sum(splits.num_rows.values()),
        }
        name = _short_name(triplets)

        def measure() -> tuple[dict[str, Metric], np.ndarray, np.ndarray]:
            return evaluate_splits(encoder, reader, held_out, name, args.similarity, **args.embed_options())

        if args.should_save:
            require_space(trainer.output_dir, trainer.least_bytes())
        base, rows, base_embeddings = measure()
        trainer.train(resume_from_checkpoint=checkpoint)
        if merge_lora:
            encoder.merge_adapter()
        measured, _, aligned_embeddings = measure()
        aligned = with_changes(base, measured)
        trainer.save_results(base, aligned)
        if args.should_save:
            shown = trainer.provenance["pictures_shown"]
            embeddings = (base_embeddings, aligned_embeddings)
            figure = before_after_figure(base, aligned, dataset, rows, *embeddings, show_pictures=shown)
            save_figure(figure, trainer.output_dir / "before_after.png")
            trainer.create_model_card()
            text = "\n\n".join(filter(None, [comparison_table(base, aligned), share_undone(trainer.interpolation)]))
            logger.info("\n%s\n\nThe aligned model is in %s", text, args.output_dir)
        try:
            if args.push_to_hub:
                trainer.push_to_hub()
        finally:
            trainer.end()
        return {"base": base, "aligned": aligned}


def _demo_arguments() -> AlignTrainingArguments:
    return AlignTrainingArguments(**load_yaml(demo_config(), "the settings of the demo"))


def _open_data(
    dataset: Dataset | None,
    triplets: str | DatasetDict | Dataset | None,
    table: dict[str, Any],
    args: AlignTrainingArguments,
) -> tuple[Dataset, DatasetDict]:
    """Images, and triplets by split, one of them `train`."""
    if dataset is None or triplets is None:
        dataset = demo_images()
        return dataset, demo_triplets(dataset)
    splits = triplets
    if isinstance(splits, str):
        with naming("triplets"):
            splits = match_images(load_triplets(splits, dataset, **table), splits, dataset, not args.disable_tqdm)
    if isinstance(splits, Dataset):
        splits = DatasetDict(train=splits)
    if "train" not in splits:
        raise InputError(f"{_short_name(triplets)!r} has no split train; it has {', '.join(splits)}")
    if len(splits) == 1 and len(splits["train"]) == 1:
        raise InputError(f"{_short_name(triplets)!r} has one triplet, and none to measure on: give more")
    if len(splits) == 1:
        logger.warning("no held-out split: measuring on %.0f %% of the triplets, of images seen", 100 * HELD_OUT_SHARE)
        # Before the rows are shuffled: messages name those of the user
        check_triplets(splits["train"], len(dataset), ODD if args.loss_type == "hard" else SIMILARITIES)
        split = splits["train"].train_test_split(HELD_OUT_SHARE, seed=args.seed)
        splits = DatasetDict(train=split["train"], validation=split["test"])
    return dataset, splits


def _short_name(triplets: object) -> str:
    """What metrics call the triplets."""
    if triplets is None:
        return "demo"
    return split_revision(public_name(triplets))[0].split("/")[-1] if isinstance(triplets, str) else "triplets"


def _describe(
    encoder: Encoder,
    model: Model | None,
    images: object,
    triplets: object,
    lora: LoraConfig | None,
    ask_hub: bool,
) -> dict[str, Any]:
    """Facts about where a run starts, for the card."""
    base = model if isinstance(model, str) else str(encoder.backbone.name_or_path)
    return {
        "base_model": f"{DEMO} encoder" if model is None else public_name(base),
        "base_model_commit": model_commit(base),
        "base_model_license": stated_license(base, ask_hub=ask_hub) or None,
        "images": _public(images),
        "triplets": _public(triplets),
        **({"lora_r": lora.r, "lora_alpha": lora.lora_alpha} if lora is not None else {}),
    }


def _public(data: object) -> str:
    if data is None:
        return DEMO
    return public_name(data) if isinstance(data, str) else "data in memory"
