"""A static page that explains pictures in the browser: the compiled model, onnxruntime-web and a few scripts."""
