"""Every command accepts a family, a corruption and a reader that are one file each."""

import importlib
import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from qpibench.cli.main import cli
from qpibench.errors import UsageError
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.locator import locate
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.release import open_release
from qpibench.specs import load_spec
from qpibench.training import TrainingRun, load_run

SPEC = """
name = "toys"
observations_per_kernel = 10
[grid]
ny = 32
nx = 32
size_y_nm = 10.0
size_x_nm = 10.0
[kernels]
family = "ring"
count = 6
period_nm = [2.0, 4.0]
[scatterers]
max = 9
[corruptions.shaken]
off_nm = 0.5
[corruptions.dimmed]
factor = -0.5
"""


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qpibench")
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="module")
def release(folder):
    """A release of a toy family with two toy corruptions."""
    (folder / "toys.toml").write_text(SPEC)
    run("generate", folder / "toys.toml", "-o", folder / "toys.h5")
    return folder / "toys.h5"


def test_the_release_is_verified_and_told_of(release):
    run("verify", release, "--regenerate", "--backend", "cpu")
    text = run("info", release).stdout
    for words in ("3 band 1, 3 band 2", "shaken", "off_nm 0.5", "format 3"):
        assert words in text
    fields = json.loads(run("info", release, "--json").stdout)
    assert fields["kernels_by_stratum"] == {"band 1": 3, "band 2": 3}
    columns = {column["name"]: column["units"] for column in fields["columns"]}
    assert columns["kernels/q"] == "rad/nm"
    assert columns["observations/off_nm"] == "nm"
    assert columns["observations/told_position_nm"] == "nm"


def test_shards_are_merged_to_the_same_release(release, folder):
    for shard in ("2/2", "1/2"):
        run("generate", folder / "toys.toml", "--shard", shard, "-o", folder / "shards")
    for options in ([], ["--virtual"]):
        merged = folder / f"merged{len(options)}.h5"
        run("merge", folder / "shards", "-o", merged, *options)
        assert open_release(merged).content_sha256 == open_release(release).content_sha256
        run("verify", merged)


def test_a_model_is_told_what_the_corruption_says_and_is_evaluated(release, folder):
    model = folder / "keeps.py"
    model.write_text(
        "import numpy as np\n"
        "needs = 'positions'\n"
        "def predict(batch):\n"
        f"    np.save({str(folder / 'told.npy')!r}, batch.position_nm)\n"
        "    return np.zeros_like(batch.image)\n"
    )
    result, report = folder / "result.json", folder / "report.html"
    run(
        "evaluate",
        model,
        "--release",
        release,
        "--view",
        "positions",
        "--limit",
        2,
        "-o",
        result,
        "--report",
        report,
        code=0,
    )
    with open_release(release) as opened:
        told = opened.told_position_nm(range(60))
        true = opened.observations(range(60)).position_nm
    shown = np.load(folder / "told.npy")
    assert not np.array_equal(told, true, equal_nan=True)
    for position in shown:
        assert any(np.array_equal(position, each, equal_nan=True) for each in told)
    assert "band 2" in report.read_text()


def test_other_views_have_the_columns(release):
    torch_view = pytest.importorskip("qpibench.release.torch_view")
    sample = torch_view.ReleaseDataset(release, task="id", role="train", fields=("q", "band", "off_nm", "dimmed_to"))[0]
    assert {name: tuple(value.shape) for name, value in sample.items()} == {
        "q": (),
        "band": (),
        "off_nm": (9,),
        "dimmed_to": (9,),
    }
    xarray_view = pytest.importorskip("qpibench.release.xarray_view")
    with xarray_view.to_xarray(release) as dataset:
        assert dataset.off_nm.dims == ("observation", "scatterer")
        assert dataset.q.attrs["units"] == "rad/nm"
    with h5py.File(release) as file:
        assert file["observations/off_nm"].attrs["units"] == b"nm"


def test_a_misspelt_family_or_corruption_is_one_sentence(folder):
    (folder / "wrong.toml").write_text(SPEC.replace('"ring"', '"rings"'))
    message = run("generate", folder / "wrong.toml", "-o", folder / "wrong.h5", code=2).stderr
    assert "there is no kernel family 'rings' (did you mean 'ring'?)" in message
    (folder / "wrong.toml").write_text(SPEC.replace("corruptions.shaken", "corruptions.shake"))
    message = run("generate", folder / "wrong.toml", "-o", folder / "wrong.h5", code=2).stderr
    assert "unknown field 'corruptions.shake' (did you mean 'corruptions.shaken" in message


def test_a_toy_reader_makes_a_release(folder):
    grid, family = Grid(ny=24, nx=24, size_y_nm=10, size_x_nm=10), get_family("ring")
    files = []
    for number in range(4):
        parameters = {"band": 1, "q": 2.0 + number, "damping": 0.2}
        position = np.array([[1.0, -2.0], [3.0, 0.5], [np.nan, np.nan]])
        files.append(folder / f"{number}.npz")
        np.savez(
            files[-1],
            image=superpose(grid, family, position, **parameters).astype(np.float32),
            kernel=kernel_image(grid, family, **parameters).astype(np.float32),
            position_nm=position,
        )
    answer = run("import", *files, "--reader", "dots", "-o", folder / "dots.h5")
    assert "4 images of 4 kernels; dots are read as they are" in answer.stdout
    with open_release(folder / "dots.h5") as opened:
        assert opened.spec.source == "dots"
        assert opened.observations([2]).n_scatterers.tolist() == [2]
    message = run("import", *files, "--reader", "dot", "-o", folder / "none.h5", code=2).stderr
    assert "There is no reader 'dot'; did you mean 'dots'?" in message


@pytest.mark.slow
@pytest.mark.parametrize("source", ["release", pytest.param("stream", marks=pytest.mark.slow)])
def test_a_published_method_is_trained_on_kernels_without_folds(release, folder, source, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.syspath_prepend(locate("baselines"))
    two_step = importlib.import_module("two_step")
    images = {"release_path": release} if source == "release" else {"spec": load_spec(folder / "toys.toml")}

    def train(name, **options):
        entry = {"entry": "two_step", "entry_path": locate("baselines") / "two_step.py", "folder": folder / name}
        two_step.train(TrainingRun(**entry, **images, preset="tiny", steps=2, precision="no", options=options))
        return load_run(folder / name)

    with pytest.raises(UsageError, match="does not say the folds of its kernels, which the symmetry loss needs"):
        train(f"refused {source}")
    assert train(source, symmetry_weight=0.0).status == "complete"
