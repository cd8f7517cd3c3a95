"""A GPU's own signed word on what it is: collected on the provider, judged by the checker.

`report`, `certificates`, `policy` and `verify` are pure: bytes, a moment and what is trusted go
in, a verdict or an error comes out. `collect` asks NVML. `docs/spec/device.md` has the layout.
"""
