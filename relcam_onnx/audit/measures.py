"""Every measure of an audit: what it says, which way is better, and what a map gets that knows nothing."""

from __future__ import annotations

from typing import NamedTuple


class Of(NamedTuple):
    """One measure.

    Attributes
    ----------
    experiment, key
        Under which the store has it.
    said
        What it is, in a line; ``{share}`` stands for a head's word (`Words`).
    better
        "higher", "lower", or "" where neither is.
    chance
        What says nothing gets: a number, or the key under which the experiment has it of each picture; None where that
        hangs on the pictures (a baseline is then beside it).
    """

    experiment: str
    key: str
    said: str
    better: str = ""
    chance: float | str | None = None

    @property
    def fixed_chance(self) -> float | None:
        """That number, where it is one for all pictures."""
        return None if isinstance(self.chance, str) else self.chance


MEASURES: dict[str, Of] = {
    "drift.top1": Of("drift", "top1", "the share of pictures with the same top class", "higher"),
    "drift.kl": Of("drift", "kl", "KL divergence from the reference's probabilities, nats; summed over classes "
                   "that have a sigmoid each", "lower"),
    "drift.largest": Of("drift", "largest", "the largest difference of a {share}", "lower"),
    "drift.matched": Of("outputs", "matched", "pairs of both files' detections (one class, IoU at least 0.5) over all "
                        "that either has", "higher"),
    "drift.lost": Of("outputs", "lost", "detections of a picture that only the reference has", "lower"),
    "drift.new": Of("outputs", "new", "detections of a picture that only the model has", "lower"),
    "drift.box-iou": Of("outputs", "box", "IoU of the boxes of matched detections", "higher"),
    "drift.confidence": Of("outputs", "confidence", "how far confidence in matched detections is apart", "lower"),
    "drift.pixels": Of("outputs", "pixels", "the share of pixels with the same class", "higher"),
    "drift.miou": Of("outputs", "miou", "mean over classes of the IoU of where the two files see them", "higher"),
    "drift.likeness": Of("drift", "likeness", "how far the two files' cosines of a picture are apart", "lower"),
    "drift.cosine": Of("drift", "cosine", "the cosine of the two maps; 0 where one alone is zero all over", "higher",
                       0.0),
    "drift.rank": Of("drift", "rank", "the rank correlation of the two maps; 0 where one alone is zero all over",
                     "higher", 0.0),
    "drift.iou": Of("drift", "iou", "IoU of the two regions that hold 80 % of each map", "higher"),
    "drift.shift": Of("drift", "shift", "how far the centre of mass moves, in sides of the picture; 1.41 where one "
                      "map alone has none", "lower"),
    "drift.activations": Of("activations", "difference", "how far activations are apart, relative", "lower", 2**0.5),
    "faithfulness.deletion": Of("deletion", "deletion", "area under the {share} as the map's first pixels go",
                                "lower"),
    "faithfulness.insertion": Of("deletion", "insertion", "area under the {share} as they come instead",
                                 "higher"),
    "faithfulness.drop": Of("deletion", "drop", "average drop, picture times map (Grad-CAM++), %", "lower"),
    "faithfulness.increase": Of("deletion", "increase", "average increase, picture times map, %", "higher"),
    "faithfulness.drop-half": Of("deletion", "drop-half", "average drop, the map's first half of the pixels shown "
                                 "(Score-CAM, Relevance-CAM), %", "lower"),
    "faithfulness.increase-half": Of("deletion", "increase-half", "average increase, the map's first half shown, %",
                                     "higher"),
    "faithfulness.road": Of("deletion", "road", "ROAD: how much more the highest pixels matter than the lowest",
                            "higher", 0.0),
    "faithfulness.single-deletion": Of("deletion", "logit", "single-deletion score, of the logit", "higher", 0.0),
    "faithfulness.single-deletion-log": Of("deletion", "log-probability", "single-deletion score, of the "
                                           "log-probability", "higher", 0.0),
    "places.gridpg": Of("grid", "share", "GridPG: share in the one tile of four that shows the class", "higher", 0.25),
    "places.focus": Of("focus", "share", "Focus: share in the two tiles of four that show the class", "higher", 0.5),
    "places.pointing": Of("grid", "pointing", "pointing game, one tile of four", "higher", 0.25),
    "places.energy": Of("region", "mass", "share in the model's own region: the detection's box, the class's segment",
                        "higher", "share"),
    "places.peak": Of("region", "pointing", "pointing game, the model's own region", "higher", "share"),
    "places.mass": Of("outline", "mass", "relevance mass accuracy in what is outlined", "higher"),
    "places.rank": Of("outline", "rank", "relevance rank accuracy", "higher"),
    "places.hit": Of("outline", "pointing", "pointing game, what is outlined", "higher"),
    "places.best-iou": Of("outline", "best", "IoU at the best threshold", "higher"),
    "places.threshold": Of("outline", "threshold", "that threshold, a share of the map's maximum"),
    "places.region-iou": Of("outline", "region", "IoU of the region that holds 80 % of the map", "higher"),
    "sanity.weights": Of("weights", "magnitude", "abs(r) with the map where the top weights are drawn anew", "lower"),
    "sanity.second-class": Of("picture", "second", "r of the next class's map with the first's"),
    "sanity.random-class": Of("picture", "random", "r of a random class's map with the first's", "lower", 0.0),
    "sanity.noise": Of("disturbed", "noise", "r with the map under a little noise", "higher", 0.0),
    "sanity.moved": Of("disturbed", "moved", "r with the map of the picture moved by a few pixels", "higher", 0.0),
    "sanity.kept": Of("picture", "kept", "relevance that arrives at the layer, of what it started as"),
    "sanity.arrives": Of("account", "arrives", "relevance that arrives, down to the input, of what it started as"),
    "sanity.to-biases": Of("account", "biases", "relevance that biases take between the layer above and this one"),
    "sanity.to-epsilon": Of("account", "epsilon", "relevance that ε takes there: where nothing speaks for an output"),
    "sanity.to-constants": Of("account", "constants", "relevance that class tokens and position tables take there"),
    "sanity.to-rest": Of("account", "rest", "relevance that nothing gets there"),
    "gradients.weights": Of("shattering", "weights", "r of channel weights with those under noise", "higher", 0.0),
    "gradients.smooth": Of("shattering", "smooth", "r of what arrives at neighbouring positions", "higher", 0.0),
    "gradients.confidence": Of("confidence", "confidence", "rank correlation of a channel's weight and the "
                               "score's fall without it", "higher", 0.0),
    "looking.border": Of("picture", "border", "share of the map within a tenth of the picture's edges", "", 0.36),
    "looking.corners": Of("picture", "corners", "share in the four corners, a quarter of each side", "", 0.25),
    "looking.entropy": Of("picture", "entropy", "how spread the map is: 0 one place, 1 everywhere", "", 1.0),
    "looking.inside": Of("picture", "inside", "share inside what is outlined", "higher"),
}  # fmt: skip
"""Name -> measure. Thresholds go by these names."""
