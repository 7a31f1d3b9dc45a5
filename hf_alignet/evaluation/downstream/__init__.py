"""How useful frozen embeddings are for other tasks."""
