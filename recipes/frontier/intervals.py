"""Changes from the base with paired 95 % intervals over photographs, for some of the settings that `sweep.py` trained.

Agreement varies with the photographs of the triplets, few-shot accuracy with those that are learned from and tested
on: of each class half of the measured photographs are drawn from, and half tested on. Prints a table, one row a run.

    python recipes/frontier/intervals.py --model_name_or_path MODEL triplets three-clusters
"""

import argparse
import json
from pathlib import Path

import numpy as np
from photographs import Photographs, load_photographs
from safetensors.torch import load_file
from sweep import Setting, num_cached, student

from hf_alignet.evaluation import Labelled, changes, few_shot, odd_one_out_accuracy
from hf_alignet.metric import Metric
from hf_alignet.student.anchoring import Anchor

SHOTS = (1, 10)


def metrics(embeddings: np.ndarray, photographs: Photographs) -> dict[str, Metric]:
    """Agreement and few-shot accuracy of embeddings (num_measured, d)."""
    classes, labels = np.unique(photographs.labels[: photographs.num_measured], return_inverse=True)
    train, test = Labelled(embeddings, labels, [str(name) for name in classes]).halves(seed=0)
    found = {"agreement": odd_one_out_accuracy(embeddings, photographs.triplets, photographs.odd)}
    return found | {f"{n}-shot": few_shot(train, test, n, "chosen_ridge") for n in SHOTS}


def embed(file: Path, share: float, photographs: Photographs) -> np.ndarray:
    """Embeddings (num_measured, d) of the run in `file`, so far on the way to its trained weights."""
    setting = Setting(**json.loads(file.read_text(encoding="utf-8"))["setting"])
    encoder, tail = student(setting, photographs.model)
    anchor = Anchor(encoder)
    encoder.model.load_state_dict(load_file(file.with_suffix(".safetensors")), strict=False)
    anchor.interpolate(share)
    return tail.eval().embed(photographs.tokens(num_cached(setting)), np.arange(photographs.num_measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="+", help="names; all seeds of each are measured")
    parser.add_argument("--model_name_or_path", required=True, help="the base model, as for sweep.py")
    parser.add_argument("--share", type=float, default=1.0, help="of the way to the trained weights (%(default)s)")
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument("--transform", type=Path, default="outputs/tiny-imagenet/teacher", help="(%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/frontier", help="of sweep.py (%(default)s)")
    arguments = parser.parse_args()
    output = arguments.output_dir
    photographs = load_photographs(arguments.model_name_or_path, arguments.data, arguments.transform, output)
    base = metrics(photographs.base[: photographs.num_measured], photographs)
    print("| run | " + " | ".join(f"{name} (base {metric['value']:.3f})" for name, metric in base.items()) + " |")
    print("| --- " * (len(base) + 1) + "|")
    for name in arguments.settings:
        for file in sorted(output.glob(f"{name}-seed[0-9].json")):
            found = changes(base, metrics(embed(file, arguments.share, photographs), photographs))
            cells = [f"{c['value']:+.3f} [{c['ci95'][0]:+.3f}, {c['ci95'][1]:+.3f}]" for c in found.values()]
            print(f"| {file.stem} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
