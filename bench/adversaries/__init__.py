"""Attacks on the proof of physical work as running code; `python -m bench.attacks` runs them."""
