"""What a good model is given, and what becomes of its answers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.execution import Execution, default_batch_size
from qpibench.evaluation.isolation.isolated import Limits
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.grid import Grid
from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.tasks import asking_order, subset, view_batch

RETURN_WHAT_WAS_SEEN = """
    import numpy as np

    def predict(batch):
        assert batch.image.flags.writeable
        assert len(batch) == len(batch.image)
        kernel = batch.image.copy()
        kernel[:, 0, 0] = -1 if batch.activation_map is None else batch.activation_map.sum((1, 2))
        kernel[:, 0, 1] = -1 if batch.position_nm is None else np.nansum(batch.position_nm, (1, 2))
        kernel[:, 0, 2] = batch.grid.size_x_nm
        kernel[:, 0, 3] = batch.kernel_grid.ny
        return kernel
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.mark.parametrize(
    ("view", "map_mode"),
    [
        ("image", None),
        ("raster", "paper"),
        ("raster", "exact"),
        ("positions", None),
        ("positions", "paper"),
        ("positions", "exact"),
    ],
)
def test_a_model_sees_what_the_view_allows_and_every_test_image_is_answered(
    memory_release, write_model, out, view, map_mode
):
    outcome = predict(
        write_model(RETURN_WHAT_WAS_SEEN),
        memory_release,
        out,
        Request(view=view, map_mode=map_mode),
        Execution(batch_size=7),
    )

    assert outcome.exit_code == 0
    assert outcome.path == out
    assert (outcome.record.view, outcome.record.map_mode) == (view, map_mode)
    with open_predictions(out, memory_release) as predictions:
        assert predictions.tasks == ("id", "ood")
        for task in predictions.tasks:
            index = predictions.index(task)
            assert sorted(index) == memory_release.split(task, "test").tolist()
            seen = view_batch(
                memory_release.observations(index), memory_release.grid, view="positions", map_mode=map_mode
            )
            expected = seen.image.copy()
            expected[:, 0, 0] = -1 if map_mode is None else seen.activation_map.sum((1, 2))
            expected[:, 0, 1] = np.nansum(seen.position_nm, (1, 2)) if view == "positions" else -1
            expected[:, 0, 2:4] = 5, 12
            np.testing.assert_array_equal(predictions.kernel(task), expected)


def test_a_model_that_could_do_with_less_is_shown_all_that_the_view_grants(memory_release, write_model, out):
    source = """
        class Model:
            needs = "raster"

            def fit(self, train):
                assert train[:2].position_nm is not None

            def predict(self, batch):
                assert batch.activation_map is not None and batch.position_nm is not None
                return batch.image
    """
    outcome = predict(write_model(source), memory_release, out, Request(view="positions", map_mode="exact"))
    assert outcome.record.failure is None
    assert (outcome.record.view, outcome.record.model.needs) == ("positions", ("raster",))


def test_a_limit_answers_the_declared_subset(memory_release, write_model, out):
    predict(write_model(RETURN_WHAT_WAS_SEEN), memory_release, out, Request(limit=5))
    with open_predictions(out, memory_release) as predictions:
        assert predictions.record.limit == 5
        for task in ("id", "ood"):
            assert sorted(predictions.index(task)) == sorted(subset(memory_release, task, 5))


def test_only_the_tasks_that_are_asked_for_are_answered(memory_release, out):
    predict("zeros", memory_release, out, Request(tasks=["ood"]))
    with open_predictions(out, memory_release) as predictions:
        assert predictions.tasks == ("ood",)


def test_the_batch_size_does_not_change_the_file(memory_release, write_model, tmp_path):
    kernels = []
    for batch_size in (1, 5, 100):
        path = tmp_path / f"{batch_size}.h5"
        predict(write_model(RETURN_WHAT_WAS_SEEN), memory_release, path, execution=Execution(batch_size=batch_size))
        with open_predictions(path, memory_release) as predictions:
            kernels.append(predictions.kernel("id"))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize(("pixels", "expected"), [(64, 32), (128, 32), (256, 8), (512, 2), (1024, 1)])
def test_larger_images_come_in_smaller_batches(pixels, expected):
    assert default_batch_size(Grid(ny=pixels, nx=pixels, size_y_nm=1, size_x_nm=1)) == expected


def test_the_batch_size_is_that_of_the_image_size_unless_it_is_chosen(memory_release, out):
    for chosen, expected in ((None, 32), (7, 7)):
        assert (
            predict("zeros", memory_release, out, execution=Execution(batch_size=chosen)).record.batch_size == expected
        )


SLOW_IN_BATCHES = """
    import time

    class Model:
        def fit(self, train):
            self.offset = len(train.kernels)

        def predict(self, batch):
            if len(batch) > 1:
                time.sleep(600)
            return batch.image + self.offset
"""


def test_a_batch_that_takes_too_long_is_tried_again_one_by_one(memory_release, write_model, out):
    execution = Execution(limits=Limits(batch_s=2), batch_size=5)
    outcome = predict(write_model(SLOW_IN_BATCHES), memory_release, out, execution=execution)
    assert outcome.exit_code == 0
    (warning,) = outcome.warnings
    assert re.search(r"predict took longer than 2 s, with 0\.\d s of processor time, for 5 images\. The model", warning)
    assert "choose a smaller --batch-size, or allow more with --time-limit" in warning
    with open_predictions(out, memory_release) as predictions:
        expected = memory_release.image(predictions.index("ood")) + np.float32(4)
        np.testing.assert_array_equal(predictions.kernel("ood"), expected)


def test_a_model_computes_with_the_threads_that_the_record_states(memory_release, write_model, out):
    pytest.importorskip("torch")
    source = """
        import os
        import numpy as np
        import torch

        torch.set_num_threads(7)

        def predict(batch):
            counts = {torch.get_num_threads(), *(int(os.environ[f"{name}_NUM_THREADS"]) for name in ("OMP", "MKL"))}
            return np.full(batch.image.shape, float(counts.pop() if len(counts) == 1 else "nan"))
    """
    for threads in (1, 2):
        record = predict(write_model(source), memory_release, out, execution=Execution(threads=threads)).record
        assert record.threads == threads
        with open_predictions(out, memory_release) as predictions:
            assert (predictions.kernel("id") == threads).all()


def test_a_batch_does_not_tell_which_images_show_the_same_kernel(memory_release, write_model, out):
    source = """
        import numpy as np

        def predict(batch):
            return np.broadcast_to(np.median(batch.image, axis=0), batch.image.shape)
    """
    outcome = predict(write_model(source), memory_release, out, Request(tasks=["ood"]), Execution(batch_size=10))
    with open_predictions(out, memory_release) as predictions:
        kernel = memory_release.observation_kernel[predictions.index("ood")]
        assert len(np.unique(predictions.kernel("ood"), axis=0)) == 2
    for batch in (kernel[:10], kernel[10:]):
        assert 2 <= (batch == 4).sum() <= 8
    assert outcome.record.failure is None
    assert outcome.exit_code == 0
    assert len(outcome.warnings) == 2  # one image in ten is asked again
    for warning in outcome.warnings:
        assert re.match(
            r"The prediction for image [45]\d of task 'ood' depends on the other images of its batch", warning
        )


def test_a_model_that_answers_each_image_for_itself_is_not_warned_of(memory_release, write_model, out):
    assert (
        predict(write_model(RETURN_WHAT_WAS_SEEN), memory_release, out, execution=Execution(batch_size=5)).warnings
        == ()
    )


def test_a_model_that_fails_at_one_image_alone_keeps_its_answers(memory_release, write_model, out):
    source = """
        def predict(batch):
            if len(batch) == 1:
                raise ValueError("alone")
            return batch.image
    """
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.exit_code == 0
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].endswith("asked again, alone: my_model.py:4: ValueError: alone.")
    with open_predictions(out, memory_release) as predictions:
        np.testing.assert_array_equal(predictions.kernel("ood"), memory_release.image(predictions.index("ood")))


def test_fit_is_given_the_training_role_and_nothing_else(memory_release, write_model, out, tmp_path):
    seen = tmp_path / "seen.npz"
    source = f"""
        import numpy as np

        class Model:
            def fit(self, train):
                rows = train[:]
                batches = list(train.batches(7))
                some = train[np.array([9, 2, 2])]
                assert len(train[3]) == 1 and len(train[0:0]) == 0
                assert [len(b) for b in batches] == [7, 7, 7, 3]
                np.testing.assert_array_equal(np.concatenate([b.kernel for b in batches]), rows.kernel)
                np.testing.assert_array_equal(some.image, rows.image[[9, 2, 2]])
                try:
                    train[24]
                except IndexError:
                    np.savez({str(seen)!r}, image=rows.image, map=rows.activation_map, position=rows.position_nm,
                             kernel=rows.kernel, kernels=train.kernels, kernel_index=train.kernel_index,
                             size=train.grid.size_y_nm, n=len(train))

            def predict(self, batch):
                return np.zeros_like(batch.image)
    """
    shown = {"view": "positions", "map_mode": "paper"}
    outcome = predict(write_model(source), memory_release, out, Request(**shown))
    assert outcome.record.failure is None
    assert outcome.record.fit_seconds > 0

    train = memory_release.split("id", "train")
    allowed = view_batch(memory_release.observations(train), memory_release.grid, **shown)
    with np.load(seen) as given:
        np.testing.assert_array_equal(given["image"], allowed.image)
        np.testing.assert_array_equal(given["map"], allowed.activation_map)
        np.testing.assert_array_equal(given["position"], allowed.position_nm)
        np.testing.assert_array_equal(given["kernel"], memory_release.kernels.image[train // 10])
        np.testing.assert_array_equal(given["kernels"], memory_release.kernels.image[:4])
        np.testing.assert_array_equal(given["kernel_index"], train // 10)
        assert given["size"] == 6
        assert given["n"] == 24


def test_fit_is_shown_no_more_than_the_view_allows(memory_release, write_model, out):
    source = """
        def fit(train):
            assert train[:2].activation_map is None and train[:2].position_nm is None

        def predict(batch):
            return batch.image
    """
    assert predict(write_model(source), memory_release, out, Request(view="image")).exit_code == 0


def test_a_row_number_outside_the_training_role_reaches_nothing(memory_release, write_model, out):
    source = """
        import numpy as np

        def fit(train):
            train._fetch_rows(np.array([24]))

        def predict(batch):
            return batch.image
    """
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.record.failure.kind == "protocol"
    assert "there are only 24 rows" in outcome.record.failure.message


def test_a_prediction_may_hold_the_full_kernel_and_its_uncertainty(memory_release, write_model, out):
    source = """
        import numpy as np
        from qpibench import Prediction

        def predict(batch):
            n, ny, nx = batch.image.shape
            full = np.full((n, 2 * ny - 1, 2 * nx - 1), 2, np.float16)
            species = np.zeros(batch.position_nm.shape[:2], np.uint8)
            return Prediction(kernel=batch.image, kernel_full=full, std=np.full((n, ny, nx), 3.0), species=species)
    """
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.record.failure is None
    with open_predictions(out, memory_release) as predictions:
        assert predictions.kernel_full("id").shape == (12, 23, 19)
        assert (predictions.kernel_full("id") == 2).all()
        assert (predictions.std("ood", slice(3, 5)) == 3).all()
        np.testing.assert_array_equal(
            predictions.kernel("id", np.array([7, 0])), memory_release.image(predictions.index("id")[[7, 0]])
        )


def test_a_file_may_name_another_function_or_class(memory_release, write_model, out):
    source = """
        def predict(batch):
            raise ValueError

        def other(batch):
            return batch.image + 1

        class Another:
            knows = ["eq. 7"]

            def predict(self, batch):
                return batch.image + 2
    """
    model = write_model(source)
    index = asking_order(memory_release, "id")
    for name, added, knows in (("other", 1, ()), ("Another", 2, ("eq. 7",))):
        outcome = predict(f"{model}:{name}", memory_release, out)
        assert outcome.record.model.name == f"my_model:{name}"
        assert outcome.record.model.knows == knows
        with open_predictions(out, memory_release) as predictions:
            np.testing.assert_array_equal(predictions.kernel("id"), memory_release.image(index) + np.float32(added))


def test_a_model_imports_its_neighbours_and_reads_its_weights(memory_release, write_model, out):
    write_model("OFFSET = 5", name="its_helper.py")
    weights = Path(write_model("0.5", name="weights.txt"))
    source = """
        from pathlib import Path
        from its_helper import OFFSET

        weights = ["weights.txt"]
        trained_on = "nothing"
        FACTOR = float((Path(__file__).parent / "weights.txt").read_text())

        def predict(batch):
            return batch.image * FACTOR + OFFSET
    """
    model = Path(write_model(source))
    outcome = predict(str(model), memory_release, out)
    assert outcome.record.failure is None
    assert outcome.record.model.file_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert outcome.record.model.code_sha256 == code_sha256(model) != outcome.record.model.file_sha256
    assert outcome.record.model.weights == {"weights.txt": hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert outcome.record.model.trained_on == ("nothing",)


def test_random_numbers_of_a_model_follow_from_the_seed_and_the_images_not_from_earlier_calls(
    memory_release, write_model, tmp_path
):
    source = """
        import random
        import numpy as np

        def predict(batch):
            kernel = np.random.random(batch.image.shape)
            kernel[:, 0, 0] = random.random()
            for _ in range({more}):
                np.random.random(), random.random()
            return kernel
    """
    kernels = []
    for run, (seed, more) in enumerate(((3, 0), (3, 1), (4, 0))):
        model, path = write_model(source.format(more=more)), tmp_path / f"{run}.h5"
        execution = Execution(seed=seed, batch_size=5)
        assert predict(model, memory_release, path, execution=execution).record.seed == seed
        with open_predictions(path, memory_release) as predictions:
            kernels.append(predictions.kernel("id"))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    assert (kernels[0][:5] != kernels[0][5:10]).any()


def test_an_edited_model_is_not_taken_from_a_cache(memory_release, write_model, out):
    for value in (1, 2):
        model = write_model(f"import numpy as np\n\ndef predict(batch):\n    return batch.image * 0 + {value}.0\n")
        predict(model, memory_release, out)
        with open_predictions(out, memory_release) as predictions:
            assert (predictions.kernel("id") == value).all()


def test_a_torch_module_is_given_tensors_with_a_channel_axis(memory_release, write_model, out):
    pytest.importorskip("torch")
    source = """
        import torch

        class Net(torch.nn.Module):
            needs = "raster"

            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Dropout(0.5)

            def forward(self, image, activation_map):
                assert image.shape[1:] == (1, 12, 10) and not torch.is_grad_enabled()
                return self.layer(image + 2 * activation_map)

        class ImageNet(torch.nn.Module):
            def forward(self, image):
                return torch.full_like(image[:, 0], 1.5).bfloat16()

        finished = ImageNet()
    """
    model = write_model(source)
    index = asking_order(memory_release, "id")
    shown = {"view": "raster", "map_mode": "paper"}
    seen = view_batch(memory_release.observations(index), memory_release.grid, **shown)
    expected = {"Net": seen.image + 2 * seen.activation_map, "finished": np.full_like(seen.image, 1.5)}
    for name, kernel in expected.items():
        outcome = predict(f"{model}:{name}", memory_release, out, Request(**shown))
        assert outcome.record.failure is None
        with open_predictions(out, memory_release) as predictions:
            np.testing.assert_allclose(predictions.kernel("id"), kernel, rtol=1e-6)


def test_progress_is_told_after_every_batch(memory_release, out):
    told = []
    predict(
        "zeros",
        memory_release,
        out,
        execution=Execution(batch_size=8),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(8, 32), (12, 32), (20, 32), (28, 32), (32, 32)]


def test_an_existing_file_is_replaced_only_by_a_finished_one(memory_release, write_model, out):
    predict("zeros", memory_release, out)
    before = out.read_bytes()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(write_model(RETURN_WHAT_WAS_SEEN), memory_release, out, progress=interrupt)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.glob("*predictions*")] == [out.name]


def test_a_release_file_is_answered_as_well(tmp_path, out):
    spec = load_spec("mini", overrides=["grid.ny=32", "grid.nx=32", "kernels.wavelength_nm=[1, 3]"])
    path = tmp_path / "mini.h5"
    write_release(spec, path, backend=get_backend("cpu")[0])
    with open_release(path) as release:
        predict("median_kernel", release, out)
        train = np.unique(release.observation_kernel[release.split("ood", "train")])
        median = np.median(release.kernels.image[train], axis=0)
        with open_predictions(out, release) as predictions:
            assert predictions.tasks == release.tasks
            for task in predictions.tasks:
                answered = predictions.kernel(task)
                assert len(answered) == len(release.split(task, "test"))
                np.testing.assert_array_equal(answered, np.broadcast_to(median, answered.shape))


def test_how_the_file_was_made_is_in_it(memory_release, out):
    outcome = predict("zeros", memory_release, out)
    record = outcome.record
    assert record.model.name == "zeros"
    assert record.model.needs == ("image",)
    assert record.task_seconds.keys() == {"id", "ood"}
    assert record.run.seconds > sum(record.task_seconds.values())
    assert record.run.peak_memory_bytes > 1 << 20
    assert {"python", "numpy", "platform", "cpu"} <= record.run.environment.keys()
    with h5py.File(out) as file:
        assert file.attrs["release_sha256"] == memory_release.content_sha256
        assert file["id/kernel"].dtype == "<f4"
        assert file["id/index"].dtype == "<i4"


def test_the_hashes_are_those_of_the_files_before_the_model_ran(memory_release, out, write_model):
    path = Path(write_model("def predict(batch):\n    open(__file__, 'a').write('# other')\n    return batch.image"))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    model = predict(str(path), memory_release, out).record.model
    assert path.read_bytes().endswith(b"# other")
    assert (model.file_sha256, model.code_sha256) == (before, before)
