"""Vision encoders with human-like similarity: from odd-one-out choices to an aligned model on the Hub.

The names below are the public API. Each is imported when it is first used, so that importing the package is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_alignet.encoder import AffineTransform, ContextTransform, TextEncoder, VisionEncoder
    from hf_alignet.hub.publish import publish
    from hf_alignet.images import load_images
    from hf_alignet.judgments import load_judgments, load_similarity_matrix
    from hf_alignet.student import AlignTrainer, AlignTrainingArguments
    from hf_alignet.teacher import AffineTeacher, Vice, fit_teacher
    from hf_alignet.triplets import label_triplets, load_triplets
    from hf_alignet.workflows.alignment_run import align
    from hf_alignet.workflows.analysis_run import analyze
    from hf_alignet.workflows.embedding_run import embed
    from hf_alignet.workflows.evaluation_run import evaluate
    from hf_alignet.workflows.onnx_run import export
    from hf_alignet.workflows.study_run import study
    from hf_alignet.workflows.triplet_run import make_triplets

__version__ = "0.2.0"

_ROOMS = {
    "AffineTeacher": "teacher",
    "AffineTransform": "encoder",
    "AlignTrainer": "student",
    "AlignTrainingArguments": "student",
    "ContextTransform": "encoder",
    "TextEncoder": "encoder",
    "Vice": "teacher",
    "VisionEncoder": "encoder",
    "align": "workflows.alignment_run",
    "analyze": "workflows.analysis_run",
    "embed": "workflows.embedding_run",
    "evaluate": "workflows.evaluation_run",
    "export": "workflows.onnx_run",
    "fit_teacher": "teacher",
    "label_triplets": "triplets",
    "load_images": "images",
    "load_judgments": "judgments",
    "load_similarity_matrix": "judgments",
    "load_triplets": "triplets",
    "make_triplets": "workflows.triplet_run",
    "publish": "hub.publish",
    "study": "workflows.study_run",
}

__all__ = [
    "AffineTeacher",
    "AffineTransform",
    "AlignTrainer",
    "AlignTrainingArguments",
    "ContextTransform",
    "TextEncoder",
    "Vice",
    "VisionEncoder",
    "align",
    "analyze",
    "embed",
    "evaluate",
    "export",
    "fit_teacher",
    "label_triplets",
    "load_images",
    "load_judgments",
    "load_similarity_matrix",
    "load_triplets",
    "make_triplets",
    "publish",
    "study",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
