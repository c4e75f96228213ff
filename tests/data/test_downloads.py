"""Several processes: one downloads, the others wait."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

WORKER = str(Path(__file__).parents[1] / "helpers" / "download_worker.py")


def test_one_of_two_ranks_downloads_and_the_other_waits(tmp_path: Path) -> None:
    for name in ("before", "hooks", "broken"):
        (tmp_path / name).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, WORKER, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1]
    assert found[0]["before fit"] == found[0]["hooks"] == 6
    assert "cannot be downloaded (no route to host)" in found[0]["error"]
    for name in ("before", "hooks", "broken"):
        assert (tmp_path / name / "downloads.txt").read_text() == "0\n"
