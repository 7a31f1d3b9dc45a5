"""Judgments: what people chose, as Datasets of one schema."""

from hf_alignet.judgments.dataset import choice_counts

__all__ = ["choice_counts"]
