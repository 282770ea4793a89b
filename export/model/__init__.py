"""The hand-over from trainer to export: checkpoint format and ONNX graphs."""
