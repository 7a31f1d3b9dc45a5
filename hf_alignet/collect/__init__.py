"""Collects odd-one-out choices in the browser: from pictures to a judgments Dataset."""

from hf_alignet.collect.study_making import init_study

__all__ = ["init_study"]
