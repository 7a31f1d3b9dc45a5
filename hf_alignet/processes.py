"""Independent tasks that the processes of a launch share: each process does some, and gets the results of all.

The results are those of one process, because no task depends on another one, or sees the other processes.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

LONGEST_WAIT = timedelta(days=7)  # for the task of another process; by default a wait fails after 10 or 30 minutes

T = TypeVar("T")


def this_process() -> PartialState:
    """This process among those of its launch. Without `cpu`, those of a launch on a CPU would not see each other."""
    return PartialState(cpu=not torch.accelerator.is_available())


def share_tasks(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of tasks, in their order. Every process must call it, with the same tasks.

    A process does every n-th task, if there are n processes. Within a task it is the only one, so tasks of a task are
    not shared again. Results are pickled.

    If a task fails, every process raises an error, after each has done its tasks up to the first that failed.

    Example:
        >>> share_tasks([lambda: 1, lambda: 2])
        [1, 2]
    """
    state = this_process()
    if state.num_processes == 1:
        return [task() for task in tasks]
    group = _patient_group()
    done: dict[int, T] = {}
    failed: Exception | None = None
    mine = range(state.process_index, len(tasks), state.num_processes)
    with alone():
        try:
            for number in mine:
                done[number] = tasks[number]()
        except Exception as error:
            failed = error
    parts: list[Any] = [None] * state.num_processes
    torch.distributed.all_gather_object(parts, (done, failed), group=group)
    failed = failed or next((other for _, other in parts if other is not None), None)
    if failed is not None:
        raise failed
    found = {number: result for part, _ in parts for number, result in part.items()}
    return [found[number] for number in range(len(tasks))]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Lets this process work by itself: what would wait for other processes meanwhile does not see them."""
    state = PartialState()
    kept = (state.process_index, state.num_processes, state.distributed_type)
    state.process_index, state.num_processes, state.distributed_type = 0, 1, DistributedType.NO
    try:
        yield
    finally:
        state.process_index, state.num_processes, state.distributed_type = kept


@cache
def _patient_group() -> Any:
    """All processes, which talk over the CPU and wait long."""
    return torch.distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
