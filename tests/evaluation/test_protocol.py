"""Messages arrive unchanged, and an invalid message causes no allocation."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading

import numpy as np
import pytest

from qpibench.evaluation.isolation.protocol import Channel, ProtocolError


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def _exchange(pipe, *args, **options):
    read_fd, write_fd = pipe
    sender = threading.Thread(target=Channel(-1, write_fd).send, args=args)
    sender.start()
    message = Channel(read_fd, -1).receive(**options)
    sender.join()
    return message


def test_arrays_of_every_kind_arrive_as_they_were_sent(pipe):
    arrays = {
        "large": np.arange(300_000, dtype=np.float64).reshape(3, -1),
        "half": np.array([[1.5, np.nan]], dtype=np.float16),
        "big-endian": np.arange(4, dtype=">f4"),
        "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "empty": np.empty((0, 5), dtype=np.int32),
        "scalar": np.array(2.0),
    }
    message = _exchange(pipe, "kind", {"a": [1, "ü"]}, arrays)
    assert (message.kind, message.fields) == ("kind", {"a": [1, "ü"]})
    for name, array in arrays.items():
        np.testing.assert_array_equal(message.arrays[name], array)
        assert message.arrays[name].shape == array.shape
        assert message.arrays[name].flags.writeable


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.zeros(2, complex), np.zeros(2, bool)])
def test_arrays_of_other_types_are_not_sent(pipe, array):
    with pytest.raises(ProtocolError, match="which is not exchanged"):
        Channel(*pipe).send("kind", arrays={"it": array})


def _header(**changed):
    text = json.dumps({"kind": "k", "fields": {}, "arrays": [], **changed}).encode()
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"junkjunk", "a header of 1802401130 bytes is longer than"),
        (struct.pack("<I", 3) + b"abc", "the header is not valid"),
        (struct.pack("<I", 2) + b"[]", "the header is not valid"),
        (struct.pack("<I", 5000) + b"[" * 5000, "nested more than 64 deep"),
        (_header(kind=3), "not of the right types"),
        (_header(arrays=[[]]), "not described by its name, type and shape"),
        (_header(arrays=[["a", "|O", [1]]]), "array 'a' is of type '|O'"),
        (_header(arrays=[["a", ["<f4"], [1]]]), "array 'a' is of type"),
        (_header(arrays=[["a", "<f4", [-1]]]), "array 'a' has an impossible shape"),
        (_header(arrays=[["a", "<f4", [1.5]]]), "array 'a' has an impossible shape"),
        (_header(arrays=[["a", "<f4", [True]]]), "array 'a' has an impossible shape"),
        (_header(arrays=[["a", "<f4", [1 << 20, 1 << 20]]]), "arrays of 4398046511104 bytes are larger than 1000"),
        (_header(arrays=[["a", "<f4", [1]]] * 20), "20 arrays are more than 16"),
    ],
)
def test_what_is_no_message_is_refused_before_memory_is_taken(pipe, sent, sentence):
    read_fd, write_fd = pipe
    os.write(write_fd, sent)
    with pytest.raises(ProtocolError) as error:
        Channel(read_fd, -1).receive(max_bytes=1000)
    assert sentence in str(error.value)


@pytest.mark.parametrize("sent", [b"", b"\x05", _header()[:-1], _header(arrays=[["a", "<f4", [3]]])])
def test_the_end_of_the_other_side_is_noticed_anywhere(pipe, sent):
    read_fd, write_fd = pipe
    os.write(write_fd, sent)
    os.close(write_fd)
    with pytest.raises(EOFError):
        Channel(read_fd, -1).receive()


def test_a_watch_ends_the_wait_and_hears_what_was_said_last(pipe):
    read_fd, write_fd = pipe

    def say_and_go():
        os.write(write_fd, _header())
        return False

    channel = Channel(read_fd, -1, watch=say_and_go)
    assert channel.receive().kind == "k"
    with pytest.raises(EOFError):
        Channel(read_fd, -1, watch=lambda: False).receive()
