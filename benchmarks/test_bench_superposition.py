"""Benchmarks of superposition: speed on one core and on two, and error. An evaluation is one pixel x one scatterer."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest

from benchmarks import accuracy, references
from qpibench.release.parallel import as_completed
from qpibench.specs import load_spec
from qpibench.specs.lattice import lattices


@pytest.fixture(scope="module")
def spec():
    """Return observations of every kernel of `paper`, 20 images each."""
    return load_spec("paper", overrides=["observations_per_kernel=20"])


@pytest.fixture(scope="module")
def kernels(backend, spec):
    return backend.kernels(spec)


@pytest.fixture
def one_torch_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def evaluations_by_kernel(backend, spec, kernels):
    observations = backend.observations(spec, kernels, 0, spec.observation_count)
    counts = np.bincount(observations.kernel, observations.n_scatterers, minlength=len(kernels))
    return counts * spec.grid.nx * spec.grid.ny


def broadcast(array_library, as_array, backend, kernels):
    """Return a function that superposes one image of each of ten kernels, two per fold, and its evaluations."""
    spec = load_spec("paper", overrides=["observations_per_kernel=1"])
    drawn = backend.observations(spec, kernels, 0, 10)
    x, y = as_array(spec.grid.x_nm), as_array(spec.grid.y_nm)
    scatterers = [as_array(drawn.position_nm[i, : drawn.n_scatterers[i]]) for i in range(10)]
    parameters = [{name: values[i].item() for name, values in kernels.parameters.items()} for i in range(10)]

    def run():
        return [
            references.superpose(array_library, x, y, position, **kernel)
            for position, kernel in zip(scatterers, parameters, strict=True)
        ]

    for image, expected in zip(run(), drawn.image, strict=True):
        assert np.abs(np.asarray(image) - expected).max() < 1e-4 * expected.max()
    return run, int(drawn.n_scatterers[:10].sum()) * spec.grid.nx * spec.grid.ny


def test_one_core(alternate, report, backend, spec, kernels, request):
    plain = {
        "NumPy float64": broadcast(np, np.float64, backend, kernels),
        "NumPy float32": broadcast(np, np.float32, backend, kernels),
    }
    if importlib.util.find_spec("torch"):
        import torch

        request.getfixturevalue("one_torch_thread")
        plain["PyTorch float32"] = broadcast(torch, lambda a: torch.tensor(a, dtype=torch.float32), backend, kernels)
    chains = np.ones((references.CHAINS, 128), np.float32)
    passes = 80_000

    rounds = alternate(
        lambda: backend.observations(spec, kernels, 0, spec.observation_count),
        {name: run for name, (run, _) in plain.items()}
        | {"FMA": lambda: references.fused_multiply_adds(chains, passes)},
        rounds=12,
    )

    by_kernel = evaluations_by_kernel(backend, spec, kernels)
    rate = by_kernel.sum() / rounds.seconds
    what = "superposition, one core, mixed `paper` kernels"
    report("superposition.rate", what, "evaluations/s", rate, at_least=4.5e9)
    for name, target in {"NumPy float64": 180, "NumPy float32": 45, "PyTorch float32": None}.items():
        if name in plain:
            ratio = rate / (plain[name][1] / rounds.reference[name])
            key = f"superposition.over_{name.lower().replace(' ', '_')}"
            report(key, f"superposition, one core, over {name} broadcast", "x", ratio, at_least=target)
    flops = sum(
        references.FLOPS[int(fold)] * count for fold, count in zip(kernels.parameters["fold"], by_kernel, strict=True)
    )
    peak = 2 * references.DEPTH * chains.size * passes / rounds.reference["FMA"]
    report("superposition.fma_peak", "fused multiply-adds, one core", "flop/s", peak)
    report(
        "superposition.of_fma_peak",
        "superposition, one core, share of the rate of fused multiply-adds",
        "",
        flops / rounds.seconds / peak,
    )


@pytest.mark.parametrize("name", ["ag111_64", "cu111_64", "square_64"])
def test_tables(alternate, report, backend, spec, kernels, name):
    sampled = load_spec(name, overrides=["kernels.count=5", "observations_per_kernel=50", "scatterers.max=60"])
    shown = backend.kernels(sampled)
    made = backend.observations(sampled, shown, 0, sampled.observation_count)
    evaluations = made.n_scatterers.sum() * sampled.grid.nx * sampled.grid.ny
    of_scipy = references.Spline(sampled, shown, 0)
    place, count = made.position_nm[0], made.n_scatterers[0]
    image = of_scipy(place[:count])
    # On the same lattice, cubic splines are less exact.
    assert np.abs(image - made.image[0]).max() < 1e-2 * np.abs(image).max()

    rounds = alternate(
        lambda: backend.observations(sampled, shown, 0, sampled.observation_count),
        {
            "SciPy": lambda: of_scipy(place[:count]),
            "eq7": lambda: backend.observations(spec, kernels, 0, 500),
        },
        rounds=12,
    )

    rate = evaluations / rounds.seconds
    scipy_rate = count * sampled.grid.nx * sampled.grid.ny / rounds.reference["SciPy"]
    formula_rate = evaluations_by_kernel(backend, spec, kernels)[:25].sum() / rounds.reference["eq7"]
    per_pixel = lattices(sampled)[0].per_pixel
    what = f"superposition of tables, one core, `{name}`, {per_pixel} samples per pixel"
    report(f"superposition.table.{name}", what, "evaluations/s", rate)
    report(
        f"superposition.table_over_scipy.{name}",
        f"{what}, over SciPy's cubic spline",
        "x",
        rate / scipy_rate,
        at_least=60,
    )
    report(f"superposition.table_over_eq7.{name}", f"{what}, over eq. 7", "x", rate / formula_rate, at_least=0.25)


def test_out_of_reach(alternate, report, backend):
    near, far = references.reach_specs(images=5)
    kernels = {name: backend.kernels(spec) for name, spec in (("near", near), ("far", far))}

    rounds = alternate(
        lambda: backend.observations(near, kernels["near"], 0, 5),
        {"far": lambda: backend.observations(far, kernels["far"], 0, 5)},
        rounds=6,
    )

    what = "superposition, one core, 512 x 512 px, 80 nm, 2,000 scatterers: decay 400-500 nm over 2-3 nm"
    report("superposition.reach", what, "x", rounds.reference["far"] / rounds.seconds, at_least=4)


def test_two_cores(alternate, report, backend, spec, kernels):
    edges = np.linspace(0, spec.observation_count, 33).astype(int)
    blocks = list(itertools.pairwise(edges.tolist()))
    chains = [np.ones((references.CHAINS, 128), np.float32) for _ in range(2)]

    def run(function, items, threads):
        for _ in as_completed(function, items, threads=threads):
            pass

    def superpose(threads):
        run(lambda block: backend.observations(spec, kernels, *block), blocks, threads)

    def multiply_and_add(threads):
        run(lambda values: references.fused_multiply_adds(values, 40_000), chains, threads)

    rounds = alternate(
        lambda: superpose(2),
        {
            "one": lambda: superpose(1),
            "FMA, one": lambda: multiply_and_add(1),
            "FMA, two": lambda: multiply_and_add(2),
        },
        rounds=20,
    )

    ratio = rounds.reference["one"] / rounds.seconds
    report("superposition.two_cores", "superposition, two cores over one", "x", ratio, at_least=1.9)
    machine = rounds.reference["FMA, one"] / rounds.reference["FMA, two"]
    report("superposition.two_cores_fma", "fused multiply-adds, two cores over one", "x", machine)


def test_error_against_float64(benchmark, report):
    found = benchmark.pedantic(accuracy.measure, rounds=1)
    for fold, errors in found.image.items():
        half, nearly_all, worst = np.quantile(errors, (0.5, 0.99, 1))
        benchmark.extra_info[f"fold {fold}"] = {"50 %": half, "99 %": nearly_all, "100 %": worst}
    nearly_all = max(np.quantile(errors, 0.99) for errors in found.image.values())
    worst = max(errors.max() for errors in found.image.values())
    images = f"error against float64, {accuracy.IMAGES} images of each fold, 1-100 scatterers"
    report("accuracy.99_percent", f"{images}: 99 % (worst fold)", "of peak", nearly_all, at_most=1e-6)
    report("accuracy.all", f"{images}: all", "of peak", worst, at_most=3e-6)
    report("accuracy.kernels", "kernel images against float64: all", "of peak", found.kernel.max(), at_most=1e-7)
