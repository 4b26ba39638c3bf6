"""A loss is compiled only if its gradients stay the same."""

import pytest
import torch
from learned.compilation import compile_loss
from torch import nn


class Squared(nn.Module):
    """A loss whose compiled form is given."""

    def __init__(self, compiled):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.compiled = compiled

    def forward(self):
        return self.weight.square().sum()

    def compile(self, **options):
        self._compiled_call_impl = lambda: self.compiled(self.forward())

    def gradients(self):
        return torch.autograd.grad(self(), list(self.parameters()))


def fails(loss):
    raise RuntimeError("\nNo compiler found:\nmore of it")


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        (lambda loss: loss, None),
        (lambda loss: 0 * loss, "gradients of the compiled loss differ by 1 of their norm"),
        (lambda loss: torch.nan * loss, "gradients of the compiled loss differ by inf of their norm"),
        (fails, "No compiler found"),
    ],
)
def test_a_loss_whose_compilation_fails_or_changes_its_gradients_is_not_compiled(compiled, reason):
    loss = Squared(compiled)
    assert compile_loss(loss, loss.gradients) == reason
    assert loss().item() == 3
