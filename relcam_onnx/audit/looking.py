"""Where a model looks over many pictures: shares of its maps, mean maps, and clusters that may be shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit import metrics
from relcam_onnx.audit.experiments import Item
from relcam_onnx.audit.metrics.places import overlaps, positive
from relcam_onnx.audit.model import Floats, Source
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.errors import OptionError
from relcam_onnx.results.render import resize_map

FRAME = 0.1
"""How wide the border is, in shares of a side."""
GRID = 16
"""Cells a side of the maps that clusters are made of."""
MOST = 8
"""Clusters of one group."""
FEWEST = 8
"""Pictures that a group needs to be looked through, and ..."""
SMALLEST = 4
"""... that a cluster needs to be told of."""
RAISED = 0.25
"""The suspicion from which a cluster is put forward."""


def by_looking(subjects: Sequence[Subject]) -> Iterator[Item]:
    """Where the map of each picture's class lies in the picture."""
    for subject in subjects:

        def measure(source: Source, subject: Subject = subject) -> Found:
            maps, found = source(subject.array[None], [subject.label]), {}
            for row, layers in maps.items():
                found[row] = {layer: where(heat[0], subject.mask) for layer, heat in layers.items()}
            return found

        yield Item(subject.name, measure, 1)


def where(heat: Floats, mask: NDArray[np.bool_] | None) -> dict[str, float]:
    """Shares of a map's positive part, and how spread it is."""
    shares = cells(heat, 20)
    frame = round(20 * FRAME)
    inner = shares[frame:-frame, frame:-frame].sum()
    ends = (slice(0, 5), slice(15, 20))
    corners = sum(shares[rows, columns].sum() for rows in ends for columns in ends)
    found = {"border": float(1 - inner), "corners": float(corners), "entropy": metrics.entropy(heat)}
    if not shares.any():
        found = dict.fromkeys(found, float("nan"))
    if mask is not None and mask.any():
        found["inside"] = metrics.mass_accuracy(resize_map(heat, (mask.shape[0], mask.shape[1])), mask)
    return found


def cells(heat: Floats, count: int = GRID) -> NDArray[np.float64]:
    """The positive part of a map over a grid, as shares of its sum; 0 where nothing is positive."""
    down, across = (overlaps(size, count) for size in heat.shape)
    mass = down.T @ positive(heat) @ across
    total = mass.sum()
    return np.asarray(mass / total if total else mass, np.float64)


@dataclass(frozen=True)
class Cluster:
    """Pictures whose maps lie alike.

    Attributes
    ----------
    group
        The class or subgroup they are of.
    names
        The pictures, the most typical first.
    mean
        Their mean map, (GRID, GRID), a share in each cell.
    suspicion
        0..1: how likely one fixed place at the edge explains them. See `suspicion`.
    reasons
        What it is made of, by name.
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


def clusters(maps: Mapping[str, Mapping[str, Floats]], seed: int = 0) -> list[Cluster]:
    """Spectral clusters of each group's maps (SpRAy), the most suspicious first.

    Parameters
    ----------
    maps
        Group -> picture -> its fused map, (h, w).
    seed
        Of the clusters' first centres.

    Raises
    ------
    OptionError
        scikit-learn is missing.

    Notes
    -----
    Lapuschkin et al. 2019, arXiv:1902.10178: maps shrunk to a grid, neighbours' graph, eigenvalues of its normalised
    Laplacian; as many clusters as the widest gap between them says.
    """
    found: list[Cluster] = []
    everything = np.array([cells(heat) for group in maps.values() for heat in group.values()])
    for group, named in maps.items():
        names = [name for name, heat in named.items() if cells(heat).any()]
        if len(names) < FEWEST:
            continue
        shares = np.array([cells(named[name]) for name in names])
        members = [m for m in spectral(shares.reshape(len(shares), -1), seed) if len(m) >= SMALLEST]
        found += [described(group, names, shares, own, everything) for own in members]
    return sorted(found, key=lambda cluster: -cluster.suspicion)


def described(
    group: str,
    names: Sequence[str],
    shares: NDArray[np.float64],
    members: NDArray[np.intp],
    everything: NDArray[np.float64],
) -> Cluster:
    """One cluster, its pictures from the most typical on."""
    own = shares[members]
    mean = own.mean(axis=0)
    order = np.argsort([-metrics.cosine(one, mean) for one in own], kind="stable")
    reasons = suspicion(own, everything)
    told = float(np.prod(list(reasons.values())))
    return Cluster(group, tuple(names[members[place]] for place in order), mean, told, reasons)


def suspicion(own: NDArray[np.float64], everything: NDArray[np.float64]) -> dict[str, float]:
    """What speaks for a shortcut, each 0..1; their product is the suspicion.

    ``alike``: the mean cosine of the cluster's maps with their mean: objects move from picture to picture, watermarks
    and borders do not. ``apart``: the share of the mean map that all pictures' mean map does not have there. ``edge``:
    how much more of it lies at the picture's edge (an eighth of each side) than of a map that is the same everywhere.
    """
    mean = own.mean(axis=0)
    alike = float(np.mean([metrics.cosine(one, mean) for one in own]))
    rest = everything.mean(axis=0)
    apart = float(np.maximum(mean - rest, 0).sum())
    rim = GRID // 8
    edge = 1 - mean[rim:-rim, rim:-rim].sum()
    chance = 1 - (1 - 2 * rim / GRID) ** 2
    return {"alike": alike, "apart": apart, "edge": float(max(0.0, (edge - chance) / (1 - chance)))}


def spectral(rows: NDArray[np.float64], seed: int) -> list[NDArray[np.intp]]:
    """The members of each cluster of rows."""
    try:
        from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import, and only this needs it
        from sklearn.neighbors import kneighbors_graph  # noqa: PLC0415
    except ImportError as error:
        raise OptionError("clusters need scikit-learn: pip install 'relcam-onnx[audit]'") from error
    count = len(rows)
    near = kneighbors_graph(np.sqrt(rows), min(count - 1, max(3, round(np.log(count)))), include_self=False).toarray()
    joined = np.maximum(near, near.T)
    degree = joined.sum(axis=1)
    laplacian = np.eye(count) - joined / np.sqrt(np.outer(degree, degree))
    values, vectors = np.linalg.eigh(laplacian)
    most = min(MOST, count // SMALLEST)
    gaps = np.diff(values[: most + 1])
    wanted = int(gaps.argmax()) + 1 if len(gaps) else 1
    if wanted == 1:
        return [np.arange(count)]
    spread = vectors[:, :wanted] / np.maximum(np.linalg.norm(vectors[:, :wanted], axis=1, keepdims=True), 1e-12)
    labels = KMeans(wanted, n_init=10, random_state=seed).fit_predict(spread)
    return [np.flatnonzero(labels == label) for label in range(wanted)]


def mean_maps(maps: Mapping[str, Mapping[str, Floats]]) -> dict[str, NDArray[np.float64]]:
    """Group -> the mean of its maps, (GRID, GRID), a share in each cell."""
    return {group: np.mean([cells(heat) for heat in named.values()], axis=0) for group, named in maps.items() if named}
