"""The Open Inference Protocol over gRPC, beside the same protocol over HTTP."""
