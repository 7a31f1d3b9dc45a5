"""Steps in the database from many requests, several in one transaction: each is told its result after the commit.

A commit waits for the disk. While it does, other steps gather, and are committed together. So hundreds of participants
wait as long as a few, and none hears of an answer that a crash could still lose.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Step = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]"]
MOST_STEPS = 200  # in a transaction


class GroupCommits:
    """Runs steps one after another in one connection.

    Args:
        connection: nobody else writes by it.
    """

    def __init__(self, connection: sqlite3.Connection):
        self.connection = connection
        self._steps: asyncio.Queue[Step] = asyncio.Queue()

    async def do(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        """The result of a step, when it is committed. What the step raises is raised here, and undoes the step."""
        future = asyncio.get_running_loop().create_future()
        await self._steps.put((step, future))
        return await future

    async def work(self) -> None:
        """Does the steps, for ever."""
        while True:
            steps = [await self._steps.get()]
            while not self._steps.empty() and len(steps) < MOST_STEPS:
                steps.append(self._steps.get_nowait())
            try:
                results = await asyncio.to_thread(self._commit, [step for step, _ in steps])
            except sqlite3.Error as error:  # the disk is full, say: nothing of it is stored
                results = [error] * len(steps)
            for (_, future), result in zip(steps, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _commit(self, steps: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        """The results, or exceptions, of steps in one transaction."""
        results: list[Any] = []
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for step in steps:
                self.connection.execute("SAVEPOINT step")
                try:
                    results.append(step(self.connection))
                except Exception as error:
                    self.connection.execute("ROLLBACK TO step")
                    results.append(error)
                self.connection.execute("RELEASE step")
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        return results
