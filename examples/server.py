"""Explain photographs over HTTP, with onnxruntime, Pillow and FastAPI alone.

relcam compile models/efficientnet-lite0.onnx -o explained.onnx --heatmap --size 224 224
MODEL=explained.onnx uvicorn --app-dir examples server:app --limit-concurrency 200
curl --data-binary @examples/cat.jpg -o heat.png 'localhost:8000/explain?target=-1'
"""

import io
import json
import os
from typing import Annotated

import anyio
import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, Query, Request, Response
from PIL import Image, ImageOps

MOST_BYTES, MOST_PIXELS = 20_000_000, 50_000_000
PROVIDERS = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
CORES = os.cpu_count() or 1

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # requests beside each other use the cores better than threads within one
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=PROVIDERS)
facts = session.get_modelmeta().custom_metadata_map
how, labels = json.loads(facts["relcam.preprocess"]), json.loads(facts.get("relcam.labels", "[]"))
known = {"channels": "RGB", "layout": "NCHW", "dtype": "float32", "resize": "shorter"}
other = {name: how[name] for name, usual in known.items() if how.get(name, usual) != usual}
if not how["size"] or not isinstance(how["resize_size"] or 0, int) or 0 < (how["resize_size"] or 0) < max(how["size"]):
    other["size"], other["resize_size"] = how["size"], how["resize_size"]
if other:
    raise SystemExit(f"this server prepares pictures otherwise than the model wants it: {other}; see pixels()")
turns = anyio.CapacityLimiter(CORES)
app = FastAPI()


@app.post("/explain")
async def explain(request: Request, target: Annotated[int, Query(ge=-(10**6), le=10**6)] = -1) -> Response:
    """Return a heat map (PNG) of a photograph, which is the body, for a class, or for a rank: -1 is the top class."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise HTTPException(413, f"a photograph of more than {MOST_BYTES} bytes")
    return await anyio.to_thread.run_sync(answer, bytes(data), target, limiter=turns)


def answer(data: bytes, target: int) -> Response:
    """Run the model; the only part that takes time."""
    feeds = {session.get_inputs()[0].name: pixels(data), "relcam_targets": np.array([[target]])}
    classes, heat = session.run(["relcam_classes", "heatmap/fused"], feeds)
    index = int(classes[0, 0])
    if index < 0:
        raise HTTPException(422, f"the model has no class {target}")
    file = io.BytesIO()
    Image.fromarray((255 * heat[0, 0]).round().astype(np.uint8)).save(file, "PNG")
    headers = {"X-Class": str(index), "X-Label": ascii(labels[index])[1:-1] if labels else ""}
    return Response(file.getvalue(), media_type="image/png", headers=headers)


def pixels(data: bytes) -> np.ndarray:
    """Read a photograph as the model takes it, (1, 3, H, W); its size is looked at before anything is decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"])
        large = image.width * image.height > MOST_PIXELS
        side = how["resize_size"] or max(how["size"])
        if not large:
            image.draft("RGB", (2 * side, 2 * side))
            if image.mode.startswith("I"):  # 16 bits
                image = Image.fromarray(((np.asarray(image, np.int64) + 128) // 257).astype(np.uint8))
            image = ImageOps.exif_transpose(image).convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    except Exception as error:  # Pillow raises errors of many kinds
        raise HTTPException(413 if isinstance(error, Image.DecompressionBombError) else 422, "no photograph") from None
    if large:
        raise HTTPException(413, f"a photograph of more than {MOST_PIXELS} pixels")
    size = how["size"][::-1]
    if how["resize_size"]:
        resized = [side * own // min(image.size) for own in image.size]
    else:
        share = max(side / own for side, own in zip(size, image.size, strict=True))
        resized = [round(own * share) for own in image.size]
    # The part in the middle of what the whole is resized to, which would be huge of a picture that is long and thin.
    first = [round((of - side) / 2) for of, side in zip(resized, size, strict=True)]
    shares = [own / of for own, of in zip(image.size, resized, strict=True)]
    ends = [first[0], first[1], first[0] + size[0], first[1] + size[1]]
    box = [min(end * share, own) for end, share, own in zip(ends, shares * 2, image.size * 2, strict=True)]
    array = np.asarray(image.resize(size, Image.Resampling[how["interpolation"].upper()], box), np.float32)
    scaled = (array * how["scale"] - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])
