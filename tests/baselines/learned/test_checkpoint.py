import pytest
import torch
from learned.checkpoint import (
    Checkpoint,
    Position,
    load_net,
    load_optimizer,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
    write_weights,
)
from safetensors.torch import load_file, save_file
from torch import nn

from qpibench.errors import InvalidDataError, UsageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    net(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    best = {"0.weight": net[0].weight.detach().clone() + 1}
    position = Position(stage=1, step=7, steps_before=30, best_step=5, best_score=0.1, seconds=3.5, log_bytes=99)
    return Checkpoint(position=position, net=net.state_dict(), optimizer=optimizer_tensors(optimizer), best=best)


def same(tensors, others):
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_a_checkpoint_is_read_as_it_was_written(path, checkpoint):
    write_checkpoint(path, checkpoint)
    read = read_checkpoint(path)
    assert read.position == checkpoint.position
    assert all(same(getattr(read, group), getattr(checkpoint, group)) for group in ("net", "optimizer", "best"))


def test_adam_goes_on_as_if_it_had_never_stopped(path, checkpoint):
    write_checkpoint(path, checkpoint)
    results = []
    for held in (checkpoint, read_checkpoint(path)):
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        net.load_state_dict(held.net)
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        load_optimizer(optimizer, held.optimizer)
        net(torch.ones(5, 3) + torch.arange(5.0)[:, None]).square().sum().backward()
        optimizer.step()
        results.append(net.state_dict())
    assert same(*results)


def test_a_network_that_holds_a_tensor_under_two_names_is_kept(path):
    layer = nn.Linear(2, 2)
    net = nn.ModuleDict({"one": layer, "other": layer})
    write_checkpoint(path, Checkpoint(position=Position(), net=net.state_dict(), optimizer={}, best={}))
    assert same(read_checkpoint(path).net, net.state_dict())


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-3], lambda content: content[:20], lambda content: b"", lambda content: b"{}" + content],
    ids=["end missing", "header cut", "empty", "shifted"],
)
def test_a_damaged_checkpoint_is_refused(path, checkpoint, damage):
    write_checkpoint(path, checkpoint)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidDataError, match=r"Checkpoint '.*' is corrupt"):
        read_checkpoint(path)


def test_one_changed_bit_in_the_values_is_noticed(path, checkpoint):
    write_checkpoint(path, checkpoint)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="its values do not match its checksum"):
        read_checkpoint(path)


def test_a_file_of_other_tensors_is_no_checkpoint(path):
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InvalidDataError, match="is corrupt"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Linear(3, 4)), "its 1.bias has the shape (4,), the network's is missing"),
        (
            nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)),
            "its 0.weight has the shape (4, 3), the network's has",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
            "its 2.bias is missing, the network's",
        ),
    ],
    ids=["too small", "other width", "too large"],
)
def test_a_checkpoint_of_another_architecture_is_refused(path, checkpoint, net, message):
    with pytest.raises(InvalidDataError) as caught:
        load_net(net, checkpoint, path)
    assert message in str(caught.value)


def test_an_existing_checkpoint_stays_where_the_new_one_cannot_be_written(path, checkpoint):
    write_checkpoint(path, checkpoint)
    with pytest.raises(UsageError, match="does not exist"):
        write_checkpoint(path.parent / "missing" / "checkpoint.safetensors", checkpoint)
    assert read_checkpoint(path).position == checkpoint.position


def test_weights_are_halves_of_floats_and_whole_integers(path):
    tensors = {"weight": torch.tensor([0.1, -2.0]), "count": torch.tensor(70_000)}
    write_weights(path, tensors, {"config": "{}"}, half=True)
    assert same(load_file(path), {"weight": tensors["weight"].half(), "count": tensors["count"]})
