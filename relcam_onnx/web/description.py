"""What the page is told of a model: a JSON that says what goes in, what comes out, and what it means."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import onnx
from onnx import TensorProto, helper

from relcam_onnx import __version__
from relcam_onnx.analysis.heads import MOST_IN_CELL, STRIDES, Columns, Form
from relcam_onnx.analysis.sides import APART, FEW_PLACES, FEW_REVERSED, NOISE, REVERSED
from relcam_onnx.compiling.beginning import CLASSES, SCORES, TARGETS
from relcam_onnx.compiling.writer import map_output, told_output
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.explainer import Explainer
from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.prepare import Prepared
from relcam_onnx.results import render, words
from relcam_onnx.results.colormap import HEAT
from relcam_onnx.results.detections import CONFIDENCE
from relcam_onnx.runners.boxes import NORMALISED
from relcam_onnx.runners.fields import fields_of
from relcam_onnx.runners.found import MOST, OVERLAP
from relcam_onnx.runners.matching import ALIKE, SAME

DTYPES = ("float32", "float64", "uint8", "int8", "int32", "int64")
"""Of inputs that browsers have arrays for."""
HEADS = ("classifier", "segmenter", "detector")
BOXES: tuple[Form, ...] = ("corners", "centred", "joined", "turned", "offsets", "sizes", "distances")
"""The forms of boxes that the page reads."""


def check_head(explainer: Explainer, asked: str | None) -> None:
    """Raise `OptionError` or `InputError` for what the page cannot ask of a model."""
    prepared = explainer.prepared
    if len(explainer.inputs) != 1:
        names = ", ".join(repr(tensor.name) for tensor in explainer.inputs)
        raise InputError(f"the page shows a model one picture, and this one takes {names}: take relcam explain for it")
    if (head := asked or prepared.choices.head.kind) not in HEADS:
        raise OptionError(
            f"the page explains a {', a '.join(HEADS)}; head {head!r} also asks what a picture is to be like: take "
            "relcam explain --like for it"
        )
    boxes = prepared.choices.head.boxes
    if boxes is not None and boxes.form not in BOXES:
        raise OptionError(
            f"the page does not read boxes in the form {boxes.form!r}; take relcam explain for this model"
        )


def describe(
    prepared: Prepared, proto: onnx.ModelProto, preprocess: Preprocess, labels: list[str] | None, title: str
) -> dict[str, Any]:
    """Everything that the page needs beside the file itself.

    Parameters
    ----------
    prepared
        The explanation, for pictures of one size.
    proto
        What was compiled of it.
    preprocess
        What is done to pictures, fitted to the model.
    labels
        Of the classes.
    title
        What the page calls the model.
    """
    choices, scores = prepared.choices, prepared.scores
    (picture,) = (value for value in proto.graph.input if value.name != TARGETS)
    dtype = helper.tensor_dtype_to_np_dtype(picture.type.tensor_type.elem_type).name
    if dtype not in DTYPES:
        raise InputError(
            f"the model takes {dtype}, which browsers have no arrays for; export it with an input of float32, such as "
            "with keep_io_types"
        )
    return {
        "version": __version__,
        "title": title,
        "method": prepared.method,
        "preset": prepared.preset.name,
        "seed": prepared.seed,
        "input": {"name": picture.name, "dtype": dtype, "batch": prepared.batch or 1},
        "outputs": {"scores": SCORES, "target": CLASSES, "targets": TARGETS},
        "preprocess": asdict(preprocess),
        "labels": labels,
        "classes": choices.classes,
        "paired": choices.paired,
        "background": choices.background,
        "apart": choices.apart,
        "squashed": scores.squashed_by,
        "head": {
            **head_of(prepared),
            "rank": rank_of(proto, named(prepared, scores.output)),
            "raw": scores.unsquashed,
        },
        "reading": {
            "confidence": CONFIDENCE,
            "overlap": OVERLAP,
            "most": MOST,
            "reversed": REVERSED,
            "fewReversed": FEW_REVERSED,
            "normalised": NORMALISED,
            "mostInCell": MOST_IN_CELL,
            "apart": APART,
            "fewPlaces": FEW_PLACES,
            "noise": NOISE,
            "strides": STRIDES,
            "same": SAME,
            "alike": ALIKE,
        },
        "maps": maps_of(prepared, proto),
        "palette": HEAT.tolist(),
        "veil": [level / (255 * render.ALPHA) for level in render.OPACITY],
        "opacity": {"most": render.ALPHA, "faint": render.FAINT},
    }


def inside(prepared: Prepared) -> list[str]:
    """The tensors that the page reads what a head says from, and that are no outputs of it, or of half precision."""
    head, halves = prepared.choices.head, (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    told = prepared.model.proto.graph.output
    outputs = {output.name for output in told if output.type.tensor_type.elem_type not in halves}
    read = () if head.kind == "classifier" else (prepared.scores.output, *head.told_by)
    return [name for name in dict.fromkeys(read) if name not in outputs]


def named(prepared: Prepared, name: str) -> str:
    """The output of the compiled file that has such a tensor."""
    return told_output(name) if name in inside(prepared) else name


def head_of(prepared: Prepared) -> dict[str, Any]:
    """How scores are seen, by the outputs of the compiled file."""
    head, scores = prepared.choices.head, prepared.scores

    def columns(told: Columns) -> dict[str, Any]:
        return told._replace(output=named(prepared, told.output))._asdict()

    rows = head.rows
    boxes = head.boxes and {**asdict(head.boxes), "outputs": [named(prepared, name) for name in head.boxes.outputs]}
    return {
        **asdict(head),
        "output": named(prepared, scores.output),
        "levels": [named(prepared, name) for name in head.levels],
        "boxes": boxes,
        "rows": rows and {**asdict(rows), "boxes": columns(rows.boxes), "scores": columns(rows.scores)},
    }


def rank_of(proto: onnx.ModelProto, output: str) -> int:
    """How many axes an output has."""
    return next(len(value.type.tensor_type.shape.dim) for value in proto.graph.output if value.name == output)


def maps_of(prepared: Prepared, proto: onnx.ModelProto) -> list[dict[str, Any]]:
    """The maps that a picture can show: their outputs, and where their cells lie in the model's input.

    Raises
    ------
    OptionError
        There are none.
    """
    fields, told = fields_of(prepared), []
    for source in prepared.maps.sources:
        output, channels = map_output(prepared, source.name), prepared.maps.has_channels(source.name)
        if rank_of(proto, output) == 4 + channels:
            field = fields.get(source.name)
            cells = None if field is None else {"stride": field.stride, "offset": field.offset}
            told.append({"name": source.name, "title": words.title(source), "output": output, "cells": cells})
    if not told:
        names = ", ".join(prepared.maps.names)
        raise OptionError(f"no map of {names} has the two axes of positions that a picture needs: name other layers")
    return told
