"""Recomputing an epoch from the chain's own data, by anybody: what `kaisar audit` does.

`reading` asks an endpoint, `chronicle` puts its events in order, and the other modules judge what
they are given: they are pure, so every way in which an epoch can be wrong can be tried without a
chain. The first difference ends an audit (`findings`).
"""
