"""BREEDS: whether a classifier of superclasses that learns from some subclasses recognises others of them."""

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.hierarchy import BREEDS, Hierarchy
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.logistic import fit_probe
from hf_alignet.evaluation.statistics.clustered import clustered_mean
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked

FEWEST_SUBCLASSES = 4  # two to learn from and two to test


@checked
def breeds(
    train: Labelled,
    test: Labelled,
    hierarchy: Hierarchy,
    name: str = "entity13",
    num_subclasses: Count | None = None,
    seed: Seed = 0,
) -> dict[str, Metric]:
    """Accuracy on new images of source subclasses, and on target subclasses of the same superclasses.

    Source and target subclasses are halves of those of each superclass, drawn at random; the published draw is of
    another random generator. The classifier is that of `linear_probe`.

    Args:
        train: images to learn from, whose classes are WordNet ids.
        test: other images of the same classes.
        hierarchy: of the superclasses.
        name: `entity13`, `entity30`, `living17` or `nonliving26`.
        num_subclasses: number of subclasses of each superclass, an even number; superclasses with fewer are left out.
            By default the published number, or, if fewer superclasses than published have it, 4.
        seed: seed of the draw.

    Returns:
        `source_accuracy` and `target_accuracy`, with intervals over subclasses; `n` counts images.

    Raises:
        InputError: fewer than two superclasses have enough subclasses, or no class is in the hierarchy.
    """
    source, target = draw_subclasses(list(test.classes), hierarchy, name, num_subclasses, seed)
    chosen = np.flatnonzero(source[train.labels] >= 0)
    superclasses = source[train.labels[chosen]]
    number = int(source.max()) + 1
    fitted = fit_probe(train.embeddings[chosen], superclasses, number, seed)
    found = {}
    for part, superclass_of in (("source", source), ("target", target)):
        rows = np.flatnonzero(superclass_of[test.labels] >= 0)
        labels = test.labels[rows]
        right = fitted.predict(test.embeddings[rows]) == superclass_of[labels]
        found[f"{part}_accuracy"] = clustered_mean(right, labels, "subclasses", 1 / number)
    return found


def draw_subclasses(
    classes: list[str], hierarchy: Hierarchy, name: str, num_subclasses: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The superclass of each class (c,) if it is a source, and if it is a target; -1 where it is not."""
    if name not in BREEDS:
        raise InputError(f"`breeds` must be one of {', '.join(BREEDS)}, got {name!r}")
    breed = BREEDS[name]
    found = hierarchy.superclasses(breed, set(classes))
    if not found:
        raise InputError(
            f"none of the classes, such as {classes[0]!r}, is in the hierarchy of {name}: they must be WordNet ids, "
            "such as n01440764"
        )
    published = sum(len(members) >= breed.num_subclasses for members in found.values())
    if num_subclasses is None:
        num_subclasses = breed.num_subclasses if published == int(name[-2:]) else FEWEST_SUBCLASSES
    if num_subclasses < 2 or num_subclasses % 2:
        raise InputError(f"`num_subclasses` must be an even number of at least 2, got {num_subclasses}")
    kept = [members for members in found.values() if len(members) >= num_subclasses]
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} superclasses of {name} have {num_subclasses} subclasses among the {len(classes)} classes: "
            "at least two are needed"
        )
    source, target = np.full((2, len(classes)), -1)
    rng = np.random.default_rng(seed)
    position = {wnid: index for index, wnid in enumerate(classes)}
    for superclass, members in enumerate(kept):
        drawn = [position[wnid] for wnid in rng.permutation(members)[:num_subclasses]]
        source[drawn[: num_subclasses // 2]] = superclass
        target[drawn[num_subclasses // 2 :]] = superclass
    return source, target
