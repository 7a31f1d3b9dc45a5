"""The command line: one module a command, and the flags of each."""
