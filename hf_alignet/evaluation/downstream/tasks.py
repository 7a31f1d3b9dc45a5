"""Benchmarks of how useful a model is, on labelled images: few shots, probes, shifts, BREEDS, anomalies, retrieval."""

import logging

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.anomaly import anomaly
from hf_alignet.evaluation.downstream.breeds import breeds
from hf_alignet.evaluation.downstream.hierarchy import BREEDS, Hierarchy
from hf_alignet.evaluation.downstream.labelled_images import (
    LabelledImages,
    open_parts,
    open_split,
    warn_of_common_images,
)
from hf_alignet.evaluation.downstream.retrieval import retrieval
from hf_alignet.evaluation.downstream.shift import Shift
from hf_alignet.evaluation.downstream.shots import few_shot, linear_probe
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.metric import Metric
from hf_alignet.evaluation.task import Benchmark, Measured, Settings, Task
from hf_alignet.sources import public_name

SHOTS = (1, 5, 10, 25)
ARROW = "->"

logger = logging.getLogger(__name__)
