"""The flags of the commands, as dataclasses."""
