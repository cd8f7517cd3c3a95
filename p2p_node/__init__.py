"""The node: network, roles, storage and command line around the pure rules of `protocols`."""
