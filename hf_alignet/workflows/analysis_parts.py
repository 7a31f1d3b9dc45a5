"""The parts of an analysis: from embeddings and categories to the tables, figures and text of a report."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hf_alignet.analysis.categories import RELATIONS, Categories
from hf_alignet.analysis.disagreements import EXAMPLES, disagreements
from hf_alignet.analysis.hierarchy_figures import category_figure, relation_figure, similarity_figure, triplet_figure
from hf_alignet.analysis.model_convergence import Convergence, model_convergence
from hf_alignet.analysis.neighbours import most_moved
from hf_alignet.analysis.projection_figures import projection_figure, thumbnail_figure, variance_figure
from hf_alignet.analysis.projections import (
    FEWEST_FOR_TRIMAP,
    TRIMAP_MISSING,
    comparable_places,
    component_places,
    has_trimap,
    principal_components,
    trimap_places,
)
from hf_alignet.analysis.relation_changes import Changes, category_changes, relation_effects
from hf_alignet.analysis.relation_pairs import distances, pairs_by_category, pairs_by_relation
from hf_alignet.analysis.report import Example, Section, Tile
from hf_alignet.analysis.triplet_relations import drawn_triplets, relation_shares
from hf_alignet.metric import with_its_interval
from hf_alignet.triplets.clusters import default_num_clusters, fit_clusters

NUM_PICTURES = 100  # small ones in a projection
SHOWN = 5000  # dots of a projection, and images that TriMap places
CLUSTERED = 10_000  # images that k-means is fitted to, of which all get a cluster
COMPARED = 1000  # images among which neighbours are looked for
EXAMPLES_SHOWN = 6  # in the report, of each side
POSITIONS = ("first", "second", "third")

logger = logging.getLogger(__name__)


@dataclass
class Analysed:
    """What all parts share.

    Attributes:
        embeddings: (n, d) of the images that have categories, by model.
        pairs: base and aligned model of each comparison.
        categories: of the images.
        seed: of all draws.
        picture: gives a small picture (h, w, 3) uint8 of a row of the image dataset; None where they may not be shown.
    """

    embeddings: Mapping[str, np.ndarray]
    pairs: Sequence[tuple[str, str]]
    categories: Categories
    seed: int
    picture: Callable[[int], np.ndarray] | None = None
    drawn: np.ndarray = field(init=False)  # images that projections show

    def __post_init__(self) -> None:
        order = np.random.default_rng(self.seed).permutation(len(self.categories.rows))
        self.drawn = np.sort(order[:SHOWN])

    @property
    def bases(self) -> list[str]:
        return list(dict.fromkeys(base for base, _ in self.pairs))

    @property
    def compared(self) -> np.ndarray:
        """Images among which neighbours are looked for."""
        return np.sort(np.random.default_rng(self.seed).permutation(len(self.categories.rows))[:COMPARED])

    def label(self, image: int) -> str:
        """The class of an image."""
        return self.categories.names[0][self.categories.codes[image, 0]]

    def named(self, image: int) -> tuple[int, str]:
        """Row of an image in the dataset, and its class."""
        return int(self.categories.rows[image]), self.label(image)

    def tile(self, image: int, marks: Sequence[str] = ()) -> Tile:
        row = int(self.categories.rows[image])
        return Tile(self.label(image), self.picture(row) if self.picture is not None else None, marks)


def relations_part(analysed: Analysed) -> list[Section]:
    """Changes of distance by relation and by category: parts a and b."""
    codes = analysed.categories.codes
    by_relation = pairs_by_relation(codes, seed=analysed.seed)
    by_category = pairs_by_category(codes[:, 1], seed=analysed.seed)
    measured = {
        name: [distances(analysed.embeddings[name], sample.pairs) for sample in (by_relation, by_category)]
        for name in dict.fromkeys(name for pair in analysed.pairs for name in pair)
    }
    effects, matrices, z = {}, {}, {}
    for base, aligned in analysed.pairs:
        changes = Changes.of(measured[base][0], measured[aligned][0], by_relation)
        effects[aligned] = relation_effects(changes, by_relation, codes, seed=analysed.seed)
        change = measured[aligned][1] - measured[base][1]
        matrices[aligned] = category_changes(changes, change, by_category, analysed.categories)
        scores = changes.z(changes.change)
        z[aligned] = [scores[by_relation.groups == relation] for relation in range(len(RELATIONS))]
        logger.info("%s against %s: distances compared", aligned, base)
    how = [
        "The change of a pair of images is its Euclidean distance after alignment, less that before, in standard "
        "deviations of all changes, less their mean: the scale of embeddings grows in training. Below 0 a pair comes "
        "nearer than pairs do on average.",
        "Dots are means with 95 % intervals over classes (a bootstrap). Effect sizes compare a relation with pairs of "
        "different superordinate categories.",
    ]
    columns = "the rows and columns are basic categories, in the order of the superordinate ones, which lines divide."
    return [
        Section(
            "relations",
            "Changes by relation",
            how,
            {"relations": relation_figure(z, effects)},
            {"relations": _stacked(analysed.pairs, effects)},
        ),
        Section(
            "categories",
            "Changes by category",
            [f"The mean change of distance between every two categories, and within each: {columns}"],
            {"categories": category_figure(matrices)},
            {"categories": _stacked(analysed.pairs, matrices)},
        ),
    ]


def projections_part(analysed: Analysed) -> Section:
    """Places on a page before and after, and the variance that components explain: part c."""
    drawn, reference = analysed.drawn, {aligned: base for base, aligned in analysed.pairs}
    names = list(dict.fromkeys(name for pair in analysed.pairs for name in pair))
    found = {name: principal_components(analysed.embeddings[name]) for name in names}
    raw = component_places(found, drawn)
    text = [
        "Each dot is an image, and has the same colour in all panels. Places have a root mean square of 1, and those "
        "of a model are rotated, or mirrored, to lie as near as they can to those of its base (Procrustes), so that "
        "one can compare by eye; axes are therefore mixtures of the two components."
    ]
    if not has_trimap() or len(drawn) < FEWEST_FOR_TRIMAP:
        why = f"TriMap is left out: it needs {FEWEST_FOR_TRIMAP} images or more"
        text.append(TRIMAP_MISSING if not has_trimap() else why)
        logger.warning("%s", text[-1])
    else:
        raw["TriMap"] = {name: trimap_places(analysed.embeddings[name][drawn]) for name in names}
    places = comparable_places(raw, reference)
    groups, num_images = analysed.categories.codes[drawn, 2], len(analysed.categories.rows)
    figures = {"projections": projection_figure(places, groups, analysed.categories.names[2], num_images)}
    if analysed.picture is not None:
        some = np.sort(np.random.default_rng(analysed.seed).permutation(len(drawn))[:NUM_PICTURES])
        thumbnails = [analysed.picture(int(row)) for row in analysed.categories.rows[drawn[some]]]
        axes = next(iter(places))
        small = {name: placed[some] for name, placed in places[axes].items()}
        figures["pictures"] = thumbnail_figure(small, thumbnails, axes)
    figures["variance"] = variance_figure({name: of_model.shares for name, of_model in found.items()}, num_images)
    tables = {"places": _places_table(analysed, places), "variance": _variance_table(found)}
    return Section("projections", "Projections", text, figures, tables)


def models_part(analysed: Analysed) -> Section:
    """How alike models are: part d. Of several base models before and after, otherwise all beside each other."""
    classes, seed = analysed.categories.codes[:, 0], analysed.seed
    text = [
        "Linear CKA compares what two models find similar, in all images: 1 if one is the other but for rotation and "
        "scale. Intervals are of 95 %, over classes of images (a jackknife)."
    ]
    if len(analysed.bases) == 1:
        before = model_convergence(analysed.embeddings, classes, seed)
        found = {"all models": before}
    else:
        sides = zip(*analysed.pairs, strict=True)
        named = {
            when: dict(zip(analysed.bases, (analysed.embeddings[name] for name in side), strict=True))
            for when, side in zip(("before alignment", "after alignment"), sides, strict=True)
        }
        found = {when: model_convergence(models, classes, seed) for when, models in named.items()}
        change = found["before alignment"].change(found["after alignment"])
        text.append(f"Alignment changes the mean over pairs of models by {with_its_interval(change, '+.3f')}.")
    titles = {
        name: f"{name}: mean over pairs {with_its_interval(of.mean())}\nn = {of.num_images:,} images of "
        f"{of.num_classes:,} classes"
        for name, of in found.items()
    }
    matrices = {name: _matrix(convergence) for name, convergence in found.items()}
    tables = [convergence.table().assign(models=name) for name, convergence in found.items()]
    means = [
        pd.DataFrame([["mean", "", of.mean()["value"], *(of.mean()["ci95"] or [np.nan] * 2), name]],
                     columns=tables[0].columns)
        for name, of in found.items()
    ]  # fmt: skip
    table = pd.concat([*tables, *means])
    return Section(
        "models",
        "Models by models",
        text,
        {"models": similarity_figure(matrices, titles)},
        {"models": table[["models", *(column for column in table.columns if column != "models")]]},
    )


def triplets_part(analysed: Analysed, triplets: Mapping[str, np.ndarray], progress: bool) -> Section:
    """The relations of the pairs of triplets, of those given and of each sampling: part e.

    Args:
        triplets: given ones by name, (m, 3) positions of images with categories.
        progress: show a bar while images are clustered.
    """
    codes, base = analysed.categories.codes, analysed.pairs[0][0]
    clusters = None
    if len(codes) >= 4:
        number = default_num_clusters(len(codes))
        rows = np.sort(np.random.default_rng(analysed.seed).permutation(len(codes))[:CLUSTERED])
        found = fit_clusters(analysed.embeddings[base], number, analysed.seed, rows, progress)
        clusters = found.assignments
    drawn = {
        f"sampling {name}": of_name for name, of_name in drawn_triplets(codes, clusters, seed=analysed.seed).items()
    }
    shares = relation_shares({**triplets, **drawn}, codes)
    text = [
        "Every triplet compares three pairs of images. The table counts which relation they have: triplets can teach "
        f"only the distinctions that they ask for. Clusters are those of k-means of the embeddings of {base}; classes "
        "are the lowest categories."
    ]
    return Section("triplets", "What triplets ask", text, {"triplets": triplet_figure(shares)}, {"triplets": shares})


def examples_part(analysed: Analysed, judged: tuple[np.ndarray, np.ndarray] | None, judge: str) -> Section:
    """Triplets that one model answers as people do and the other does not, and neighbours: part f.

    Args:
        judged: (m, 3) positions of images with categories, and the odd positions (m,); None without judgments.
        judge: who judged.
    """
    examples, tables, text = [], {}, []
    if judged is not None and len(judged[0]):
        found = {
            aligned: disagreements(analysed.embeddings[base], analysed.embeddings[aligned], *judged)
            for base, aligned in analysed.pairs
        }
        for (base, aligned), table in zip(analysed.pairs, found.values(), strict=True):
            counts = table.agrees.value_counts()
            text.append(
                f"Of {len(judged[0]):,} triplets, {base} and {aligned} differ, and {judge} with one of them, in "
                f"{len(table):,}: {counts.get('aligned', 0):,} as {aligned}, {counts.get('base', 0):,} as {base}."
            )
            examples += _triplet_examples(analysed, table, (base, aligned), judge)
        tables["examples"] = _stacked(analysed.pairs, {a: _with_labels(analysed, t) for a, t in found.items()})
    else:
        text.append("Without `judgments`, there are no triplets that people answered.")
    compared = analysed.compared
    rows = []
    for base, aligned in analysed.pairs:
        moved = most_moved(*(analysed.embeddings[name][compared] for name in (base, aligned)))
        for picture, before, after in zip(moved.pictures, moved.before, moved.after, strict=True):
            sides = [(name, compared[near]) for name, near in ((base, before), (aligned, after))]
            groups = [(f"nearest by {name}", [analysed.tile(near) for near in nearest]) for name, nearest in sides]
            examples.append(Example(f"moved by {aligned}", [("image", [analysed.tile(compared[picture])]), *groups]))
            for name, nearest in sides:
                of_image = (
                    aligned,
                    int(analysed.categories.rows[compared[picture]]),
                    analysed.label(compared[picture]),
                )
                for rank, near in enumerate(nearest, 1):
                    place = (name, rank, int(analysed.categories.rows[near]), analysed.label(near))
                    rows.append((*of_image, *place))
    columns = ["aligned", "image", "class", "model", "rank", "neighbour", "neighbour_class"]
    tables["neighbours"] = pd.DataFrame(rows, columns=columns)
    text.append(
        f"Below are the images whose nearest ones, by cosine similarity among {len(compared):,} images, changed most."
    )
    return Section("examples", "Examples", text, {}, tables, examples)


def _triplet_examples(analysed: Analysed, table: pd.DataFrame, pair: tuple[str, str], judge: str) -> list[Example]:
    examples = []
    for side, name in (("aligned", pair[1]), ("base", pair[0])):
        for row in table[table.agrees == side].head(EXAMPLES_SHOWN).itertuples():
            odd = {judge: row.people, pair[0]: row.base, pair[1]: row.aligned}
            images = [getattr(row, position) for position in POSITIONS]
            tiles = [
                analysed.tile(image, [who for who, position in odd.items() if position == place])
                for place, image in enumerate(images)
            ]
            examples.append(Example(f"odd one out: {judge} choose as {name}", [("", tiles)]))
    return examples


def _with_labels(analysed: Analysed, table: pd.DataFrame) -> pd.DataFrame:
    """The first examples of each side, with rows of the image dataset and names of classes."""
    table = table.groupby("agrees", sort=False).head(EXAMPLES).copy()
    for position in POSITIONS:
        table[f"{position}_class"] = [analysed.label(image) for image in table[position]]
        table[position] = analysed.categories.rows[table[position]]
    return table


def _stacked(pairs: Sequence[tuple[str, str]], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of several comparisons below each other, with the names of both models first."""
    parts = []
    for (base, aligned), table in zip(pairs, tables.values(), strict=True):
        parts.append(pd.concat([pd.DataFrame({"base": base, "aligned": aligned}, table.index), table.rename(
            columns={"base": "base_odd", "aligned": "aligned_odd", "people": "people_odd"})], axis=1))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _places_table(analysed: Analysed, places: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    rows, codes = analysed.categories.rows[analysed.drawn], analysed.categories.codes[analysed.drawn, 2]
    names = np.array(analysed.categories.names[2])[codes]
    return pd.concat(
        [
            pd.DataFrame({"projection": axes, "model": model, "image": rows, "superordinate": names,
                          "x": placed[:, 0], "y": placed[:, 1]})
            for axes, of_models in places.items()
            for model, placed in of_models.items()
        ]
    )  # fmt: skip


def _variance_table(found: Mapping) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"model": name, "component": np.arange(1, len(of.shares) + 1), "share": of.shares})
        for name, of in found.items()
    ]
    return pd.concat(parts)


def _matrix(convergence: Convergence) -> pd.DataFrame:
    names = list(dict.fromkeys(name for pair in convergence.pairs for name in pair))
    table = pd.DataFrame(np.eye(len(names)), names, names)
    for (one, other), value in zip(convergence.pairs, convergence.values, strict=True):
        table.loc[one, other] = table.loc[other, one] = value
    return table
