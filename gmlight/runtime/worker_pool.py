"""Worker processes that do units of work one after another; a process that dies loses one unit only."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from gmlight.errors import ConfigError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


class Died:
    """The outcome of a unit whose process ended.

    Args:
        status: the exit status of the process; minus the signal's number if a signal ended it.
    """

    def __init__(self, status: int | None) -> None:
        self.status = status

    def __str__(self) -> str:
        if self.status == -signal.SIGKILL:
            return "its process was killed, probably for lack of memory"
        return f"its process ended with status {self.status}"


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


def work_in_processes(
    make: Callable[[Any], Callable[[Unit], Result]], settings: Any, units: Sequence[Unit], jobs: int
) -> Iterator[tuple[Unit, Result | Died]]:
    """Does units of work in parallel processes, and yields each as it is done.

    Args:
        make: a function of a module; makes what does a unit, once in each process.
        settings: its argument; pickled.
        units: pickled one by one.
        jobs: number of processes; they share out the threads of this process.

    Yields:
        Each unit with its result; in the order in which they end.

    Raises:
        ConfigError: a unit raised it.
        RuntimeError: a unit raised another error; the text has its traceback.
    """
    pool = _Pool[Unit, Result](make, settings, max(1, torch.get_num_threads() // jobs))
    try:
        yield from pool.run(units, jobs)
    finally:
        pool.close()


class _Pool(Generic[Unit, Result]):
    def __init__(self, make: Callable[[Any], Callable[[Unit], Result]], settings: Any, threads: int) -> None:
        self._start = (make, settings, threads)
        self._busy: dict[_Worker, Unit] = {}
        self._context = multiprocessing.get_context("spawn")

    def run(self, units: Sequence[Unit], jobs: int) -> Iterator[tuple[Unit, Result | Died]]:
        waiting = list(reversed(units))
        for _ in range(min(jobs, len(units))):
            self._give(self._new_worker(), waiting.pop())
        while self._busy:
            ready = wait([worker.pipe for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.pipe in ready]:
                unit = self._busy.pop(worker)
                result = _receive(worker)
                if waiting:
                    self._give(self._new_worker() if isinstance(result, Died) else worker, waiting.pop())
                else:
                    _end(worker)
                yield unit, result

    def _give(self, worker: _Worker, unit: Unit) -> None:
        self._busy[worker] = unit
        worker.pipe.send(unit)

    def _new_worker(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._start), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is noticed
        return _Worker(process, ours)

    def close(self) -> None:
        for worker in self._busy:
            worker.process.kill()
            _end(worker)


def _receive(worker: _Worker) -> Any:
    try:
        failed, content = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        return Died(worker.process.exitcode)
    if isinstance(content, ConfigError):
        raise content
    if failed:
        raise RuntimeError(f"in a worker process:\n{content}")
    return content


def _end(worker: _Worker) -> None:
    worker.pipe.close()  # the process ends when it wants the next unit
    worker.process.join()


def _serve(
    pipe: Connection, make: Callable[[Any], Callable[[Any], Any]], settings: Any, threads: int
) -> None:
    # The parent decides when to stop; a terminal sends its signal to all.
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    work = None
    while True:
        try:
            unit = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            work = work or make(settings)
            pipe.send((False, work(unit)))
        except ConfigError as error:
            pipe.send((True, error))
        except Exception:  # the parent raises it, with this traceback
            pipe.send((True, traceback.format_exc()))
