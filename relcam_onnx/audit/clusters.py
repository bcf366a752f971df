"""Clusters of maps that may be shortcuts: watermarks, borders, backgrounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, exp, lgamma, log, log10

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit import metrics
from relcam_onnx.audit.looking import GRID, cells
from relcam_onnx.pictures.geometry import Floats

MOST = 8
"""Clusters of one group."""
FEWEST = 8
"""Pictures that a group needs to be looked through, and ..."""
SMALLEST = 4
"""... that a cluster needs to be told of."""
PLACE = 3
"""Cells a side of the place that a map peaks in."""
RIM = 2
"""Places from the picture's edge that count as there."""
TRIED = 30
"""Places of a picture that share nothing: as many chances has chance."""
CERTAIN = 6
"""-log10 of a chance that leaves no doubt."""
RAISED = 0.45
"""The suspicion from which a cluster is put forward: one in five hundred groups by its own chance."""


@dataclass(frozen=True)
class Cluster:
    """Pictures whose maps lie alike.

    Attributes
    ----------
    group
        The class or subgroup they are of.
    names
        What was explained, one a picture, the most typical first.
    mean
        Their mean map, (GRID, GRID), a share in each cell.
    suspicion
        0..1: how unlikely it is that so many maps peak in one place by chance. See `suspicion`.
    reasons
        What that is made of. See `evidence`.
    """

    group: str
    names: tuple[str, ...]
    mean: NDArray[np.float64] = field(repr=False)
    suspicion: float
    reasons: Mapping[str, float]

    @property
    def raised(self) -> bool:
        """Whether it is put forward."""
        return self.suspicion >= RAISED


def clusters(
    maps: Mapping[str, Mapping[str, Floats]], seed: int = 0, kinds: Mapping[str, str] | None = None
) -> list[Cluster]:
    """Spectral clusters of each group's maps (SpRAy), the most suspicious first, one for each place where they peak.

    Parameters
    ----------
    maps
        Group -> picture -> its fused map, (h, w).
    seed
        Of the clusters' first centres.
    kinds
        Group -> the class that all of it are of; those of one class are not held against each other. None: groups are
        classes.

    Notes
    -----
    Lapuschkin et al. 2019, arXiv:1902.10178: maps shrunk to a grid, neighbours' graph, eigenvalues of its normalised
    Laplacian; as many clusters as the widest gap between them says.
    """
    found: list[Cluster] = []
    kinds = {group: group for group in maps} if kinds is None else kinds
    for group, named in maps.items():
        names = [name for name, heat in named.items() if cells(heat).any()]
        if len(names) < FEWEST:
            continue
        shares = np.array([cells(named[name]) for name in names])
        beside = [own for key, own in maps.items() if key != group and are_apart(kinds.get(group), kinds.get(key))]
        others = np.array([cells(heat) for own in beside for heat in own.values()])
        every = [*spectral(shares.reshape(len(shares), -1), seed), *at_one_place(shares)]
        members = [m for m in every if len(m) >= SMALLEST]
        found += [described(group, names, shares, own, others) for own in members]
    first: list[Cluster] = []
    for cluster in sorted(found, key=lambda each: (-each.suspicion, -each.reasons["agree"], -len(each.names))):
        if not any(cluster.group == other.group and at_place_of(cluster, other) for other in first):
            first.append(cluster)
    return first


def are_apart(kind: str | None, other: str | None) -> bool:
    """Whether two groups may be held against each other: of two classes, or both of several."""
    return kind != other if kind and other else kind is other is None


def at_place_of(one: Cluster, other: Cluster) -> bool:
    """Whether two clusters peak in one place, or a cell beside it."""
    return all(abs(one.reasons[axis] - other.reasons[axis]) * (GRID - PLACE) < 1.5 for axis in ("row", "column"))


def described(
    group: str,
    names: Sequence[str],
    shares: NDArray[np.float64],
    members: NDArray[np.intp],
    others: NDArray[np.float64],
) -> Cluster:
    """One cluster, its pictures from the most typical on."""
    own = shares[members]
    mean = own.mean(axis=0)
    order = np.argsort([-metrics.cosine(one, mean) for one in own], kind="stable")
    reasons = evidence(own, shares, others)
    return Cluster(group, tuple(names[members[place]] for place in order), mean, suspicion(reasons), reasons)


def evidence(own: NDArray[np.float64], group: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """How many maps of the group peak where most of a cluster's do, and how many were to be expected there.

    A map's peak is the place, `PLACE` cells a side, that holds most of it. Objects lie in all places, and as often to
    the left as to the right; what is always in one place is no object. So ``expected`` is what the place mirrored left
    to right and top to bottom has in the same group, or what it has itself in other groups, whichever is more. ``rim``
    is how many peak at the picture's edge, wherever; ``agree`` the share of the cluster itself that peaks in the place.
    """
    row, column = place = commonest(peaks(own))
    found = peaks(group)
    elsewhere = [near(found, other) for other in mirrored(place)]
    rates = [float(np.mean(elsewhere))] if elsewhere else []
    if len(others):
        rates.append(near(peaks(others), place) * len(group) / len(others))
    end = GRID - PLACE
    return {
        "row": row / end, "column": column / end, "count": near(found, place),
        "expected": max(rates, default=float(near(found, place))),
        "agree": near(peaks(own), place) / len(own),
        "rim": int(((found < RIM) | (found > end - RIM)).any(axis=1).sum()), "of": len(group),
    }  # fmt: skip


def suspicion(reasons: Mapping[str, float]) -> float:
    """How unlikely that is, 0..1: so many at one place, or so many at the edge, whichever is less likely."""
    return max(of_place(reasons), of_edge(reasons))


def of_place(reasons: Mapping[str, float]) -> float:
    """How unlikely so many peaks at one place are, by Poisson's tail.

    Half a picture more is expected than was seen elsewhere, since nothing seen does not mean that nothing can be; and
    so many places were looked at.
    """
    count, expected = round(reasons["count"]), reasons["expected"] + 0.5
    return doubted(TRIED * (1 - sum(exp(k * log(expected) - expected - lgamma(k + 1)) for k in range(count))))


def of_edge(reasons: Mapping[str, float]) -> float:
    """How unlikely so many of the group's peaks at the picture's edge are, by the binomial tail of peaks anywhere."""
    total, rim = round(reasons["of"]), round(reasons["rim"])
    side = GRID - PLACE + 1
    rate = 1 - ((side - 2 * RIM) / side) ** 2
    return doubted(sum(comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in range(rim, total + 1)))


def doubted(chance: float) -> float:
    """A chance as a suspicion: its -log10 over `CERTAIN`, 0..1."""
    return min(1.0, log10(1 / min(1.0, max(10.0**-CERTAIN, chance))) / CERTAIN)


def peaks(shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n, GRID, GRID) to the row and column of each one's peak, (n, 2)."""
    held = held_by_places(shares)
    return np.stack(np.unravel_index(held.reshape(len(held), -1).argmax(axis=1), held.shape[1:]), axis=1)


def near(found: NDArray[np.intp], place: tuple[int, int]) -> int:
    """How many peaks lie at a place, or a cell beside it."""
    return int((np.abs(found - np.array(place)) <= 1).all(axis=1).sum())


def commonest(found: NDArray[np.intp]) -> tuple[int, int]:
    """The peak that most others are near."""
    counts = [near(found, (int(row), int(column))) for row, column in found]
    row, column = found[int(np.argmax(counts))]
    return int(row), int(column)


def held_by_places(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, GRID, GRID) to the sums over every place of `PLACE` × `PLACE` cells."""
    windows = np.lib.stride_tricks.sliding_window_view(shares, (PLACE, PLACE), axis=(1, 2))
    return np.asarray(windows.sum(axis=(3, 4)))


def at_one_place(shares: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The maps that peak where most do beyond what mirrored places have: a few in a large group make no cluster."""
    found = peaks(shares)
    places = [(row, column) for row in range(GRID - PLACE + 1) for column in range(GRID - PLACE + 1)]
    beyond = [near(found, p) - max((near(found, other) for other in mirrored(p)), default=len(found)) for p in places]
    best = np.array(places[int(np.argmax(beyond))])
    return [np.flatnonzero((np.abs(found - best) <= 1).all(axis=1))]


def mirrored(place: tuple[int, int]) -> list[tuple[int, int]]:
    """Left to right and top to bottom, where that is another place."""
    row, column = place
    end = GRID - PLACE
    return [other for other in ((row, end - column), (end - row, column)) if max(
        abs(other[0] - row), abs(other[1] - column)) > 2]  # fmt: skip


def spectral(rows: NDArray[np.float64], seed: int) -> list[NDArray[np.intp]]:
    """The members of each cluster of rows."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 - of an extra, and slow to import
    from sklearn.neighbors import kneighbors_graph  # noqa: PLC0415 - as above

    count = len(rows)
    beside = kneighbors_graph(np.sqrt(rows), min(count - 1, max(3, round(np.log(count)))), include_self=False).toarray()
    joined = np.maximum(beside, beside.T)
    degree = joined.sum(axis=1)
    laplacian = np.eye(count) - joined / np.sqrt(np.outer(degree, degree))
    values, vectors = np.linalg.eigh(laplacian)
    most = min(MOST, count // SMALLEST)
    gaps = np.diff(values[1 : most + 1])
    if not len(gaps):
        return [np.arange(count)]
    wanted = int(gaps.argmax()) + 2  # one cluster tells nothing of a group
    spread = vectors[:, :wanted] / np.maximum(np.linalg.norm(vectors[:, :wanted], axis=1, keepdims=True), 1e-12)
    labels = KMeans(wanted, n_init=10, random_state=seed).fit_predict(spread)
    return [np.flatnonzero(labels == label) for label in range(wanted)]
