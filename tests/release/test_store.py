"""A folder of releases: what is missing is generated, whatever is generated beside it."""

from qpibench.release import store
from qpibench.release.lock import FileLock
from qpibench.release.store import place_of, stored_releases
from qpibench.release.writer import write_release
from qpibench.specs import load_spec
from qpibench.synthesis.cpu import CpuBackend


def test_releases_generated_side_by_side_have_the_content_of_each_alone(tmp_path):
    small = ["kernels.count=10", "observations_per_kernel=1"]
    specs = [load_spec("mini", overrides=[f"seed={seed}", *small]) for seed in range(3)]
    specs.insert(1, load_spec("mini", overrides=["observations_per_kernel=26", "scatterers.max=1"]))
    told = []
    releases = stored_releases(
        specs, tmp_path, backend=CpuBackend(), threads=2, progress=lambda done, total: told.append((done, total))
    )
    assert told[-4:] == [(260, 290), (270, 290), (280, 290), (290, 290)]
    for number, spec in enumerate(specs):
        alone = write_release(spec, tmp_path / f"{number}.h5", backend=CpuBackend(), threads=1)
        assert releases[spec.sha256].content_sha256 == alone


def test_a_release_that_another_process_is_writing_is_waited_for(tmp_path, monkeypatch):
    specs = [
        load_spec("mini", overrides=[f"seed={n}", "kernels.count=10", "observations_per_kernel=1"]) for n in (1, 2)
    ]
    place, slept = place_of(specs[0], tmp_path), []
    lock = FileLock(place.with_name(f".{place.name}.partial"))

    def sleep(seconds):
        assert place_of(specs[1], tmp_path).exists()
        slept.append(seconds)
        if len(slept) == 2:
            lock.close()

    monkeypatch.setattr(store.time, "sleep", sleep)
    assert len(stored_releases(specs, tmp_path, backend=CpuBackend())) == 2
    assert len(slept) == 2
