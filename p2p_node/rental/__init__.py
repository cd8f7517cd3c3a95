"""Renting a machine out, and using a rented one."""
