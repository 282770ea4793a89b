"""The export of a model, from the trainer's checkpoint to the artifact that is served; never imports torch."""

from astec.export.artifact.kernels.cache_folder import ensure_kernel_folder

# Here, because every module with kernels of its own, of whichever part, imports this package before it makes them.
ensure_kernel_folder()
