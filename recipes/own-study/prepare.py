"""Plays a laboratory: writes a folder of pictures and the spreadsheets of two waves of an odd-one-out experiment.

The pictures are emoji, the participants are simulated. The tables have the form in which a German spreadsheet program
saves them: a title above the header, semicolons, decimal commas, umlauts in an old encoding, names without suffix, and
trials without an answer. Nothing in them is about real people.

    python recipes/own-study/prepare.py
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.demo import SimulatedRaters, demo_images
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import as_encoded_images

SHOWN = "noto"  # the drawing style that participants see
OTHERS = ("fluent_color",)  # those that nobody judges
NUM_PICTURES, NUM_NEW = 120, 60  # of the first wave, and those that only the second wave asks about
WAVES = {"erste Welle": (20, 150), "zweite Welle": (10, 200)}  # participants, and trials of each
HESITATION = 1.0  # temperature of a simulated choice, in units of the raters' similarities
MISSED = 0.02  # share of trials without an answer
HEADER = ("Versuchsperson", "Bild links", "Bild Mitte", "Bild rechts", "Ausreißer", "Reaktionszeit (s)")


def write_pictures(images: Dataset, rows: np.ndarray, folder: Path) -> None:
    """One PNG for each row, in a folder of its group."""
    encoded = as_encoded_images(images)
    for row, picture in zip(rows, read_pictures(encoded, rows.tolist()), strict=True):
        facts = images[int(row)]
        place = folder / facts["group"].replace(" & ", " und ")
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{facts['concept']} ({facts['style']}).png")


def wave(images: Dataset, rows: np.ndarray, participants: int, trials: int, rng: np.random.Generator) -> pd.DataFrame:
    """Choices of simulated participants about triplets of some pictures."""
    number = participants * trials
    triplets = rows[np.stack([rng.choice(len(rows), 3, replace=False) for _ in range(number)])]
    similarities = SimulatedRaters(images, seed=0).similarities(triplets) / HESITATION
    pair = (similarities + rng.gumbel(size=similarities.shape)).argmax(1)
    names = np.array(
        [f"{concept} ({style})" for concept, style in zip(images["concept"], images["style"], strict=True)]
    )
    shown = names[triplets]
    seconds = np.exp(rng.normal(0.8, 0.4, number))
    table = pd.DataFrame(
        {
            HEADER[0]: np.repeat([f"VP {i + 1:02d}" for i in range(participants)], trials),
            **{HEADER[i + 1]: shown[:, i] for i in range(3)},
            HEADER[4]: np.where(rng.random(number) < MISSED, "", shown[np.arange(number), 2 - pair]),
            HEADER[5]: [f"{s:.3f}".replace(".", ",") for s in seconds],
        }
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("data/own-study"), help="(%(default)s)")
    output: Path = parser.parse_args().output_dir
    images, rng = demo_images(), np.random.default_rng(0)
    style = np.asarray(images["style"][:])
    drawn = rng.permutation(np.flatnonzero(style == SHOWN))[: NUM_PICTURES + NUM_NEW]
    write_pictures(images, np.sort(drawn), output / "pictures")
    write_pictures(images, np.flatnonzero(np.isin(style, OTHERS)), output / "more-pictures")
    for name, rows in zip(WAVES, (drawn[:NUM_PICTURES], drawn), strict=True):
        text = wave(images, rows, *WAVES[name], rng).to_csv(sep=";", index=False, lineterminator="\r\n")
        table = f"Ausreißerstudie, {name}\r\n\r\n{text}"
        (output / f"{name}.csv").write_bytes(table.encode("cp1252", errors="replace"))
    print(f"{len(drawn)} pictures in {output / 'pictures'}, and two tables beside them")


if __name__ == "__main__":
    main()
