"""A whole network on one machine: real processes, real sockets, a real EVM; then the accounts."""
