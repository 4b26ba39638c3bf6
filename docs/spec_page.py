"""Write docs/spec.md, which lists every key of a spec: ``python docs/spec_page.py``, after a model of specs changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qpibench.families import KernelSpec, family_names
from qpibench.specs.schema import Key, spec_keys

PAGE = Path(__file__).parent / "spec.md"

HEAD = """# The spec

A spec is a TOML file that defines a release: the same spec gives the same bits anywhere. `generate`, `train --stream`
and tracks take the name of a shipped spec or a file. `--set key=value` changes a key, and adds it to the name of the
release, such as `mini+seed=1`; the name is a part of the hash, and `--set name=mini` keeps it. Shipped are `mini`,
`paper` and `scatterer64` of eq. 7, and `mini_species` with [two species](#two-species); surface states on Ag(111) and
Cu(111): `ag111_64`, `ag111_128`, `cu111_64`, `cu111_128`, and with multiple scattering `ag111_64_multiple`; and
lattices: `square_64`, `square_128`, `hexagonal_64`, `hexagonal_128`, `nematic_64`, `nematic_128`. Kernels of 22 x 22
pixels, by strong damping: `damped_surface_192`, `damped_square_192`, `damped_hexagonal_192`, `damped_nematic_192`.
Their files, with the sources of their values, are in `qpibench/specs`: copy the one that is nearest to your data.
`qpibench schema spec` prints the JSON Schema of the content, by which editors complete and check a file.

    name = "mine"
    seed = 1
    observations_per_kernel = 100

    [grid]
    ny = 64
    nx = 64
    size_y_nm = 10.0
    size_x_nm = 10.0

    [kernels]
    family = "eq7"
    count = 50
    wavelength_nm = [0.6, 3.0]
    decay_nm = [1.0, 5.0]

    [scatterers]
    count = 20

    [corruptions.white_noise]
    snr_db = [0.0, 20.0]

A dot stands for a table: `kernels.count` is `count` in `[kernels]`. Give every required key of a table that you use;
the others are optional. Kernels have the keys of their family too, listed below. Without `[corruptions.white_noise]`
images have no noise. A spec is refused in four more cases: the shortest period is below two pixels,
`scatterers.margin_nm` is above ten times the larger side of the field, scatterers may lie so far outside that a
kernel from a file or on a lattice does not reach the field, or the release has 2^31 images or more.
`scatterers.count` is stored as `min` and `max`, so both forms have the same hash; so have `scatterers.superposition =
"linear"` and no value.

With `scatterers.superposition = "multiple"` a wave that one scatterer sends out is scattered by the others
([surface_state](families.md), [tight_binding](families.md)). There may then be at most 100 scatterers, those that
corruptions add included; surface states need `scatterers.min_separation_nm`; only the CPU makes the images,
27 times as slowly as linear ones for 1 to 20 scatterers of `ag111_64_multiple` ([measured](performance.md)).
`scatterers.min_separation_nm` goes with any family. It is refused if an image might have no place for its scatterers:
the discs of this radius around all but one may cover half of the area, or on a lattice all sites but one.

With `splits.ood_kernels = 1` all images are for the OOD test, and nothing is for training. A release has no OOD task if
`splits.ood_kernels` is 0, or below 1 and a fold has only one kernel: with all five folds
`kernels.count` must be at least 10. It has no ID task if no kernel has enough images ([splits](format.md#splits)).

"""

TABLE = """| key | type | unit | default | bounds | meaning |
|---|---|---|---|---|---|
"""


EQUATION_7 = """
## Equation 7

The kernel of the family `eq7` ([arXiv 2506.05325](https://arxiv.org/abs/2506.05325), eq. 7) at the distance r and the
angle θ from its scatterer is

A(r, θ) = sin²(n θ/2 + φ₁) sin²(B r + φ₂) exp(−C r²)

| symbol | column | unit | what it is | drawn |
|---|---|---|---|---|
| A | `image` | 1 | the kernel, from 0 to 1 | |
| r, θ | | nm, rad | polar coordinates of the pixel's offset from the scatterer | |
| n | `fold` | 1 | rotational symmetry; n = 0 is total symmetry, without an angular factor | from `kernels.folds` |
| φ₁ | `phi1` | rad | orientation | from 0 to π; π/2 for n = 0 |
| B | `B` | rad/nm | radial wavevector, π over the wavelength | wavelength from `kernels.wavelength_nm` |
| φ₂ | `phi2` | rad | radial phase | from 0 to π |
| C | `C` | 1/nm² | decay, 1 over the square of the decay length | decay length from `kernels.decay_nm` |

An image is the sum of the kernels around all its scatterers. [arithmetic.md](arithmetic.md#images-of-equation-7) states
every operation, and `qpibench/families/eq7.py` the formula in NumPy.
"""


TWO_SPECIES = """
## Two species

With the table `[species]` the scatterers of an image are of two species, and each kernel of the release becomes a pair:
`kernels.count` is the number of pairs, and their first kernels are those that the spec would have without the table,
except where a pair is drawn again. Both kernels of a pair have the same fold. With `second = "drawn"` the second kernel
is drawn too. What belongs to the sample and not to the scatterer is the same for both: in surface states all but the
phase shifts and `alpha`, on lattices all but the potential. With `second = "rotated"` it is the first kernel, rotated
counterclockwise by an angle from `angle_deg`: one defect in two orientations. This needs kernels of eq. 7 with a
direction, so fold 0 is refused. Surface states and lattices are refused, because the direction of their kernels is that
of the crystal; kernels from a file cannot be rotated yet.

The contrast of a pair is ‖A − B‖ / √(‖A‖² + ‖B‖²) over the pixels of both kernels, without corruptions: 0 for equal
kernels, 1 for orthogonal ones. A pair with a contrast below `min_contrast` is drawn again; a spec is refused if 1000
draws of a pair fail. Of the draws of `square_64` a tenth reaches 0.3. Of the scatterers of an image a share from
`share` is of the second species, rounded to whole scatterers, and each species has at least `min_each`. Scatterers that
corruptions add have a species too, as have told positions without a scatterer. [Scores](scores.md#two-species)
says how models are scored on such a release. `export-csv` refuses it, and training on it is not defined yet.
"""

COMMON = {f"kernels.{name}" for name in KernelSpec.model_fields}
"""Keys of the table of kernels that every family has."""


def page() -> str:
    """The text of the page, from the models."""
    common = [key for key in spec_keys() if key.path in COMMON or not key.path.startswith("kernels.")]
    return HEAD + _table(common) + "".join(_family(name) for name in family_names()) + TWO_SPECIES + EQUATION_7


def _family(name: str) -> str:
    own = [key for key in spec_keys(name) if key.path.startswith("kernels.") and key.path not in COMMON]
    return f"\n## Kernels of the family `{name}`\n\n{_table(own)}"


def _table(keys: Iterable[Key]) -> str:
    return TABLE + "".join(_row(key) for key in keys)


def _row(key: Key) -> str:
    default = f"`{key.default}`" if key.default not in ("", "required") else key.default
    cells = (f"`{key.path}`", key.type, key.unit, default, key.bounds.replace('"', "`"), key.meaning)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
