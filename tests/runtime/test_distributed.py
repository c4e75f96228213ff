"""Several processes give the results of a single one."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gmlight.runtime.distributed import share
from helpers import ddp_worker
from helpers.processes import run_script, start_forked, wait_for_end


@pytest.mark.parametrize(("units", "size"), [(10, 1), (10, 3), (3, 2), (3, 3), (3, 4), (1, 4), (10, 32)])
def test_every_unit_has_one_leading_rank(units: int, size: int) -> None:
    shares = [share(units, rank, size) for rank in range(size)]
    led_units = [unit for share_of_rank in shares if share_of_rank.leads for unit in share_of_rank.units]
    assert sorted(led_units) == list(range(units))
    numbers = [len(share_of_rank.units) for share_of_rank in shares]
    assert max(numbers) - min(numbers) <= 1
    for unit in range(units):
        parts = [each for each in shares if unit in each.units]
        assert [each.part for each in parts] == list(range(len(parts)))
        assert {each.parts for each in parts} == {len(parts)}
        slices = [each.slice(7) for each in parts]
        assert [i for part in slices for i in range(part.start, part.stop)] == list(range(7))


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    outcome = ddp_worker.condense_all_cases(lambda: "auto")
    torch.set_num_threads(threads)
    return outcome


@pytest.mark.parametrize("name", ddp_worker.CASES)
def test_chunks_of_classes_give_the_results_of_one_chunk(single: dict[str, Any], name: str) -> None:
    case = ddp_worker.CASES[name]
    joint = single[f"{name}, chunk None, torch.float64"]
    for chunk in (1, 2):
        chunked = ddp_worker.condense(case, chunk, lambda: "auto", torch.float64)
        torch.testing.assert_close(chunked["images"], joint["images"], rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(chunked["metrics"], joint["metrics"], rtol=1e-7, atol=1e-6)


def launch_with_torchrun(size: int, port: int, folder: Path) -> None:
    words = ["--nproc-per-node", str(size), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, ddp_worker.__file__, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr


def launch_with_forks(size: int, port: int, folder: Path) -> None:
    """Launches the ranks like torchrun, as forked processes, which start faster."""
    started = []
    for rank in range(size):
        variables = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_RANK": 0,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none",
            "OMP_NUM_THREADS": 1,
        }  # fmt: skip
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        output, errors = (folder / f"{rank}-{stream}" for stream in ("output", "errors"))
        process = start_forked(
            run_script, ddp_worker.__file__, [str(folder)],
            folder=folder, environment=environment, output=output, errors=errors,
        )  # fmt: skip
        started.append((process, errors))
    for process, errors in started:
        assert wait_for_end(process, timeout=300) == 0, errors.read_text()


@pytest.mark.parametrize(
    ("size", "launch"), [(2, launch_with_torchrun), (3, launch_with_forks), (4, launch_with_forks)]
)
def test_ranks_give_the_results_of_one_process(
    single: dict[str, Any], tmp_path: Path, size: int, launch: Callable
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch(size, port, tmp_path)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(size)]
    assert results[0].pop("known") == {rank: float(rank) for rank in range(size)}
    for case, expected in single.items():
        for result in results[1:]:  # every rank has the images of rank 0
            assert torch.equal(result[case]["images"], results[0][case]["images"]), case
        found = results[0][case]
        assert found["zeta"] == expected["zeta"], case
        if case.startswith("intra") and size <= ddp_worker.CLASSES:  # all sums have the same order
            assert torch.equal(found["images"], expected["images"]), case
        elif "float64" in case:
            torch.testing.assert_close(found["metrics"], expected["metrics"], rtol=1e-7, atol=1e-6)
            torch.testing.assert_close(found["images"], expected["images"], rtol=1e-10, atol=1e-11)
        else:  # parts of a class are added in another order, in single precision
            torch.testing.assert_close(found["images"], expected["images"], rtol=1e-4, atol=1e-5)
