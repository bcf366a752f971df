"""``python -m relcam_onnx`` is ``relcam``."""

from relcam_onnx.cli import main

if __name__ == "__main__":
    main()
