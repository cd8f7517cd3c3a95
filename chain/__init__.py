"""The chain side: contracts, artefacts, events, client, transactions, deployment, devchain.

Only this package imports web3 and eth_*; it may import ``protocols`` and nothing else of ours.
"""
