"""The offline trainer of DeepXML/Astec: it learns a checkpoint from texts and labels."""

import astec.export  # noqa: F401  (finds a folder for compiled kernels, before any is made here)
