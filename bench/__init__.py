"""Benchmarks: one module per claim, each run with ``python -m bench.<name>`` and ``--json PATH``."""
