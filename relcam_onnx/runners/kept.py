"""What is costly to make is kept: sessions, and models made ready for one size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KEPT = 4
"""How many things are kept, by picture size and the like."""

T = TypeVar("T")


class Kept(Generic[T]):
    """The last few things that were asked for, by key; threads that ask for one at once make it once."""

    def __init__(self, most: int = KEPT) -> None:
        self._lock, self._most = threading.Lock(), most
        self._things: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of a key, made where there is none."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
            else:
                self._things[key] = make()
                while len(self._things) > self._most:
                    self._things.popitem(last=False)
            return self._things[key]
