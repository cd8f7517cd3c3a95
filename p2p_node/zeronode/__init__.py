"""ZeroNode: uptime of browser extensions, a ledger that adds up, draws that anyone can check."""
