"""How useful and how human the base, its teacher and the aligned models of `train.py` are, with every difference.

Embeds the images of `prepare.py` with each model once, and keeps the embeddings, so that the command goes on where it
stopped. Prints a table of the base's numbers and one of the differences to the base, with paired intervals; writes
what `hf-alignet evaluate` writes, and `report.md`.

    python recipes/downstream/report.py --model_name_or_path MODEL --data path/to/data
"""

import argparse
import os
from pathlib import Path

import numpy as np

from hf_alignet import evaluate
from hf_alignet.encoder import VisionEncoder
from hf_alignet.evaluation import odd_one_out_accuracy
from hf_alignet.evaluation.human.odd_one_out import odd_labels
from hf_alignet.evaluation.statistics.changes import changes
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.metric import Metric, changes_table, results_table
from hf_alignet.storage import write_text
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.triplet_dataset import TRIPLET, column

MODELS = (
    *("separate", "in-batch", "in-batch-lora", "control", "choices"),
    *("separate-trained", "in-batch-trained"),
)
AGREEMENT = "agreement, 30 classes never seen"
IMAGES, SETS = "data/things-vit-tiny", "data/downstream"
BENCHMARKS = [
    *(f"{kind}:{SETS}/{name}" for name in ("cifar100", "uc_merced") for kind in ("few_shot", "probe")),
    f"shift:{SETS}/pacs#photo->{SETS}/pacs#art_painting->{SETS}/pacs#cartoon->{SETS}/pacs#sketch",
    f"breeds:{SETS}/tiny_imagenet",
    f"anomaly:{SETS}/cifar100",
    f"retrieval:{SETS}/cifar100",
    f"retrieval:{SETS}/uc_merced",
]
SHOWN = {
    **{f"CIFAR-100, {shots}-shot": f"cifar100_few_shot/{shots}_shot/few_shot_accuracy" for shots in (1, 5, 10, 25)},
    "CIFAR-100, linear probe": "cifar100_probe/all/probe_accuracy",
    "CIFAR-100, anomalies (AUROC)": "cifar100_anomaly/one_vs_rest/anomaly_auroc",
    "CIFAR-100, retrieval (mAP)": "cifar100_retrieval/test/mean_average_precision",
    **{f"UC Merced, {shots}-shot": f"uc_merced_few_shot/{shots}_shot/few_shot_accuracy" for shots in (1, 5, 10, 25)},
    "UC Merced, linear probe": "uc_merced_probe/all/probe_accuracy",
    "UC Merced, retrieval (mAP)": "uc_merced_retrieval/test/mean_average_precision",
    "PACS, photo": "pacs_shift/unshifted/shift_accuracy",
    **{
        f"PACS, photo → {domain}": f"pacs_shift/pacs#{domain}/shift_accuracy"
        for domain in ("art_painting", "cartoon", "sketch")
    },
    **{
        f"BREEDS {name}, {part}": f"tiny_imagenet_breeds/{name}_{part}/breeds_accuracy"
        for name in ("entity13", "entity30")
        for part in ("source", "target")
    },
}


def agreement(encoder: VisionEncoder, keep: Path) -> Metric:
    """With VICE, on the triplets of `things-vit-tiny` of classes that no training had."""
    images, triplets = load_images(IMAGES), load_triplets(IMAGES)["unseen_classes"]
    rows, positions = np.unique(column(triplets, TRIPLET), return_inverse=True)
    embeddings = encoder.embed(ImageReader(images, encoder.preprocessor), rows=rows, save_to=keep, bf16=True)
    return odd_one_out_accuracy(embeddings, positions.reshape(-1, 3), odd_labels(triplets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("HF_ALIGNET_DATA")
    parser.add_argument("--model_name_or_path", required=True, help="the base model")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="folder with downstream/breeds")
    parser.add_argument("--models", type=Path, default="outputs/downstream/models", help="(%(default)s)")
    parser.add_argument("--names", nargs="+", default=MODELS, help="of the models to measure (%(default)s)")
    parser.add_argument("--transform", default="outputs/tiny-imagenet/teacher", help="of the teacher (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/downstream/evaluation", help="(%(default)s)")
    arguments = parser.parse_args()
    base = arguments.model_name_or_path
    encoders = {"base": VisionEncoder.from_pretrained(base)}
    encoders["teacher"] = VisionEncoder.from_pretrained(base, transform=arguments.transform)
    encoders |= {name: VisionEncoder.from_pretrained(str(arguments.models / name)) for name in arguments.names}
    results = evaluate(
        encoders,
        BENCHMARKS,
        breeds_hierarchy=str(arguments.data / "downstream" / "breeds"),
        output_dir=arguments.output_dir,
        bf16=True,
    )
    shown = {
        name: {label: metrics[key] for label, key in SHOWN.items() if key in metrics}
        | {AGREEMENT: agreement(encoders[name], arguments.output_dir / "embeddings" / name / "agreement")}
        for name, metrics in results.items()
    }
    differences = {name: changes(shown["base"], metrics) for name, metrics in shown.items() if name != "base"}
    text = "\n\n".join([results_table({"base": shown["base"]}), changes_table(differences, "base")])
    write_text(arguments.output_dir / "report.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
