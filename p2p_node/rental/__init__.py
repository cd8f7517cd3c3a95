"""Renting: a provider lends its machine for the time of a lease, a renter uses it."""
