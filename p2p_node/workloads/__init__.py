"""What a provider's devices compute. CuPy, NVML and BLAS are known in this package alone."""
