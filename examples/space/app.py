"""A Hugging Face Space of one model: a picture in, and what in it spoke for a class."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import gradio as gr
from PIL import Image

import relcam_onnx as rc

HERE = Path(__file__).parent
WORDS = """# Why does this model say that?
A picture in, and what in it spoke for a class: Relevance-CAMs from the ONNX file alone, by relcam-onnx."""
DEPTH = "Deep maps (large strides) tell what the model is sure of, shallow ones by which edges; fused has both."
BUTTONS = ["fullscreen", "download"]

explainer = rc.Explainer(os.environ.get("MODEL") or HERE / "model.onnx")
looking = explainer.forward()  # the model without its maps, to see which classes are likely
layers = [layer.name for layer in reversed(explainer.settings.layers)]  # fused first, then from deep to shallow
detector = explainer.settings.head == "detector"


@lru_cache(maxsize=8)
def explained(path: str, target: int | None) -> rc.Explanation:
    """One class of a picture, or all that a detector detects; kept, so that another depth need not run the model."""
    return rc.explain(explainer, path, target)


def choices(path: str) -> list[tuple[str, int]]:
    """What may be asked of a picture: its likely classes first, then every other; or each detection, by its place."""
    if detector:
        found = explained(path, None).detections[0]
        return [(f"{each.label or each.index}: {each.score:.0%}", place) for place, each in enumerate(found)]
    top = min(5, explainer.settings.classes or 5)
    likely = rc.explain(looking, path, [list(range(-1, -1 - top, -1))])
    shares = dict(zip(likely.classes[0].tolist(), likely.probability[0], strict=True))
    others = set(range(explainer.settings.classes or 0)) - set(shares)
    named = [(f"{likely.label(index) or index}: {share:.0%}", index) for index, share in shares.items()]
    return named + [(likely.label(index) or str(index), index) for index in sorted(others)]


def look(path: str | None, layer: str, opacity: float) -> tuple:
    """A new picture: what may be asked of it, and the first of that explained; or why it is refused."""
    refused = ""
    try:
        if path is not None and (found := choices(path)):
            return gr.Dropdown(found, value=found[0][1]), *show(path, found[0][1], layer, opacity)
        refused = "" if path is None else "Nothing was detected in this picture."
    except rc.RelcamError as error:
        refused = f"**Refused.** {error}".replace(str(path), Path(str(path)).name)
    return gr.Dropdown([], value=None), None, None, refused


def show(path: str | None, choice: int | None, layer: str, opacity: float) -> tuple:
    """The overlay, the sheet and a line about one class, or one detection."""
    if path is None or choice is None:
        return None, None, ""
    e, place = (explained(path, None), choice) if detector else (explained(path, choice), 0)
    overlay = Image.blend(e.pictures[0].full().convert("RGB"), e.overlay(layer, target=place), opacity)
    index = int(e.classes[0, place])
    said = f"**{e.label(index) or index}**: {e.probability[0, place]:.0%}, ahead by {e.margin[0, place]:.1f} logits"
    return overlay, e.sheet(), f"{said}. *{doubt}.*" if (doubt := e.doubt(0, place)) else f"{said}."


with gr.Blocks(title="relcam-onnx", delete_cache=(3600, 3600)) as demo:
    gr.Markdown(WORDS)
    with gr.Row():
        with gr.Column():
            picture = gr.Image(label="Picture", type="filepath", image_mode=None, height=360)
            picture.preprocess = lambda given: given and given.path  # relcam-onnx reads it, and says what is amiss
            if examples := sorted(map(str, (HERE / "pictures").glob("*.jpg"))):
                gr.Examples(examples, picture, label="To try")
            asked = gr.Dropdown([], label="Why this?", info="The likely ones first; type to find any other.")
        with gr.Column():
            overlay = gr.Image(label="What spoke for it", format="jpeg", buttons=BUTTONS, interactive=False)
            line = gr.Markdown()
            depth = gr.Radio(layers, value=layers[0], label="Depth", info=DEPTH)
            opacity = gr.Slider(0, 1, 1, label="Opacity")
    sheet = gr.Image(show_label=False, format="jpeg", buttons=BUTTONS, interactive=False)
    shown = [overlay, sheet, line]
    picture.change(look, [picture, depth, opacity], [asked, *shown])
    gr.on([asked.input, depth.input, opacity.release], show, [picture, asked, depth, opacity], shown)

if __name__ == "__main__":
    demo.launch(max_file_size="20mb", show_error=True)
