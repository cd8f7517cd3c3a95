"""The rules of Kaisar as pure code: no I/O, no clock, no ambient randomness.

This file stays free of imports, so that the proof (`compute`, `expand`, `freivalds`, `merkle`)
can be carried to a GPU machine that has NumPy and nothing else.
"""
