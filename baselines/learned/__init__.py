"""What the learned entries share: training sources and loop, networks, recipes. All of it needs PyTorch."""

from importlib.util import find_spec

from qpibench.errors import UnavailableError

for _package in ("torch", "diffusers", "safetensors"):
    if find_spec(_package) is None:
        raise UnavailableError(f'The learned entries need the package {_package}: pip install "qpibench[training]".')
