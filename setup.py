"""Lists the packages of the wheel; everything else is declared in pyproject.toml.

``[tool.setuptools.packages.find]`` finds only packages that lie in the folder that their name says. The checkout has
baselines/ and kernels_cuda/ beside qpibench/, where people look for them; the wheel carries them inside.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["qpibench", "qpibench.*"]),
        "qpibench._baselines",
        *(f"qpibench._baselines.{name}" for name in find_packages("baselines")),
        "qpibench._kernels_cuda",
    ],
    package_dir={"qpibench._baselines": "baselines", "qpibench._kernels_cuda": "kernels_cuda"},
)
