"""What is asked of a model: what it may see, which images it answers, and what it gives back."""

from qpibench.tasks.batch import Batch, Prediction
from qpibench.tasks.subset import asking_order, subset
from qpibench.tasks.views import VIEWS, allows, view_batch

__all__ = ["VIEWS", "Batch", "Prediction", "allows", "asking_order", "subset", "view_batch"]
