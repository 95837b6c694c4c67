"""A policy as a `torch.export` program and as an ONNX model, both with a free number of observations M."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from deeprl.running.accelerate.modes import apply
from deeprl.running.collect.weights import Touched
from deeprl.system.strict_json import JsonObject
from deeprl.tools.export.policy import ExportedPolicy, inputs_of

OUTPUT, AFTER = "action", "next_state"
"""Names in the ONNX model; the last with a core"""
ROWS = 3
"""Observations with which a policy is traced. Not 1, because the tracer would take that for a fixed size."""
REFERENCE_ROWS = 64
"""Observations for ONNX's reference evaluator, which is slow"""

Runner = Callable[..., list[np.ndarray]]
"""Inputs of `inputs_of` -> actions of a program; with a core the new state too"""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Hide what the exporters print about their own steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def exported(policy: ExportedPolicy) -> ExportedProgram:
    """The policy as a program on the CPU, with the parameters and buffers that it reads and no others. `policy` is not changed."""
    mine = copy.deepcopy(policy).cpu()
    apply(mine, "reference")  # plain convolutions, because layouts and patches serve this machine
    inputs = tuple(torch.zeros((ROWS, *each.shape), dtype=each.dtype) for each in inputs_of(policy.agent))
    rows = Dim("M")
    with torch.no_grad(), silence():
        # a program stores every parameter of its module: critics, target networks, deviations of noisy layers
        for module, name in unread(mine, inputs):
            (module.register_parameter if name in module._parameters else module.register_buffer)(name, None)
        found = torch.export.export(mine, inputs, dynamic_shapes=(tuple({0: rows} for _ in inputs),), strict=False)
    for node in found.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of code, and folders of this machine
    return found


def unread(policy: ExportedPolicy, inputs: tuple[Tensor, ...]) -> list[tuple[nn.Module, str]]:
    """The parameters and buffers that no operator reads, as owner and name."""
    with Touched() as touched:
        policy(*inputs)
    named = [(module, *each) for module in policy.modules() for each in (*module._parameters.items(), *module._buffers.items())]
    return [(module, name) for module, name, tensor in named if tensor is not None and id(tensor) not in touched.ids]


def runner(program: ExportedProgram) -> Runner:
    module = program.module()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        found = module(*map(torch.from_numpy, inputs))
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

    return run


def saved(program: ExportedProgram, metadata: JsonObject) -> bytes:
    """A program as the content of a .pt2 file, with the metadata as its extra file `policy.json`."""
    file = io.BytesIO()
    with silence():
        torch.export.save(program, file, extra_files={"policy.json": json.dumps(metadata)})
    return file.getvalue()


# ---- ONNX


def translations() -> dict[Callable, Callable]:
    """ONNX for operators that torch converts otherwise: ONNX Runtime has no sinh in float64, in which value mappings are; torch 2.6 cannot
    convert `baddbmm` with a free number of rows."""
    import onnxscript  # slow

    op: Any = onnxscript.opset18

    def sinh(x):
        return op.Div(op.Sub(op.Exp(x), op.Exp(op.Neg(x))), op.CastLike(2.0, x))

    def baddbmm(bias, x, weight):
        return op.Add(op.MatMul(x, weight), bias)

    return {torch.ops.aten.sinh.default: sinh, torch.ops.aten.baddbmm.default: baddbmm}


def onnx_model(program: ExportedProgram, metadata: JsonObject, inputs: Sequence[str]) -> bytes:
    """A program as the content of an .onnx file, weights included. Each key of the metadata is a property of the model; what is no text is
    there as JSON.

    Args:
        inputs: their names.
    """
    with torch.no_grad(), silence():
        model = torch.onnx.export(
            program, (), dynamo=True, external_data=False, verbose=False, custom_translation_table=translations(),
            input_names=[*inputs], output_names=[OUTPUT, AFTER][: len(program.graph_signature.user_outputs)],
        )  # fmt: skip
    assert model is not None
    proto = model.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "M"
    del proto.graph.value_info[:]  # shapes in between, under the exporter's name of M
    for node in proto.graph.node:
        del node.metadata_props[:]  # what the exporter notes for its own developers
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return proto.SerializeToString()


def onnx_runner(model: bytes) -> tuple[str, Runner, int | None]:
    """
    Returns:
        name of the evaluator: ONNX Runtime if it is installed, or else the slow one of the package onnx; the runner; and the number of
        observations that it can take in a reasonable time, None: any.
    """
    try:
        import onnxruntime
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        evaluator: Any = ReferenceEvaluator(onnx.load_from_string(model))
        return (
            f"onnx {onnx.__version__}",
            lambda *inputs: as_arrays(evaluator.run(None, dict(zip(evaluator.input_names, inputs)))),
            REFERENCE_ROWS,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return f"onnxruntime {onnxruntime.__version__}", lambda *inputs: as_arrays(session.run(None, dict(zip(names, inputs)))), None


def as_arrays(outputs: Sequence[Any]) -> list[np.ndarray]:
    return [np.asarray(each) for each in outputs]
