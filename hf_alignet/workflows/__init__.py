"""The steps from choices to a shared model, each as one function of plain values; the command line calls the same.

Import a step from its module: each needs other heavy libraries, and a command waits only for its own.
"""
