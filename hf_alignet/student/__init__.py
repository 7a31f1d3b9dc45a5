"""The student: losses, anchor, collator, settings and trainer that align a vision encoder."""

from hf_alignet.student.anchoring import Anchor
from hf_alignet.student.collator import TripletCollator
from hf_alignet.student.losses import triplet_hard, triplet_jsd, triplet_kl
from hf_alignet.student.preparation import load_student
from hf_alignet.student.trainer import AlignTrainer
from hf_alignet.student.training_arguments import AlignTrainingArguments

__all__ = [
    "AlignTrainer",
    "AlignTrainingArguments",
    "Anchor",
    "TripletCollator",
    "load_student",
    "triplet_hard",
    "triplet_jsd",
    "triplet_kl",
]
