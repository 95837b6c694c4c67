from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="package")
def converters():
    """torch reads the source of its 500 converters anew for each model, half of the time of a small one; here once a process."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = ONNXRegistry.from_torchlib
    known: dict[tuple, ONNXRegistry] = {}

    def once(*given, **named) -> ONNXRegistry:
        key = (*given, *named.values())
        if key not in known:
            known[key] = read(*given, **named)
        mine = ONNXRegistry()
        mine.__dict__.update(known[key].__dict__)
        mine.functions = {name: [*entries] for name, entries in mine.functions.items()}  # a model adds its own
        return mine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(once))
        yield
