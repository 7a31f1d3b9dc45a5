"""Cards of models, transforms and datasets: facts as Markdown, with metadata that the Hub reads."""
