"""What the cases of all ops are drawn from."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from relcam_onnx.laws import Case, case, fixed
from relcam_onnx.laws.arithmetic import noise

__all__ = ["BATCH", "SEED", "Case", "apart", "case", "fixed", "noise"]


def apart(seed: int, *shape: int) -> np.ndarray:
    """Signed float32 values, no two of them closer than 0.06, none closer than 0.03 to a whole number or to 0."""
    size = int(np.prod(shape))
    order = np.random.default_rng([seed, *shape]).permutation(size)
    grid = (order - size // 2) * 0.0625 + 0.03
    return grid.astype(np.float32).reshape(shape)


SEED = st.integers(0, 2**16)
BATCH = st.integers(1, 3)
