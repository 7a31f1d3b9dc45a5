"""Trains a ViT on the official files of `prepare.py`, in our configuration, the released one, and between the two.

Only the last blocks train. A run that is there is not repeated, so that the command goes on where it stopped, and then
prints the table of all runs.

    python recipes/official-triplets/port.py --model_name_or_path MODEL
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from prepare import NUM_CACHED, OUTPUT, PROCESSOR, TRANSFORMED, TRIPLETS_PER_STEP, UNIT, UNTRANSFORMED
from torch import Tensor
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup, set_seed

sys.path.insert(0, str(Path(__file__).parents[1] / "frontier"))
from tail import Tail  # noqa: E402

from hf_alignet.encoder.vision_model import VisionEncoder  # noqa: E402
from hf_alignet.evaluation.human.odd_one_out import odd_labels  # noqa: E402
from hf_alignet.similarity import is_correct, odd_one_out, triplet_similarities  # noqa: E402
from hf_alignet.storage import write_json  # noqa: E402
from hf_alignet.student.criterion import Criterion, as_target  # noqa: E402
from hf_alignet.student.losses import LossType  # noqa: E402
from hf_alignet.triplets import load_triplets, read_official  # noqa: E402
from hf_alignet.triplets.triplet_dataset import ODD, SIMILARITIES, TRIPLET, column  # noqa: E402

HEAD_DIM = 1024  # of the released head
NUM_CALIBRATION = 4096  # triplets
EMBEDDING, HEAD, BASE = "embedding", "head", "base"
Measured: TypeAlias = dict[str, dict[str, float]]  # by EMBEDDING or HEAD


@dataclass(frozen=True)
class Setting:
    """A training run; the defaults are our configuration.

    Attributes:
        name: in the table.
        pixels: `processor` or `unit`.
        labels: the folder of the file.
        loss_type: of hf_alignet.
        takes_last_as_odd: image 2 of each row as it lies in the file is the odd one; the similarities are not read.
        temperature: τ†; None chooses it from the teacher's entropy.
        teacher_temperature: τ'.
        has_head: trains through a new linear layer.
        decay: λ of θ ← θ - lr·λ·(θ - θ*), of the head, too.
        learning_rate: its peak.
        seed: of the head and the order of steps.
    """

    name: str
    pixels: str = PROCESSOR
    labels: str = TRANSFORMED
    loss_type: LossType = "kl"
    takes_last_as_odd: bool = False
    temperature: float | None = None
    teacher_temperature: float = 1.0
    has_head: bool = False
    decay: float = 0.0
    learning_rate: float = 1e-4
    seed: int = 0


OURS = Setting("ours")
RELEASED = Setting(
    "released", pixels=UNIT, labels=UNTRANSFORMED, loss_type="jsd", temperature=100.0, has_head=True, decay=1.0,
    learning_rate=3e-5,
)  # fmt: skip
LABELS = replace(RELEASED, name="released, repaired: labels", labels=TRANSFORMED)
RATE = replace(LABELS, name="released, repaired: labels, learning rate", learning_rate=1e-4)
SETTINGS = [
    OURS,
    RELEASED,
    replace(OURS, name="ours, but labels untransformed", labels=UNTRANSFORMED),
    replace(OURS, name="ours, but pixels in [0, 1]", pixels=UNIT),
    replace(OURS, name="ours, but JSD at τ = 100 on a new head", loss_type="jsd", temperature=100.0, has_head=True),
    replace(OURS, name="ours, but image 2 of each row as the odd one", loss_type="hard", takes_last_as_odd=True),
    LABELS,
    RATE,
    replace(RELEASED, name="released, repaired: learning rate", learning_rate=1e-4),
    replace(OURS, name="ours, but learning rate 3e-5", learning_rate=3e-5),
    replace(RATE, name="released, repaired: labels, learning rate, τ from the teacher", temperature=None),
    replace(OURS, name="ours, but labels flat (τ' = 100), τ = 100", teacher_temperature=100.0, temperature=100.0),
    replace(OURS, name="ours, but KL at τ = 100", temperature=100.0),
    replace(RELEASED, name="released, repaired: pixels", pixels=PROCESSOR),
    replace(OURS, name="ours, but labels untransformed at τ' = 800", labels=UNTRANSFORMED, teacher_temperature=800.0),
    replace(OURS, name="ours, but labels flat (τ' = 100)", teacher_temperature=100.0),
    *(replace(setting, seed=seed) for seed in (1, 2) for setting in (OURS, RELEASED)),
]  # fmt: skip


@dataclass
class Questions:
    """What is asked of a model. Positions count the photographs of `prepare.py`.

    Attributes:
        people: (m, 3) positions of photographs of classes that no training saw.
        odd: (m,) the odd ones out by VICE.
        valid: (k, 3) positions of the held-out official triplets, as they lie in the file.
        valid_odd: (k,) the teacher's odd ones out of them.
    """

    people: Tensor
    odd: Tensor
    valid: Tensor
    valid_odd: Tensor

    def __post_init__(self) -> None:
        self.rows, places = among(torch.cat([self.people, self.valid]))
        self.places = places.split([len(self.people), len(self.valid)])

    def measure(self, vectors: np.ndarray | Tensor) -> dict[str, float]:
        """From vectors (n, d) of all `rows`, three shares of answers."""
        vectors = torch.as_tensor(vectors)
        people, valid = (odd_one_out(triplet_similarities(vectors, places)) for places in self.places)
        return {
            "people": is_correct(people, self.odd).double().mean().item(),
            "teacher": is_correct(valid, self.valid_odd).double().mean().item(),
            "triplet_accuracy": (valid == 2).double().mean().item(),  # as published: image 2 is the odd one
        }


def among(triplets: Tensor) -> tuple[np.ndarray, Tensor]:
    """The distinct photographs (u,) of triplets (n, 3), and the triplets as places among them."""
    photographs, places = np.unique(triplets, return_inverse=True)
    return photographs, torch.from_numpy(places.reshape(-1, 3))


def positions_in(rows: np.ndarray, triplets: np.ndarray) -> Tensor:
    return torch.from_numpy(np.searchsorted(rows, triplets))


def load_questions(data: str, rows: np.ndarray) -> Questions:
    unseen = load_triplets(data)["unseen_classes"]
    with np.load(OUTPUT / TRANSFORMED / "valid_between_class.npz") as file:
        valid, similarities = file["indices"], torch.from_numpy(file["similarities"])
    return Questions(
        positions_in(rows, column(unseen, TRIPLET)), torch.as_tensor(odd_labels(unseen)),
        positions_in(rows, valid), odd_one_out(similarities),
    )  # fmt: skip


def training_triplets(setting: Setting, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Positions (n, 3), and similarities (n, 3) or odd ones out (n,), in the order of the file."""
    path = OUTPUT / setting.labels / "train_between_class.npz"
    if setting.takes_last_as_odd:
        with np.load(path) as file:
            return positions_in(rows, file["indices"]), torch.full((len(file["indices"]),), 2)
    dataset = read_official(path)
    target = column(dataset, ODD if setting.loss_type == "hard" else SIMILARITIES)
    return positions_in(rows, column(dataset, TRIPLET)), as_target(target)


def train(setting: Setting, model: str, rows: np.ndarray, questions: Questions) -> dict[str, object]:
    """What is measured after training, of the embedding and of the head."""
    set_seed(setting.seed)
    encoder = VisionEncoder.from_pretrained(model)
    tail = Tail(encoder, NUM_CACHED).eval()
    tokens = np.load(OUTPUT / f"{setting.pixels}.npy", mmap_mode="r")
    head = torch.nn.Linear(encoder.embedding_dim, HEAD_DIM) if setting.has_head else torch.nn.Identity()
    criterion = Criterion(setting.loss_type, "dot", setting.teacher_temperature)
    triplets, target = training_triplets(setting, rows)

    def embed(positions: np.ndarray) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return tail(torch.from_numpy(tokens[positions]))

    with torch.no_grad():
        sample, places = among(triplets[:NUM_CALIBRATION])
        vectors, labels = head(torch.from_numpy(tail.embed(tokens, sample))), target[:NUM_CALIBRATION]
        temperature = setting.temperature or criterion.best_temperature(vectors, places, labels)
        before = criterion.measure(criterion.similarities(vectors, places), labels, temperature)

    def loss(chosen: slice) -> Tensor:
        photographs, places = among(triplets[chosen])
        vectors = head(embed(photographs))
        return criterion.measure(criterion.similarities(vectors, places), target[chosen], temperature)["loss"]

    tail.train()
    parameters = [p for module in (tail, head) for p in module.parameters()]
    losses = descend(setting, parameters, len(triplets) // TRIPLETS_PER_STEP, loss)
    tail.eval()
    with torch.no_grad():
        embeddings = torch.from_numpy(tail.embed(tokens, questions.rows))
        measured = {EMBEDDING: questions.measure(embeddings)}
        if setting.has_head:
            measured[HEAD] = questions.measure(head(embeddings))
    at_start = {name: value.item() for name, value in before.items()}
    return {"setting": asdict(setting), "temperature": temperature, "start": at_start, "losses": losses, **measured}


def descend(
    setting: Setting, parameters: list[torch.nn.Parameter], steps: int, loss: Callable[[slice], Tensor]
) -> list[float]:
    """Trains by Adam on blocks of rows of the file in a random order, and gives the losses."""
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.Adam(parameters, lr=setting.learning_rate)
    order = np.random.default_rng(setting.seed).permutation(steps)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.05 * len(order)), len(order))
    losses = []
    for step in order:
        value = loss(slice(step * TRIPLETS_PER_STEP, (step + 1) * TRIPLETS_PER_STEP))
        value.backward()
        with torch.no_grad():
            for parameter, initial in zip(parameters, start, strict=True):
                parameter.lerp_(initial, schedule.get_last_lr()[0] * setting.decay)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(round(value.item(), 4))
    return losses


def without_training(model: str, questions: Questions) -> dict[str, Measured]:
    """The base with both kinds of pixels, and the teacher."""
    encoder = VisionEncoder.from_pretrained(model).eval()
    tail = Tail(encoder, NUM_CACHED)
    found: dict[str, Measured] = {}
    for pixels, name in ((PROCESSOR, BASE), (UNIT, "base, pixels in [0, 1]")):
        tokens = np.load(OUTPUT / f"{pixels}.npy", mmap_mode="r")
        found[name] = {EMBEDDING: questions.measure(tail.embed(tokens, questions.rows))}
    with np.load(OUTPUT / "photographs.npz") as file:
        found["teacher"] = {EMBEDDING: questions.measure(file["teacher"][questions.rows])}
    return found


def print_table() -> None:
    found: dict[str, list[Measured]] = defaultdict(list)
    found |= {name: [values] for name, values in json.loads((OUTPUT / f"{BASE}.json").read_text("utf-8")).items()}
    for file in sorted((OUTPUT / "runs").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        found[content["setting"]["name"]].append(content)
    print("| setting | seeds | people | people, head | teacher | as published |\n" + "| --- " * 6 + "|")
    names = [setting.name for setting in SETTINGS if setting.seed == 0]
    for name in [*(n for n in found if n not in names), *(n for n in names if n in found)]:
        runs = found[name]
        trains = HEAD if HEAD in runs[0] else EMBEDDING

        def cell(of: str, what: str, runs: list[Measured] = runs) -> str:
            values = [run[of][what] for run in runs if of in run]
            return f"{np.mean(values):.3f}" if values else ""

        cells = [cell(EMBEDDING, "people"), cell(HEAD, "people"), cell(trains, "teacher")]
        print(" | ".join(["", name, str(len(runs)), *cells, cell(trains, "triplet_accuracy"), ""]).strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model, a ViT")
    parser.add_argument("--data", default="data/things-vit-tiny", help="(%(default)s)")
    arguments = parser.parse_args()
    with np.load(OUTPUT / "photographs.npz") as file:
        rows = file["rows"]
    questions = load_questions(arguments.data, rows)
    (OUTPUT / "runs").mkdir(exist_ok=True)
    if not (OUTPUT / f"{BASE}.json").exists():
        write_json(OUTPUT / f"{BASE}.json", without_training(arguments.model_name_or_path, questions))
    for setting in tqdm(SETTINGS, unit="setting"):
        words = re.findall(r"\w+", setting.name)
        file = OUTPUT / "runs" / f"{'-'.join(words)}-seed{setting.seed}.json"
        if not file.exists():
            write_json(file, train(setting, arguments.model_name_or_path, rows, questions))
    print_table()


if __name__ == "__main__":
    main()
