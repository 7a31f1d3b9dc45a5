"""The Hugging Face Hub: `transport` and `cards` serve all rooms that share something, `publish` uses these rooms."""
