"""Each command that README.md and docs/ show can be typed.

Those that train compose, and in the slow tier run: on the digits, at the smallest scale. Those that look at a
run are typed on a tiny one. What needs more than a test machine has is named here, with who sees to it.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gmlight.config.validate import check
from helpers.runs import TINY, Run, composed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CIFAR = (
    "dataset=image_folder dataset.root=cifar10-jpeg dataset.name=cifar10-jpeg "
    "dataset.mean=[.4914,.4822,.4465] dataset.std=[.2470,.2435,.2616]"
)  # as docs/results.md abbreviates it

ELSEWHERE = {
    "make": "Makefile, which continuous integration calls",
    "pip install": "a package index",
    "torchrun": "test_distributed.py and test_launchers.py, which start it with settings of their own",
    "hydra/launcher=submitit_slurm": "test_slurm.py, on a real Slurm",
    "--config-dir": "test_readme.py and test_docs.py, with the code that stands beside it",
    "wandb": "an account at W&B",
    "experiment=search": "test_launchers.py, with the extra that it wants",
}


def shown() -> dict[str, None]:
    """Commands of code blocks, and those of gmlight within a sentence that have words of their own."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            if not block.startswith("#!"):  # a script for sbatch, which test_slurm.py submits
                found += block.replace("\\\n", " ").splitlines()
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += re.findall(r"`((?:python -m )?gmlight\.\w+ [^`.]*=[^`]*)`", prose)
        found += re.findall(r"`(wandb \w+ [^`]*)`", prose)
    plain = (" ".join(line.split("#")[0].replace(" CIFAR ", f" {CIFAR} ").split()) for line in found)
    return dict.fromkeys(line for line in plain if line)


def of_gmlight(command: str) -> tuple[str, list[str]]:
    """The module, and its words; what stands for something of the reader's is left out, `a=...` say."""
    (module, rest) = re.match(r"(?:python -m )?gmlight\.(\w+) ?(.*)", command).groups()  # type: ignore[union-attr]
    words = shlex.split(re.sub(r"<[^>]*>", lambda found: found[0].replace(" ", "-"), rest))
    return module, [word for word in words if not word.endswith(("...", "="))]


HERE = [command for command in shown() if not any(mark in command for mark in ELSEWHERE)]
TRAINING = [
    words for module, words in map(of_gmlight, HERE) if module == "train" and "resume=" not in str(words)
]
OF_A_RUN = [
    (module, words)
    for module, words in map(of_gmlight, HERE)
    if module in ("evaluate", "analyze", "export", "report") or "resume=" in str(words)
]
SIZES = ("dataset.number", "dataset.size", "dataset.images")
BENCHMARKS = [words for module, words in map(of_gmlight, HERE) if module == "benchmark"]


def chosen(words: list[str], **instead: str) -> list[str]:
    """One value where a sweep has several; other values for some keys."""
    single = [re.sub(r"(=[^\[{,]*),.*$", r"\1", word) for word in words if word != "-m"]
    single = [word for word in single if not word.startswith("hydra")]
    single = [word.replace("<distance>", "sse").replace("<method>", "md") for word in single]
    single = [re.sub(r"<[^>]*>", "3", word) for word in single]
    return [word for word in single if word.split("=")[0] not in instead] + [
        f"{key}={value}" for key, value in instead.items() if value
    ]


def test_each_command_is_typed_somewhere() -> None:
    assert len(TRAINING) > 20
    assert len(HERE) == len(TRAINING) + len(OF_A_RUN) + len(BENCHMARKS)
    for mark in ELSEWHERE:
        assert any(mark in command for command in shown()), mark


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_composes(words: list[str]) -> None:
    check(composed(*chosen(words, **{"initialization.path": ""})))


@pytest.mark.parametrize("words", BENCHMARKS, ids=" ".join)
def test_benchmarks_compose(words: list[str]) -> None:
    composed(*chosen(words), name="benchmark")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("commands") / "made"}


@pytest.fixture
def tiny(made: dict[str, Path], typed: Run, tmp_path: Path) -> Path:
    """A copy of a finished run, in runs/ of the current folder."""
    if not made["folder"].exists():
        words = ["evaluation.baselines={random:0,whole:0}", "method=dc", f"hydra.run.dir={made['folder']}"]
        result = typed("train", *TINY, *words)
        assert result.returncode == 0, result.stderr
    return shutil.copytree(made["folder"], tmp_path / "runs" / "digits-ipc2" / "made")


@pytest.mark.parametrize(
    ("module", "words"), OF_A_RUN, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_commands_on_a_run(tiny: Path, typed: Run, module: str, words: list[str]) -> None:
    less = {"evaluation.networks": "1", "evaluation.epochs": "1"}
    instead = {
        "train": {"iterations": "3"},
        "evaluate": less,
        "analyze": less | {"points": "2"},
        "export": {"evaluation.networks": "1"},
        "report": {},
    }[module]
    key = {"train": "resume", "report": "runs"}.get(module, "run")
    if f"{key}=latest" not in words:
        words = [word for word in words if not word.startswith(f"{key}=")]
        instead |= {key: str(tiny if module != "report" else tiny.parent)}
    result = typed(module, *chosen(words, **instead))
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_runs(words: list[str], typed: Run, tmp_path: Path, tiny: Path) -> None:
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for number in range(12):
                Image.new("RGB", (32, 32), (20 * number, 10 * number, 250 - 9 * number)).save(
                    tmp_path / "photos" / part / label / f"{number}.png"
                )
    instead = {"scale": "smoke", "trainer": "cpu", "trainer.devices": ""}
    if "dataset=image_folder" in words:
        instead |= {"dataset.root": "photos"}
    else:
        instead |= {"dataset": "digits"} | dict.fromkeys(SIZES, "")
    if "initialization=artifact" in words:
        instead |= {"initialization.path": str(tiny), "ipc": "2"}
    multirun = ["-m"] if any(word == "-m" or word.startswith("experiment=") for word in words) else []
    result = typed("train", *multirun, *chosen(words, **instead))
    assert result.returncode == 0, result.stdout + result.stderr
