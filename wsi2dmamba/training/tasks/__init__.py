"""What a model learns: the loss, the prediction columns, and the state that a checkpoint keeps."""

from wsi2dmamba.training.tasks.base import Task
from wsi2dmamba.training.tasks.registry import make_task, task_from_state

__all__ = ["Task", "make_task", "task_from_state"]
