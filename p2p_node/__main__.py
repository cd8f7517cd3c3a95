"""`python -m p2p_node` is `kaisar`."""

import sys

from p2p_node.cli import main

if __name__ == "__main__":
    sys.exit(main())
