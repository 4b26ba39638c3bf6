r"""Tip bias: a bias that the file gives for the tip becomes that of the sample.

Energies are $e V$ with the bias $V$ of the sample. If the file tells the bias of the tip, the biases along the axis and
that of the set point change their sign:

$$V_\mathrm{sample} = -V_\mathrm{tip}.$$

Values stay; a current with the sign of the bias of the tip still has it.

Source: the definition of a bias between tip and sample.
"""

from __future__ import annotations

from dataclasses import replace

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import Found, StepSettings
from qpibench.maps.spectra import bias_v

KIND = "spectra"


class Settings(StepSettings):
    """The step has no settings."""


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Change the sign of the biases; see :class:`qpibench.maps.preparation.Preparation`."""
    bias = bias_v(maps)
    assert maps.axis is not None
    metadata = dict(maps.metadata)
    if (held := maps.set_point_bias_v) is not None:
        metadata["set-point bias"] = f"{-held!r} V"
    return replace(maps, axis=replace(maps.axis, values=-bias), metadata=metadata), {}
