"""Processes of the tests of publishing: `python publish_stages.py push|pull` in the environment of the Hub double.

`push` runs the command lines of commands.json, one after another, and prints status and message of each. `pull` opens
what is on the Hub, with an empty cache: first with `datasets` and `transformers` alone, where importing hf_alignet is
an error, then with it.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def run(words: list[str]) -> tuple[int, str, str]:
    """Status, output and errors of a command line, `hf-alignet` left out."""
    from hf_alignet.cli.main import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            status = int(str(end.code))
    return status, out.getvalue(), err.getvalue()


def push() -> list[tuple[int, str, str]]:
    return [run(["publish", *words]) for words in json.loads(Path("commands.json").read_text())]


def pull() -> dict[str, Any]:
    sys.modules["hf_alignet"] = None  # type: ignore[assignment]
    plain = open_plainly()
    del sys.modules["hf_alignet"]
    return plain | open_with_package()


def open_plainly() -> dict[str, Any]:
    import pyarrow as pa
    from datasets import Image, get_dataset_config_names, load_dataset
    from huggingface_hub import hf_hub_download, snapshot_download
    from safetensors.numpy import load_file
    from transformers import AutoModel

    opened, streamed = {}, {}
    for repo in ("choices", "triplets", "matrix", "levels"):
        for config in get_dataset_config_names(f"tester/{repo}"):
            for split, data in load_dataset(f"tester/{repo}", config).items():
                stream = load_dataset(f"tester/{repo}", config, split=split, streaming=True)
                if "image" in data.column_names:
                    data = data.cast_column("image", Image(decode=False))
                    stream = stream.cast_column("image", Image(decode=False))
                name = f"{repo}.{config}.{split}"
                with pa.OSFile(f"{name}.arrow", "wb") as file, pa.ipc.new_file(file, data.data.schema) as writer:
                    writer.write_table(data.data.table)
                opened[name] = str(data.features)
                streamed[name] = repr(list(stream)) == repr(data.to_list())
    weights = load_file(hf_hub_download("tester/teacher", "model.safetensors"))
    return {
        "opened": opened,
        "streamed": streamed,
        "weights": {name: values.tolist() for name, values in weights.items()},
        "model": type(AutoModel.from_pretrained("tester/aligned")).__name__,
        "snapshot": snapshot_download("tester/choices", repo_type="dataset"),
        "branch": hf_hub_download("tester/choices", "README.md", repo_type="dataset", revision="draft"),
    }


def open_with_package() -> dict[str, Any]:
    import evaluate

    from hf_alignet.encoder import AffineTransform
    from hf_alignet.images.opening import load_images
    from hf_alignet.judgments import image_names, load_judgments, load_similarity_matrix
    from hf_alignet.teacher import Vice
    from hf_alignet.triplets import load_triplets

    images = load_images("tester/choices")
    judgments = load_judgments("tester/choices", image_names(images))
    metric = evaluate.load("tester/odd_one_out_accuracy")
    matrix = load_similarity_matrix("tester/matrix", None)
    features = ["--images", "tester/choices", "--features", "features.npy", "--disable_tqdm"]
    benchmarks = ["--benchmarks", "mine=choices:tester/choices", "matrix=rsa:tester/matrix"]
    fitting = [*features[2:], "--judgments", "tester/choices", "--method", "hard", "--regularization", "0.1"]
    return {
        "evaluated": run(["evaluate", *features, *benchmarks, "--output_dir", "evaluation"]),
        "fitted": run(["fit-teacher", *fitting, "--output_dir", "teacher"]),
        "names": image_names(images),
        "judged": {split: len(data) for split, data in judgments.items()},
        "matrix": [matrix.kind, list(matrix.names), matrix.matrix.tolist()],
        "triplets": {split: len(data) for split, data in load_triplets("tester/triplets").items()},
        "transform": AffineTransform.from_pretrained("tester/teacher").weight.tolist(),
        "vice": Vice.from_pretrained("tester/vice").loc_.tolist(),
        "metric": metric.compute(predictions=[[0.9, 0.1, 0.2], [0.1, 0.1, 0.1]], references=[2, 0]),
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps({"push": push, "pull": pull}[sys.argv[1]]()))
