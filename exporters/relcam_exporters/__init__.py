"""PyTorch models -> ONNX files that explain themselves: module paths, preprocessing and labels inside.

The only part of relcam-onnx that needs PyTorch, which ``pip install "relcam-onnx[export,cpu]"`` brings;
without it, importing this package raises `relcam_onnx.errors.OptionError`.
"""

from relcam_exporters._extra import missing

try:
    from relcam_exporters.exporter import export, to_onnx
    from relcam_exporters.named import export_named
    from relcam_exporters.report import ExportReport
    from relcam_exporters.zoo import architectures
except ImportError as error:
    raise missing(error) from error

__all__ = ["ExportReport", "architectures", "export", "export_named", "to_onnx"]
