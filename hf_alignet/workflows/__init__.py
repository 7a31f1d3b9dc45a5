"""The steps from choices to a shared model, each as one function of plain values; the command line calls the same."""

from hf_alignet.workflows.alignment_run import align
from hf_alignet.workflows.evaluation_run import evaluate
from hf_alignet.workflows.teacher_run import write_teacher
from hf_alignet.workflows.triplet_run import make_triplets

__all__ = ["align", "evaluate", "make_triplets", "write_teacher"]
