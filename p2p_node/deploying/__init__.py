"""Putting the contracts on a chain: looking first, showing what it costs, then doing it."""
