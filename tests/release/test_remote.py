"""Releases at URLs: the same values as from the file, with requests for the rows alone."""

import pickle
import re
import runpy
import shutil
import socket
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("aiohttp")
fsspec = pytest.importorskip("fsspec")

from qpibench.cli.main import cli  # noqa: E402
from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError, UsageError  # noqa: E402
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_release, write_shard  # noqa: E402
from qpibench.release.remote import ATTEMPTS, Url  # noqa: E402

serving = runpy.run_path(str(Path(__file__).with_name("file_server.py")))["serving"]
# Of an image 6 x 8 pixels are 192 bytes, so rows that are further apart than 42 images are two requests.
ROWS = [1299, 3, 4, 511, 512, 700, 3, 0, 1298]
RUNS = [(0, 5), (511, 513), (700, 701), (1298, 1300)]


@pytest.fixture
def server(tmp_path):
    """A server of the files in `tmp_path`."""
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def url(server, tmp_path, small_release):
    """The address of the small release."""
    shutil.copyfile(small_release, tmp_path / "small.h5")
    return f"{server.url}/small.h5"


@pytest.fixture
def at_url(url):
    with open_release(url) as release:
        yield release


def qpibench(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qpibench")


def holds_the_same(release, path):
    with open_release(path) as local:
        assert release.arrays.keys() == local.arrays.keys()
        for name, array in local.arrays.items():
            expected = local.read(name)
            np.testing.assert_array_equal(release.read(name), expected)
            if array.group == "observations":
                np.testing.assert_array_equal(release.take(array.field, ROWS), expected[ROWS])
        assert release.content_sha256 == local.content_sha256


def test_a_release_at_a_url_holds_what_the_file_holds(at_url, small_release):
    holds_the_same(at_url, small_release)


def test_rows_side_by_side_are_one_request_and_nothing_else_is_read(at_url, server):
    server.forget()
    images = at_url.image(ROWS)
    position = at_url.arrays["observations/image"].position
    assert sorted(server.ranges) == [(position(start), position(stop)) for start, stop in RUNS]
    assert images.shape == (len(ROWS), 6, 8)


def test_rows_that_are_close_are_one_request_too(at_url, server):
    server.forget()
    at_url.image([10, 30, 20])
    position = at_url.arrays["observations/image"].position
    assert server.ranges == [(position(10), position(31))]


def test_small_arrays_are_read_once(at_url, server):
    assert at_url.split("id", "test").size
    kernels = at_url.kernels.image
    server.forget()
    assert at_url.observation_kernel.size
    assert at_url.take("n_scatterers", ROWS).size
    assert at_url.split("ood", "test").size
    assert at_url.kernels.image is kernels
    assert server.requests == []


def test_a_data_set_reads_a_batch_by_its_rows(url, server, small_release):
    torch = pytest.importorskip("torch")
    from qpibench.release.torch_view import ReleaseDataset

    here, there = ReleaseDataset(small_release), ReleaseDataset(url)
    server.forget()
    batch = there.batch([0, 200, 400])
    assert len(server.ranges) == 6  # of images, and of positions for the map
    assert all(torch.equal(batch[field], values) for field, values in here.batch([0, 200, 400]).items())


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_processes_of_a_loader_read_for_themselves(url, small_release, start):
    torch = pytest.importorskip("torch")
    from qpibench.release.torch_view import ReleaseDataset

    dataset = ReleaseDataset(url, fields=("image", "index"))
    first = dataset[0]["image"]  # the parent has a connection
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=300, num_workers=1, multiprocessing_context=start, timeout=60
    )
    images = torch.cat([batch["image"] for batch in loader])
    assert torch.equal(images[0], first)
    assert torch.equal(images, ReleaseDataset(small_release).batch(range(len(dataset)))["image"])


def test_an_open_release_can_be_pickled(at_url):
    again = pickle.loads(pickle.dumps(at_url))
    np.testing.assert_array_equal(again.image(ROWS), at_url.image(ROWS))


def test_compressed_images_are_read_through_hdf5(server, tmp_path, spec, fake_backend, small_release):
    write_release(spec, tmp_path / "packed.h5", backend=fake_backend(), compression="gzip")
    holds_the_same(open_release(f"{server.url}/packed.h5"), small_release)


def test_a_virtual_release_reads_its_shards_beside_it(server, tmp_path, spec, fake_backend, small_release):
    shards = tmp_path / "of 50% + é"
    for index in (1, 2, 3):
        write_shard(spec, shards, Shard(index, 3), backend=fake_backend())
    (tmp_path / "releases").mkdir()
    merge_shards(shards, tmp_path / "releases" / "virtual.h5", backend=fake_backend(), as_virtual=True)
    url = f"{server.url}/releases/virtual.h5"
    release = open_release(url)
    asked = [sum(f"shard-{index}-of-3" in request for request in server.requests) for index in (1, 2, 3)]
    assert set(asked) <= {4, 5}  # as docs/scale.md says
    holds_the_same(release, small_release)
    assert verify_release(url) == open_release(small_release).content_sha256
    (shards / "shard-2-of-3.h5").unlink()
    with pytest.raises(InvalidDataError, match=r"is virtual, and its shard 'http.*shard-2-of-3\.h5' is missing"):
        open_release(url)


def test_a_release_in_s3_is_read_by_ranges(url, server, small_release, monkeypatch):
    pytest.importorskip("s3fs")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True, "endpoint_url": server.url})
    shutil.copytree(server.folder, server.folder / "bucket")
    release = open_release("s3://bucket/small.h5")
    holds_the_same(release, small_release)
    server.forget()
    release.image([7])
    assert (len(server.requests), len(server.ranges)) == (1, 1)
    with pytest.raises(UsageError, match=r"There is no file 's3://bucket/other\.h5'"):
        open_release("s3://bucket/other.h5")


def test_every_protocol_of_fsspec_will_do(small_release):
    with fsspec.open("memory://there/small.h5", "wb") as file:
        file.write(small_release.read_bytes())
    holds_the_same(open_release("memory://there/small.h5"), small_release)


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_a_copy_by_fsspec_holds_what_the_file_holds(url, server, small_release, cache):
    with open_release(f"{cache}::{url}") as release:
        holds_the_same(release, small_release)
        server.forget()
        holds_the_same(release, small_release)
    assert server.requests == []


@pytest.mark.parametrize("cache", ["blockcache", "cached"])
def test_a_cache_of_blocks_is_refused(url, cache):
    with pytest.raises(UsageError, match=f"'{cache}::{url}' names a cache of blocks, which may hold other bytes"):
        open_release(f"{cache}::{url}")


def test_a_server_without_ranges_can_be_copied(url, server, small_release):
    server.has_ranges = False
    holds_the_same(open_release(f"simplecache::{url}"), small_release)


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_a_part_of_a_copy_is_not_taken_for_the_file(url, server, cache):
    server.cuts = 2  # fsspec requests the file to see whether it is there, and to copy it
    with pytest.raises(QpibenchError, match="cannot be read: the server's answer was cut off or is damaged"):
        open_release(f"{cache}::{url}")


def test_xarray_reads_what_is_used(url, server, small_release):
    pytest.importorskip("xarray")
    from qpibench.release.xarray_view import to_xarray

    dataset = to_xarray(url)
    server.forget()
    line = dataset.image.isel(observation=700, y=2).values
    assert len(server.ranges) == 1
    np.testing.assert_array_equal(line, open_release(small_release).image([700])[0, 2])


def test_info_and_verify_take_a_url(url, small_release):
    shown, checked = qpibench("info", url, "--json"), qpibench("verify", url)
    assert (shown.exit_code, checked.exit_code) == (0, 0), shown.output + checked.output
    assert f'"bytes": {small_release.stat().st_size}' in shown.stdout
    assert checked.stdout.startswith(open_release(small_release).content_sha256)


def test_other_commands_say_that_they_read_no_url():
    refused = qpibench("evaluate", "zeros", "--release", "https://host/a.h5", "-o", "result.json")
    assert refused.exit_code == 2
    assert "'https://host/a.h5' is a URL, which only info, verify and Python read" in refused.stderr


def test_a_changed_value_is_found(url, server, small_release):
    path, place = server.folder / "small.h5", open_release(small_release).arrays["observations/image"].position(700)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with open_release(url) as release, pytest.raises(InvalidDataError, match="observations/image is not what its SHA"):
        release.check("image")
    with pytest.raises(InvalidDataError, match="observations/image has changed"):
        verify_release(url)


def test_a_request_that_fails_is_repeated(at_url, server, small_release):
    server.failures = ATTEMPTS - 1
    np.testing.assert_array_equal(at_url.image([7]), open_release(small_release).image([7]))


def test_opening_that_fails_is_repeated(url, server, small_release):
    server.failures = ATTEMPTS - 1
    with open_release(url) as release:
        holds_the_same(release, small_release)


def test_a_request_that_nobody_answers_in_time_is_no_missing_file(monkeypatch):
    settings = {}
    fsspec.config.set_conf_env(settings, {"FSSPEC_HTTP": '{"timeout": 0.2}'})  # as docs/scale.md says
    monkeypatch.setitem(fsspec.config.conf, "http", settings["http"])
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        with pytest.raises(QpibenchError, match="cannot be read: TimeoutError") as told:
            open_release(f"http://127.0.0.1:{deaf.getsockname()[1]}/small.h5")
        deaf.setblocking(False)
        deaf.accept()[0].close()  # somebody has asked
    assert told.value.exit_code == 1


@pytest.mark.parametrize("fault", ["cuts", "halves"])
def test_an_answer_that_is_too_short_is_asked_for_again(at_url, server, small_release, fault):
    setattr(server, fault, ATTEMPTS - 1)
    np.testing.assert_array_equal(at_url.image([7]), open_release(small_release).image([7]))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("cuts", "the server's answer was cut off or is damaged"),
        ("halves", "192 bytes from byte [0-9,]+ on were asked for, and 96 came; .*"),
    ],
)
def test_answers_that_are_too_short_are_one_sentence(at_url, server, fault, words):
    setattr(server, fault, 100)
    server.forget()
    with pytest.raises(QpibenchError, match=rf"^'http://[^ ]*/small\.h5' cannot be read: {words}\.$"):
        at_url.image([7])
    assert len(server.requests) == ATTEMPTS


def test_requests_that_fail_are_one_sentence(at_url, url, server):
    server.failures = 100
    for ask in (lambda: at_url.image([7]), lambda: open_release(url)):
        with pytest.raises(
            QpibenchError, match=r"small.h5' cannot be read: 503, message='Service Unavailable'"
        ) as told:
            ask()
        assert told.value.exit_code == 1


def test_a_server_that_ends_in_the_middle_is_one_sentence(tmp_path, small_release):
    shutil.copyfile(small_release, tmp_path / "small.h5")
    with serving(tmp_path) as server:
        release = open_release(f"{server.url}/small.h5")
    with pytest.raises(QpibenchError, match="cannot be read: "):
        release.image([7])
    with pytest.raises(QpibenchError, match="cannot be read: Cannot connect to host"):
        open_release(f"{server.url}/small.h5")


def test_a_server_without_ranges_is_refused(url, server):
    server.has_ranges = False
    with pytest.raises(UsageError, match=r"does not serve parts of files \(HTTP ranges\); download the file"):
        open_release(url)


def test_a_file_that_became_shorter_is_noticed(at_url, server, small_release):
    (server.folder / "small.h5").write_bytes(small_release.read_bytes()[:100_000])
    with pytest.raises(QpibenchError, match="cannot be read: "):
        at_url.image([700])


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no HDF5 at all", "is not an HDF5 file"), (b"", "is not an HDF5 file"), (None, "is truncated")],
)
def test_another_file_is_refused_as_on_a_disk(server, small_release, content, words):
    (server.folder / "other.h5").write_bytes(small_release.read_bytes()[:200_000] if content is None else content)
    with pytest.raises(InvalidDataError, match=words):
        open_release(f"{server.url}/other.h5")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("observations/kernel", None, "observations/kernel is missing"),
        ("observations/n_scatterers", np.zeros(1300, "i8"), "observations/n_scatterers is <i8"),
    ],
)
def test_a_release_that_lacks_an_array_is_named_by_its_url(url, server, name, value, words):
    with h5py.File(server.folder / "small.h5", "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value
    for address in (url, f"file://{server.folder}/small.h5"):
        with pytest.raises(InvalidDataError, match=f"^'{re.escape(address)}' is damaged: {words}"):
            open_release(address)


def test_addresses_without_a_file_are_refused(server):
    with pytest.raises(UsageError, match=r"There is no file 'http.*/none\.h5'"):
        open_release(f"{server.url}/none.h5")
    with pytest.raises(UsageError, match=r"There is no file 'simple.*/none\.h5', or its server does not answer\.$"):
        open_release(f"simplecache::{server.url}/none.h5")
    with pytest.raises(QpibenchError, match=r"'data://x' cannot be read: [^\n]*\.$"):
        open_release("data://x")
    with pytest.raises(UsageError, match="'tube://a/b' is no address that fsspec can read: Protocol not known: tube"):
        open_release("tube://a/b")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UnavailableError, match=r"needs the package fsspec.*pip install \"qpibench\[remote\]\""):
        open_release("https://host/a.h5")


@pytest.mark.parametrize(
    ("address", "relative", "expected"),
    [
        ("https://h/a/v.h5", "shards/s 1.h5", "https://h/a/shards/s%201.h5"),
        ("https://h/a/b/v.h5?key=x/y", "../s.h5", "https://h/a/s.h5?key=x/y"),
        ("s3://bucket/a/v.h5", "../s 1.h5", "s3://bucket/s 1.h5"),
        ("simplecache::s3://bucket/v.h5", "s.h5", "simplecache::s3://bucket/s.h5"),
    ],
)
def test_a_file_beside_another_has_its_address(address, relative, expected):
    assert Url(address).beside(relative) == expected
