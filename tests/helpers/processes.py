"""Separate processes that start fast: forked from a process that has imported gmlight already.

A new Python needs some seconds to import torch and Lightning. A forked process has separate memory, signals,
standard streams and exit status, like one started by `python -m`. It differs only in its imports, which come
from a fork server that does nothing else.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).parents[1]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["helpers.preloaded"])


def run_forked(
    target: Callable[..., None],
    *arguments: Any,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 300,
) -> subprocess.CompletedProcess:
    """Calls a function in a separate process and waits for its end.

    Args:
        target: a function at the top level of a module.
        arguments: arguments of the function; they are pickled.
        folder: the current folder of the process.
        environment: all environment variables of the process.
        timeout: in seconds.

    Returns:
        Exit status, standard output and standard error, as from `subprocess.run`.

    Raises:
        subprocess.TimeoutExpired: the process did not end in time; it is killed.
    """
    with tempfile.TemporaryDirectory() as streams:
        output, errors = Path(streams) / "output", Path(streams) / "errors"
        process = start_forked(
            target, *arguments, folder=folder, environment=environment, output=output, errors=errors
        )
        status = wait_for_end(process, timeout)
        return subprocess.CompletedProcess(
            [target.__name__, *arguments], status, output.read_text(), errors.read_text()
        )


def start_forked(
    target: Callable[..., None],
    *arguments: Any,
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    errors: Path,
) -> BaseProcess:
    """Starts a process like `run_forked`; its standard streams are written to `output` and `errors`."""
    process = _context.Process(
        target=_call, args=(target, arguments, folder, dict(environment), output, errors)
    )
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [before])])  # for helpers.preloaded
    try:
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def wait_for_end(process: BaseProcess, timeout: float) -> int:
    """Waits for the process and returns its exit status, -N if signal N ended it."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(process.name, timeout)
    return process.exitcode


def run_module(module: str, words: list[str]) -> None:
    """Does what `python -m module words` does."""
    sys.argv = [module, *words]
    sys.modules.pop(module, None)  # so that it runs as __main__
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_script(path: str, words: list[str]) -> None:
    """Does what `python path words` does."""
    sys.argv = [path, *words]
    runpy.run_path(path, run_name="__main__")


def run_code(code: str) -> None:
    """Does what `python -c code` does."""
    exec(code, {"__name__": "__main__"})


def _call(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    folder: Path,
    environment: dict[str, str],
    output: Path,
    errors: Path,
) -> None:
    for path, number in ((os.devnull, 0), (output, 1), (errors, 2)):
        stream = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    try:
        target(*arguments)
    finally:  # as Python does at exit, but a multiprocessing fork does not
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
