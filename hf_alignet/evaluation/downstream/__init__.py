"""Usefulness: what frozen embeddings are worth for other tasks."""
