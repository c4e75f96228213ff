"""Every command in README.md and docs/ works.

- Training commands are composed; the slow tier also runs them, on the digits at the smallest scale.
- Commands that read a run are run on a tiny one.
- `TESTED_ELSEWHERE` lists commands that need more than this, and where they are tested.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gmlight.config.compose import instantiate
from gmlight.config.spelling import check_spelling
from gmlight.config.validate import check
from helpers.runs import TINY, Run, composed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CIFAR = (
    "dataset=image_folder dataset.root=cifar10-jpeg dataset.name=cifar10-jpeg "
    "dataset.mean=[.4914,.4822,.4465] dataset.std=[.2470,.2435,.2616]"
)  # the abbreviation in docs/results.md

TESTED_ELSEWHERE = {
    "make": "continuous integration",
    "pip install": "nowhere: needs a package index",
    "torchrun": "test_distributed.py and test_launchers.py, with other settings",
    "hydra/launcher=submitit_slurm": "test_slurm.py, on a real Slurm",
    "--config-dir": "test_readme.py and test_docs.py, with the code on the same page",
    "wandb": "nowhere: needs a W&B account",
    "experiment=search": "test_launchers.py, if the extra is installed",
    "gmlight.continual resume=": "test_continual.py",
    "push=": "test_hub.py, on a hub of this machine",
    "hf://": "test_hub.py, on a hub of this machine",
}


def shown() -> dict[str, None]:
    """Returns the commands in bash blocks, and gmlight commands with arguments in running text and tables."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            if not block.startswith("#!"):  # an sbatch script, tested by test_slurm.py
                found += block.replace("\\\n", " ").splitlines()
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found += re.findall(r"`((?:python -m )?gmlight\.\w+ [^`.]*=[^`]*)`", prose)
        found += re.findall(r"`(wandb \w+ [^`]*)`", prose)
    plain = (" ".join(line.split("#")[0].replace(" CIFAR ", f" {CIFAR} ").split()) for line in found)
    return dict.fromkeys(line for line in plain if line)


def parse(command: str) -> tuple[str, list[str]]:
    """Returns the module and its arguments, without placeholders such as `a=...`."""
    (module, rest) = re.match(r"(?:python -m )?gmlight\.(\w+) ?(.*)", command).groups()  # type: ignore[union-attr]
    words = shlex.split(re.sub(r"<[^>]*>", lambda found: found[0].replace(" ", "-"), rest))
    return module, [word for word in words if not word.endswith(("...", "="))]


TESTED_HERE = [command for command in shown() if not any(mark in command for mark in TESTED_ELSEWHERE)]
TRAINING = [
    words for module, words in map(parse, TESTED_HERE) if module == "train" and "resume=" not in str(words)
]
ON_A_RUN = [
    (module, words)
    for module, words in map(parse, TESTED_HERE)
    if module in ("evaluate", "analyze", "export", "report", "proxy") or "resume=" in str(words)
]
SIZES = ("dataset.number", "dataset.size", "dataset.images", "dataset.path")
BENCHMARKS = [words for module, words in map(parse, TESTED_HERE) if module == "benchmark"]
CONTINUAL = [
    words
    for module, words in map(parse, TESTED_HERE)
    if module == "continual" and "resume=" not in str(words)
]
# They need files; test_convert.py and test_merge.py run them.
ON_FILES = [(module, words) for module, words in map(parse, TESTED_HERE) if module in ("convert", "merge")]


def single_run(words: list[str], **replaced: str) -> list[str]:
    """Returns the arguments with one value per sweep key, placeholders filled in, and some keys replaced."""
    single = [re.sub(r"(=[^\[{,]*),.*$", r"\1", word) for word in words if word != "-m"]
    single = [word for word in single if not word.startswith("hydra")]
    single = [word.replace("<distance>", "sse").replace("<method>", "md") for word in single]
    single = [re.sub(r"<[^>]*>", "3", word) for word in single]
    return [word for word in single if word.split("=")[0] not in replaced] + [
        f"{key}={value}" for key, value in replaced.items() if value
    ]


def test_every_command_is_tested_somewhere() -> None:
    assert len(TRAINING) > 20
    elsewhere = len(BENCHMARKS) + len(CONTINUAL) + len(ON_FILES)
    assert len(TESTED_HERE) == len(TRAINING) + len(ON_A_RUN) + elsewhere
    for mark in TESTED_ELSEWHERE:
        assert any(mark in command for command in shown()), mark


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_composes(words: list[str]) -> None:
    check(composed(*single_run(words, **{"initialization.path": ""})))


@pytest.mark.parametrize("words", BENCHMARKS, ids=" ".join)
def test_benchmarks_compose(words: list[str]) -> None:
    composed(*single_run(words), name="benchmark")


@pytest.mark.parametrize("words", CONTINUAL, ids=" ".join)
def test_continual_learning_composes(words: list[str]) -> None:
    words = [word.replace("memory=", "memories=") for word in words]  # as gmlight.continual does
    check(composed(*single_run(words), name="continual"))


@pytest.mark.parametrize(("module", "words"), ON_FILES, ids=str)
def test_conversions_compose(module: str, words: list[str]) -> None:
    check_spelling(module, words)
    config = composed(*single_run(words), name=module)
    if module == "convert":
        check(config)
        assert callable(instantiate(config.layout))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("commands") / "made"}


@pytest.fixture
def tiny(made: dict[str, Path], typed: Run, tmp_path: Path) -> Path:
    """Copies a finished run into runs/ of the current folder."""
    if not made["folder"].exists():
        words = ["evaluation.baselines={random:0,whole:0}", "method=dc", f"hydra.run.dir={made['folder']}"]
        result = typed("train", *TINY, *words)
        assert result.returncode == 0, result.stderr
    return shutil.copytree(made["folder"], tmp_path / "runs" / "digits-ipc2" / "made")


@pytest.mark.parametrize(
    ("module", "words"), ON_A_RUN, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_commands_on_a_run(tiny: Path, typed: Run, module: str, words: list[str]) -> None:
    less = {"evaluation.networks": "1", "evaluation.epochs": "1"}
    replaced = {
        "train": {"iterations": "3"},
        "evaluate": less,
        "analyze": less | {"points": "2"},
        "export": {},
        "report": {},
        "proxy": {"evaluation.epochs": "1", "dry_run": "true", "proxies.herding": "false"},
    }[module]
    key = {"train": "resume", "report": "runs"}.get(module, "run")
    if f"{key}=latest" not in words:
        words = [word for word in words if not word.startswith(f"{key}=")]
        replaced |= {key: str(tiny if module != "report" else tiny.parent)}
    result = typed(module, *single_run(words, **replaced))
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
    replaced = {"scale": "smoke", "trainer": "cpu", "trainer.devices": ""}
    if "dataset=image_folder" in words:
        replaced |= {"dataset.root": "photos", "dataset.classes": ""}
    else:
        replaced |= {"dataset": "digits"} | dict.fromkeys(SIZES, "")
    if "initialization=artifact" in words:
        replaced |= {"initialization.path": str(tiny), "ipc": "2"}
    multirun = ["-m"] if any(word == "-m" or word.startswith("experiment=") for word in words) else []
    result = typed("train", *multirun, *single_run(words, **replaced))
    assert result.returncode == 0, result.stdout + result.stderr
