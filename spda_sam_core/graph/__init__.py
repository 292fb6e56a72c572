"""The whole network as one ONNX file: made, described, read and checked."""
