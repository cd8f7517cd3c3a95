"""The embedded chain for a laptop: py-evm behind a small JSON-RPC server, with timed blocks.

    config    what it is started with
    pool      transactions that wait
    ledger    blocks and state: py-evm's London rules
    node      ledger and pool behind a lock
    methods   JSON-RPC: parameters in, answers out
    server    HTTP on the loopback interface
    service   the clock; `run_devchain` for the command, `serving` for tests

It is a tool for development: it keeps everything in memory, and anyone who can reach its port can
use it, which is why it binds to 127.0.0.1 only.
"""
