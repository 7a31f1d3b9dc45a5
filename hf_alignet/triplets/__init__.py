"""Triplets: image datasets three rows at a time, labelled by a teacher."""

from hf_alignet.triplets.batches import TeacherVectors, class_vectors, load_teacher
from hf_alignet.triplets.clusters import fit_clusters
from hf_alignet.triplets.labeling import label_triplets
from hf_alignet.triplets.official import read_official, write_official
from hf_alignet.triplets.sampling import TripletSampler
from hf_alignet.triplets.triplet_dataset import (
    FEATURES,
    check_triplets,
    load_triplets,
    read_info,
    triplets_from_arrays,
)

__all__ = [
    "FEATURES",
    "TeacherVectors",
    "TripletSampler",
    "check_triplets",
    "class_vectors",
    "fit_clusters",
    "label_triplets",
    "load_teacher",
    "load_triplets",
    "read_info",
    "read_official",
    "triplets_from_arrays",
    "write_official",
]
