"""Pictures beside texts in one file, as CLIP has them: explained as the classifier whose weights the texts are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, picture, run

import relcam_onnx as rc

DEPTH = 6
IDS = np.array([[1, 4, 2], [3, 3, 5], [0, 2, 2], [5, 1, 4]])
FORMS = ("pictures by texts", "texts by pictures, turned", "turned, scaled, turned again")


def normalised(net: Net, x: str) -> str:
    return net("Div", x, net("Sqrt", net("ReduceSum", net("Mul", x, x), np.array([1]), keepdims=1)))


def embedded(net: Net) -> str:
    """A picture's embedding, length one."""
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    x = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 8, 10, stride=2))))
    return normalised(net, net.dense(x, 10, DEPTH))


def model(form: str, *, batch: int | str = "images", texts: int | str = "texts") -> onnx.ModelProto:
    """Scores of each picture for each text, one of each other's tables behind them."""
    net = Net(batch, 3, 16, 16)
    pictures = embedded(net)
    net.inputs.insert(0, onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [texts, 3]))
    words = net("ReduceMean", net("Gather", net.normal(6, 9), "ids"), np.array([1]), keepdims=0)
    rows = normalised(net, net.dense(words, 9, DEPTH))
    if form == FORMS[0]:
        columns = net("Transpose", rows, perm=[1, 0])
        scores = net("Mul", net("MatMul", pictures, columns), np.float32(5.0), name="scores")
        return net.model(scores)
    alike = net("MatMul", rows, net("Transpose", pictures, perm=[1, 0]))
    if form == FORMS[1]:
        scores = net("Mul", net("Transpose", alike, perm=[1, 0]), np.float32(5.0), name="scores")
        return net.model(scores)
    by_text = net("Mul", np.float32(5.0), alike, name="by_text")
    return net.model(net("Transpose", by_text, perm=[1, 0], name="scores"), by_text)


def classifier(texts: np.ndarray) -> onnx.ModelProto:
    """The same with these texts' embeddings as the weights of its last layer."""
    net = Net("N", 3, 16, 16)
    return net.model(net("Mul", net("MatMul", embedded(net), texts.T), np.float32(5.0), name="scores"))


def embeddings(ids: np.ndarray) -> np.ndarray:
    file = model(FORMS[0])
    (rows,) = (n.input[0] for n in file.graph.node if n.op_type == "Transpose")
    file.graph.output.append(onnx.ValueInfoProto(name=rows))
    return run(file, rows, x=picture(1, 3, 16, 16), ids=ids)[0]


def explained(file: onnx.ModelProto, feed: Any, targets: Any, backend: str, **options: Any) -> rc.Explanation:
    with rc.Explainer(file, ["stages", "fused", "input"], backend=backend, output="scores", **options) as explainer:
        return explainer(feed, targets)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("preset", ["default", "epsilon-plus", "gradient"])
@pytest.mark.parametrize("form", FORMS)
def test_texts_are_classes(form: str, preset: str, backend: str) -> None:
    """Two pictures, four texts: two batches, and of each picture two texts. A product has its own ε, 1e-3 at most."""
    x, options = picture(2, 3, 16, 16), {"preset": preset, "method": "lrp" if preset == "gradient" else None}
    targets = [[-1, 2], [0, -2]]
    whole = explained(model(form), {"x": x, "ids": IDS}, targets, backend, **options)
    plain = explained(classifier(embeddings(IDS)), x, targets, backend, **options)
    np.testing.assert_array_equal(whole.targets, plain.targets)
    np.testing.assert_allclose(whole.probabilities, plain.probabilities, atol=1e-5)
    assert whole.maps.keys() == plain.maps.keys()
    for name, expected in plain.maps.items():
        np.testing.assert_allclose(whole.maps[name], expected, atol=1e-3 * np.abs(expected).max(), err_msg=name)


def test_scores_of_pictures_are_what_is_explained_beside_those_of_texts_and_embeddings() -> None:
    file = model(FORMS[2])
    for name in ("by_text", *(node.output[0] for node in file.graph.node if node.op_type == "Div")):
        if name not in {value.name for value in file.graph.output}:
            file.graph.output.append(onnx.ValueInfoProto(name=name))
    with rc.Explainer(onnx.shape_inference.infer_shapes(file)) as explainer:
        assert explainer.prepared.scores.output == "scores"


def test_pictures_go_in_pieces_and_texts_stay_whole() -> None:
    x = picture(3, 3, 16, 16)
    with rc.Explainer(model(FORMS[0]), max_batch=1) as explainer:
        pieces = explainer({"x": x, "ids": IDS[:3]})
    whole = explained(model(FORMS[0]), {"x": x, "ids": IDS[:3]}, -1, "compiled")
    np.testing.assert_allclose(pieces.maps["fused"], whole.maps["fused"], atol=1e-5)


def test_sizes_that_the_file_fixes() -> None:
    x, feed = picture(1, 3, 16, 16), {"ids": IDS}
    fixed = explained(model(FORMS[2], batch=1, texts=4), {"x": x, **feed}, 1, "compiled")
    free = explained(model(FORMS[2]), {"x": x, **feed}, 1, "compiled")
    np.testing.assert_allclose(fixed.maps["fused"], free.maps["fused"], atol=1e-5)


@pytest.mark.parametrize("method", ["rise", "occlusion", "smoothgrad"])
def test_probes_leave_the_texts_alone(method: str) -> None:
    x, options = picture(2, 3, 16, 16), {"method": method, **({} if method == "occlusion" else {"samples": 4})}
    with rc.Explainer(model(FORMS[2]), output="scores", **options) as explainer:
        whole = explainer({"x": x, "ids": IDS}, 1)
    with rc.Explainer(classifier(embeddings(IDS)), output="scores", **options) as explainer:
        plain = explainer(x, 1)
    np.testing.assert_allclose(whole.probabilities, plain.probabilities, atol=1e-5)
    for name, expected in plain.maps.items():
        np.testing.assert_allclose(whole.maps[name], expected, atol=1e-3 * np.abs(expected).max(), err_msg=name)


def test_texts_beside_pictures_by_name() -> None:
    with pytest.warns(UserWarning, match="nothing says how pictures"):
        found = rc.explain(model(FORMS[2]), {"x": np.zeros((20, 20, 3), np.uint8), "ids": IDS}, output="scores",
                           labels=["a", "b", "c", "d"])  # fmt: skip
    assert found.probabilities.shape == (1, 4)
    assert found.labels == ["a", "b", "c", "d"]


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_a_picture_may_be_like_another_one_beside_texts(backend: str) -> None:
    """Texts are inputs still, and have no part in it."""
    file, (x, other) = model(FORMS[0]), picture(2, 3, 16, 16)[:, None]
    name = next(node.input[0] for node in file.graph.node if node.op_type == "MatMul")
    with rc.Explainer(file, backend=backend, output=name) as explainer:
        by_picture = explainer({"x": x, "ids": IDS}, {"like": other})
        by_vector = explainer({"x": x, "ids": IDS}, {"like": embeddings(IDS)[0]})
    pictures = Net("N", 3, 16, 16)
    alone = pictures.model(embedded(pictures))
    one, two = (run(alone, x=each)[0][0] for each in (x, other))
    np.testing.assert_allclose(by_picture.probability, one @ two, atol=1e-5)
    np.testing.assert_allclose(by_vector.probability, one @ embeddings(IDS)[0], atol=1e-5)
