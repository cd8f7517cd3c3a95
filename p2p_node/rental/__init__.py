"""Renting out a machine, and renting one."""
