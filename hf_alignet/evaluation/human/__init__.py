"""Agreement with people: choices, levels of abstraction, similarities, dimensions, uncertainty."""
