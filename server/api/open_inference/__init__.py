"""The Open Inference Protocol, version 2, for clients of KServe and Triton."""
