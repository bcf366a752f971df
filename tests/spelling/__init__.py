"""Small networks as plans, and writers that spell one plan in many ways: one function, many files.

Every way of a primitive is one line; `choose(n)` picks among n. Picking 0 everywhere writes the plain file.
"""

from spelling.base import SIZE, Plan
from spelling.network import BLOCKS, HEADS, NEED_SIZES, drawn, plain, write

__all__ = ["BLOCKS", "HEADS", "NEED_SIZES", "SIZE", "Plan", "drawn", "plain", "write"]
