"""Teachers: models of human choices, fitted to judgments."""
