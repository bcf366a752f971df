"""Where the positions of a tensor are."""

from __future__ import annotations

from dataclasses import dataclass

from relcam_onnx.canon.axes import Size


@dataclass(frozen=True)
class Layout:
    """Where the positions of a tensor are.

    Attributes
    ----------
    axes
        The axes that are positions, in the picture's order; one where they were put in a row.
    rank
        Of the tensor: all axes but the first and these are channels.
    grid
        The sizes that positions in a row came from; () where they have axes of their own.
    origin, origin_axes
        The tensor that has those sizes, for the ones that only a run knows, and where they stand in it.
    before, after
        How many more entries the row has at either end: class tokens.
    """

    axes: tuple[int, ...]
    rank: int
    grid: tuple[Size, ...] = ()
    origin: str = ""
    origin_axes: tuple[int, ...] = ()
    before: int = 0
    after: int = 0

    @property
    def channels(self) -> tuple[int, ...]:
        """The axes that are neither the batch nor positions."""
        return tuple(axis for axis in range(1, self.rank) if axis not in self.axes)

    @property
    def places(self) -> int:
        """How many axes of positions there are, or were before they were put in a row."""
        return len(self.grid or self.axes)

    @property
    def tokens(self) -> int:
        """How many entries of the row are no positions."""
        return self.before + self.after

    @property
    def note(self) -> str:
        """How many those are, in words."""
        return f"{self.tokens} {'token' if self.tokens == 1 else 'tokens'} beside the positions" if self.tokens else ""

    @property
    def plain(self) -> bool:
        """Whether the tensor is (N, C, positions...) as it stands."""
        return not self.grid and self.axes == tuple(range(2, self.rank))
