"""Publishing: a copy of what was made, inspected, with its card, on the Hub."""
