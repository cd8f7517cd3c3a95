"""Benchmarks: one module per claim, run with ``python -m bench.<name> [--json PATH]``."""
