"""The trained model as the trainer passes it to the export: the checkpoint and ONNX graphs."""
