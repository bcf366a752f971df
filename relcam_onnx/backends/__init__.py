"""What the rules run on: one object ``f`` with ONNX's ops as methods, so that every formula is written once.

`relcam_onnx.backends.eager` computes each call with NumPy.
"""
