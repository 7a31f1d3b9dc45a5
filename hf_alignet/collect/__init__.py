"""Collects odd-one-out choices in the browser: from pictures to a judgments Dataset."""

from hf_alignet.collect.brought_results import import_results
from hf_alignet.collect.collected_answers import export_study, study_status
from hf_alignet.collect.serving import serve_study
from hf_alignet.collect.static_site import build_static
from hf_alignet.collect.study_making import init_study

__all__ = ["build_static", "export_study", "import_results", "init_study", "serve_study", "study_status"]
