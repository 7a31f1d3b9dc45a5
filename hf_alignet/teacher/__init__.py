"""Teachers: models of human choices, fitted to judgments."""

from hf_alignet.teacher.vice import Vice

__all__ = ["Vice"]
