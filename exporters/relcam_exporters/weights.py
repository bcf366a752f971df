"""State dicts: read without running anything in them, and put into a network that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from relcam_exporters._extra import require
from relcam_onnx.errors import OptionError

SHOWN = 5
"""So many keys that do not fit are named."""


def read_state(file: Path) -> Mapping[str, torch.Tensor]:
    """A state dict; nothing in the file is run."""
    if file.suffix == ".safetensors":
        found: Mapping[str, torch.Tensor] = require("safetensors.torch").load_file(file)
        return found
    state = torch.load(file, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):  # as training scripts wrap it
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise TypeError(f"it holds a {type(state).__name__} of other things than tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def fill(module: torch.nn.Module, state: Mapping[str, torch.Tensor], problem: str) -> None:
    """Load a state dict; an `OptionError` says which keys do not fit."""
    own = module.state_dict()
    lacking = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    other = [key for key, value in state.items() if key in own and value.shape != own[key].shape]
    told = [
        f"{what} {', '.join(keys[:SHOWN])}{f' and {len(keys) - SHOWN} more' if len(keys) > SHOWN else ''}"
        for what, keys in (
            ("it lacks", lacking),
            ("the network has no", strange),
            ("another shape have", [f"{key} {tuple(state[key].shape)}, not {tuple(own[key].shape)}" for key in other]),
        )
        if keys
    ]
    if told:
        raise OptionError(f"{problem}: {'; '.join(told)}")
    module.load_state_dict(state, strict=False)
