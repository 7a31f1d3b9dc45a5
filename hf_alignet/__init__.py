"""Vision encoders with human-like similarity: from odd-one-out choices to an aligned model on the Hub."""

__version__ = "0.1.0"
