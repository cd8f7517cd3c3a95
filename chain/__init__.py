"""The chain side: contracts and their artefacts, typed events, client, transactions, deployment, devchain.

Only this package imports web3 and eth_*; it may import ``protocols`` and nothing else of ours.
"""
