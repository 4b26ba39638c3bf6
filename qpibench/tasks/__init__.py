"""Defines the tasks for models: the inputs of a model, the images it gets, its predictions, and the tracks."""

from qpibench.tasks.batch import Batch, Prediction
from qpibench.tasks.subset import asking_order, subset
from qpibench.tasks.views import VIEWS, allows, view_batch

__all__ = ["VIEWS", "Batch", "Prediction", "allows", "asking_order", "subset", "view_batch"]
