"""The proof on a GPU: kernels in `workloads/kernels`, multiplications by cuBLAS, both through CuPy.

`runtime` says what is asked of a CUDA runtime, `cupy_runtime` is the real one and the only module
that imports CuPy; everything else is tested on a host runtime as well.
"""
