"""What the stages share and what knows nothing of images: cache, files on disk, random numbers, threads, memory, compilation.

Nothing is re-exported: some modules import PyTorch or Numba, which take seconds to load.
"""

__all__: list[str] = []
