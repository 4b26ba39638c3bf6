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


class Uncompilable(Squared):
    """A loss that PyTorch refuses to compile."""

    def compile(self, **options):
        super().compile(**options)
        raise RuntimeError("Compilation is not available here.")


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


def test_a_loss_that_is_refused_by_the_compiler_is_not_compiled():
    loss = Uncompilable(fails)
    assert compile_loss(loss, loss.gradients) == "Compilation is not available here"
    assert loss().item() == 3


def test_a_loss_with_another_number_of_gradients_when_compiled_is_not_compiled():
    loss = Squared(lambda loss: loss)
    returned = iter([loss.gradients(), loss.gradients() * 2])
    assert compile_loss(loss, lambda: next(returned)) == "gradients of the compiled loss differ by inf of their norm"
    assert loss._compiled_call_impl is None
