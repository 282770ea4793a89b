"""From token ids to dense representations: embeddings, the residual head and ONNX inputs."""
