"""An entry whose training takes seconds and saves a checkpoint after every tenth step."""

from itertools import count

import torch
from learned.draws import normal_like
from learned.loop import Stage, fit
from learned.run_writer import RunWriter
from learned.source import open_source
from torch import nn

needs = "raster"
STEPS = 40

_asked = count(1)
RunWriter.is_due = property(lambda writer: next(_asked) % 10 == 0)


class Net(nn.Module):
    """From an observation and its map to a kernel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, batch):
        inputs = torch.stack([batch["image"], batch["activation_map"]], dim=1)
        return self.last(torch.relu(self.first(inputs)))[:, 0]


class Loss(nn.Module):
    """Squared error against kernels with noise, so that the state of the generator matters."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        target = batch["kernel"] + 0.1 * normal_like(batch["kernel"])
        return {"loss": (self.net(batch) - target).square().mean()}


def train(run):
    """Train for up to forty steps."""
    source = open_source(run, fields=("image", "activation_map", "kernel"), map_mode="paper", batch_size=4)
    torch.manual_seed(run.seed)
    net = Net()

    def stage():
        return Stage(
            name="only",
            module=Loss(net),
            score=lambda batch: (net(batch) - batch["kernel"]).abs().mean(dim=(1, 2)),
            source=source,
            steps=STEPS,
            budget=min(run.steps or STEPS, STEPS),
            learning_rate=1e-2,
            validate_every=5,
        )

    fit(
        run,
        config={"recipe": "tiny"},
        net=net,
        stages=[stage],
        source_record=source.record,
        steps_stated=STEPS,
        export=net.state_dict,
    )
