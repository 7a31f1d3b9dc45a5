"""A page in the browser that shows what models find similar, before and after alignment."""

from hf_alignet.explore.exploration import Exploration
from hf_alignet.explore.judged_triplets import JudgedTriplets, judged_triplets

__all__ = ["Exploration", "JudgedTriplets", "judged_triplets"]
