"""What alignment did: relations of images, projections, how alike models are; figures, and a report."""

from hf_alignet.analysis.categories import (
    RELATIONS,
    Categories,
    categories_of_breeds,
    categories_of_columns,
    categories_of_table,
)
from hf_alignet.analysis.disagreements import disagreements
from hf_alignet.analysis.figures import (
    before_after_figure,
    benchmark_figure,
    calibration_figure,
    curves_figure,
    elbow_figure,
    save_figure,
    trade_off_figure,
)
from hf_alignet.analysis.model_convergence import Convergence, model_convergence
from hf_alignet.analysis.model_similarity import linear_cka, model_similarities, model_similarities_before_and_after
from hf_alignet.analysis.projections import principal_components, trimap_places, turned_to
from hf_alignet.analysis.query_figures import query_figure
from hf_alignet.analysis.query_simulation import Queries, query_bound, query_table, simulate_queries
from hf_alignet.analysis.relation_changes import Changes, category_changes, relation_effects
from hf_alignet.analysis.relation_pairs import distances, pairs_by_category, pairs_by_relation
from hf_alignet.analysis.triplet_relations import drawn_triplets, relation_shares
from hf_alignet.analysis.usefulness_figures import (
    downstream_before_after_figure,
    gains_figure,
    severity_figure,
    shots_figure,
)

__all__ = [
    "RELATIONS",
    "Categories",
    "Changes",
    "Convergence",
    "Queries",
    "before_after_figure",
    "benchmark_figure",
    "calibration_figure",
    "categories_of_breeds",
    "categories_of_columns",
    "categories_of_table",
    "category_changes",
    "curves_figure",
    "disagreements",
    "distances",
    "downstream_before_after_figure",
    "drawn_triplets",
    "elbow_figure",
    "gains_figure",
    "linear_cka",
    "model_convergence",
    "model_similarities",
    "model_similarities_before_and_after",
    "pairs_by_category",
    "pairs_by_relation",
    "principal_components",
    "query_bound",
    "query_figure",
    "query_table",
    "relation_effects",
    "relation_shares",
    "save_figure",
    "severity_figure",
    "shots_figure",
    "simulate_queries",
    "trade_off_figure",
    "trimap_places",
    "turned_to",
]
