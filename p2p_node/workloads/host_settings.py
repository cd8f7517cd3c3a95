"""What an operator says about the host that a provider offers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostSettings:
    """`devices` is auto, cpu, gpu, or gpu:0,1,…; the others have the CPU's share as a device, and
    the number of chains on its cores (None for as many as the process may use, 0 for none)."""

    devices: str = "auto"
    cpu_threads: int = 1
    cpu_memory_bytes: int = 2 << 30
    cores: int | None = None
