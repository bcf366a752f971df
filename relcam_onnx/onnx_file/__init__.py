"""An .onnx file in and out: read, checked, raised to the working opset; written whole."""
