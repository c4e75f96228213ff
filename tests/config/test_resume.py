"""A run that is stopped anywhere and resumed gives the bits of an undisturbed run."""

import copy
import csv
import itertools
import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gmlight import CondensedDataset
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.condensation.condenser import Condenser
from gmlight.config.path_words import prepare_paths
from gmlight.config.resume import claim, expand, read_run, refuse_changes
from gmlight.config.sweep_resume import _choices, split_jobs
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from gmlight.training.evaluator import Evaluator
from helpers.runs import TINY, Run, composed, refusal

WORDS = [
    *TINY, "iterations=3", "updates=2", "schedule.epochs=2", "schedule=fixed", "evaluation.epochs=2",
    "evaluation.every=2", "evaluation.quick_networks=2", "log_every=1", "checkpoint.every=2",
]  # fmt: skip


@pytest.fixture
def stop_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str, int], None]:
    """Sends SIGTERM to this process when a method is called for the nth time, counted from 0."""

    def _stop_in(owner: type, name: str, nth: int) -> None:
        method, calls = getattr(owner, name), itertools.count()

        def stopping(*args: Any, **keywords: Any) -> Any:
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGTERM)
            return method(*args, **keywords)

        monkeypatch.setattr(owner, name, stopping)

    return _stop_in


OUTCOMES: list[tuple] = []


@pytest.fixture
def undisturbed(typed: Run, tmp_path: Path) -> tuple:
    """Outcome of an undisturbed run; computed once."""
    if not OUTCOMES:
        result = typed("train", *WORDS, "hydra.run.dir=undisturbed")
        assert result.returncode == 0, result.stderr
        OUTCOMES.append(outcome(tmp_path / "undisturbed"))
    return OUTCOMES[0]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all tests of this file share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def finished(typed: Run, kept: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of one iteration."""
    if not (kept / "run").exists():
        words = [*WORDS, "iterations=1", "evaluation.networks=1", f"hydra.run.dir={kept / 'run'}"]
        assert typed("train", *words).returncode == 0
    return shutil.copytree(kept / "run", tmp_path / "run")


def outcome(folder: Path) -> tuple[bytes, list | None, list[str], list[list[float]]]:
    """Returns the results that must not depend on whether the run was stopped."""
    result = json.loads((folder / "result.json").read_text())
    with (folder / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    varying = {"speed/iterations_per_second", "memory/peak_gib"}
    # Sorted, because an evaluation may come later.
    metrics = sorted(json.dumps([line[key] for key in sorted(line.keys() - varying)]) for line in lines)
    return (
        (folder / "condensed" / "condensed.safetensors").read_bytes(),
        result["zeta_used"] if result["config"]["iterations"] else None,
        metrics,
        [row["accuracy"]["values"] for row in result["evaluations"]],
    )


SAMPLING = {
    "representative": ["sampling.every=2", "sampling.steps=2", "sampling.nearest=2"],
    "dream": ["sampling.every=3", "sampling.nearest=2", "multi_size=true"],  # clustered at updates 0 and 3
    "easy": ["sampling.networks=1", "sampling.steps=2", "sampling.drop=0.3"],
}


@pytest.mark.parametrize("sampling", SAMPLING)
def test_steps_beyond_the_paper_resume_in_the_same_bits(
    sampling: str, typed: Run, stop_in: Callable[..., None], tmp_path: Path
) -> None:
    """The run is stopped after the second, the fourth and the fifth update."""
    words = [
        *WORDS, "augmentation=dsa", "synthetic=multi_formation", "network_images=real",
        f"sampling={sampling}", *SAMPLING[sampling], "evaluation.every=0",
    ]  # fmt: skip
    assert typed("train", *words, "hydra.run.dir=undisturbed").returncode == 0
    session = [*words, "hydra.run.dir=made"]
    for updates in (2, 2, 1):
        stop_in(Condenser, "training_step", updates - 1)
        assert typed("train", *session).returncode == 143
        session = ["resume=made"]
    result = typed("train", *session)
    assert result.returncode == 0, result.stderr
    assert "resumed after image update 5\n" in result.stdout
    assert outcome(tmp_path / "made") == outcome(tmp_path / "undisturbed")


def test_stopped_and_resumed_after_every_update(
    typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path
) -> None:
    session = [*WORDS, "hydra.run.dir=run"]
    for update in range(1, 7):
        stop_in(Condenser, "training_step", 0)
        stopped = typed("train", *session)
        assert stopped.returncode == 143
        assert stopped.stderr == f"gmlight: stopped by SIGTERM; continue with resume={tmp_path / 'run'}\n"
        if update > 1:  # the previous session finished its update
            assert f"resumed after image update {update - 1}\n" in stopped.stdout
        session = ["resume=run"]
    resumed = typed("train", *session)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after image update 6\n" in resumed.stdout
    assert outcome(tmp_path / "run") == undisturbed


@pytest.mark.parametrize(
    "nth", [0, 3, 5], ids=["in a quick evaluation", "in the evaluation at the end", "of random images"]
)
def test_stopped_evaluation_is_resumed(
    typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path, nth: int
) -> None:
    stop_in(Evaluator, "trained", nth)
    stopped = typed("train", *WORDS, "hydra.run.dir=run")
    assert stopped.returncode == 143
    assert stopped.stderr == f"gmlight: stopped by SIGTERM; continue with resume={tmp_path / 'run'}\n"
    resumed = typed("train", "resume=run")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path / "run") == undisturbed


def test_known_accuracies_are_not_computed_again(
    typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in(Evaluator, "trained", 5)
    typed("train", *WORDS, "hydra.run.dir=run")
    monkeypatch.undo()
    trained_members: list[int] = []
    trained = Evaluator.trained

    def counted(self: Evaluator, images: Any, members: Any, *progress: Any) -> Any:
        trained_members.extend(members)
        return trained(self, images, members, *progress)

    monkeypatch.setattr(Evaluator, "trained", counted)
    assert typed("train", "resume=run").returncode == 0
    assert trained_members == [1]  # the last of four
    assert outcome(tmp_path / "run") == undisturbed


def test_chosen_images_are_kept_on_resume(
    typed: Run, stop_in: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in WORDS if not word.startswith("iterations")]
    words += ["method=herding", "initialization.epochs=1"]
    assert typed("train", *words, "hydra.run.dir=undisturbed").returncode == 0
    stop_in(Evaluator, "trained", 1)
    assert typed("train", *words, "hydra.run.dir=run").returncode == 143
    monkeypatch.undo()
    # On another device, rounding might lead to another choice.
    monkeypatch.delattr("gmlight.condensation.initialization.herd")
    other = typed("train", "resume=run", "ipc=1")
    assert other.returncode == 1
    assert "would change the synthetic set of the run: ipc=1 (was 2)" in other.stderr
    result = typed("train", "resume=run")
    assert result.returncode == 0, result.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "undisturbed")


def test_finished_run_is_resumed_for_more_iterations(typed: Run, undisturbed: tuple, tmp_path: Path) -> None:
    shorter = [word for word in WORDS if not word.startswith("iterations")]
    assert typed("train", *shorter, "iterations=2", "hydra.run.dir=run").returncode == 0
    finished = refusal(typed("train", "resume=run"))
    assert "the run is finished; raise iterations= above 2" in finished
    fewer = refusal(typed("train", "resume=run", "iterations=1"))
    assert "iterations=1: the run has 2; use no fewer" in fewer
    assert typed("train", "resume=run", "iterations=3").returncode == 0
    assert outcome(tmp_path / "run")[0] == undisturbed[0]
    kept = json.loads((tmp_path / "run" / "result-k2.json").read_text())
    assert kept["config"]["iterations"] == 2
    assert len(CondensedDataset(tmp_path / "run" / "condensed-k2")) == 20
    command = json.loads((tmp_path / "run" / "result.json").read_text())["command"]
    assert command == "python -m gmlight.train " + " ".join([*shorter, "iterations=3"])


def test_job_of_a_sweep_is_resumed(typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path) -> None:
    stop_in(Condenser, "training_step", 2)
    sweep = typed("train", "-m", *WORDS, "seed=0,1", "hydra.sweep.dir=sweep")
    assert sweep.returncode == 143
    assert not (tmp_path / "sweep" / "1").exists()  # the signal stopped the whole sweep
    resumed = typed("train", "resume=sweep/0")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path / "sweep" / "0") == undisturbed


def test_a_sweep_is_resumed_as_a_whole(
    typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path
) -> None:
    """A finished job is left alone, a stopped one goes on, one that never began begins."""
    stop_in(Condenser, "training_step", 6)  # the second update of the second job
    stopped = typed("train", "-m", *WORDS, "seed=1,0,2", "hydra.sweep.dir=sweep")
    assert stopped.returncode == 143
    assert f"resume={tmp_path / 'sweep'}" in stopped.stderr
    first = tmp_path / "sweep" / "0" / "result.json"
    before = first.read_bytes(), first.stat().st_mtime_ns
    resumed = typed("train", "resume=sweep")
    assert resumed.returncode == 0, resumed.stderr
    assert "seed 1: already finished" in " ".join(resumed.stdout.split())
    assert "runs     3 of 3 finished" in resumed.stdout
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert outcome(tmp_path / "sweep" / "1") == undisturbed
    assert json.loads((tmp_path / "sweep" / "2" / "result.json").read_text())["config"]["seed"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image_lr=1"], "would change the synthetic set of the run: image_lr=1 (was 0.1)"),
        (
            ["distance=cos"],
            "distance._target_=gmlight.matching.distances.cos (was gmlight.matching.distances.cos_euclid)",
        ),
        (["speed.precision=bfloat16"], "speed.precision=bfloat16 (was float32)"),
        (["-m"], "one run is resumed, not a sweep"),
    ],
)
def test_changes_that_make_another_run_are_refused(
    typed: Run, finished: Path, words: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert message in refusal(typed("train", "resume=run", *words))
    del before[finished / ".lock"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_missing_run(typed: Run, tmp_path: Path) -> None:
    assert "resume=nowhere: no run there" in refusal(typed("train", "resume=nowhere"))
    assert "there is no run in runs/" in refusal(typed("train", "resume=latest"))
    assert not any(tmp_path.iterdir())


def test_damaged_checkpoint(typed: Run, undisturbed: tuple, stop_in: Callable, tmp_path: Path) -> None:
    stop_in(Condenser, "training_step", 4)
    typed("train", *WORDS, "hydra.run.dir=run")
    folder = RunFolder(tmp_path / "run")
    last, previous = folder.last_checkpoint, folder.previous_checkpoint
    last.write_bytes(last.read_bytes()[:-1])
    resumed = typed("train", "resume=run")
    assert (
        "last.ckpt: damaged, or not a checkpoint of gmlight; using the previous checkpoint" in resumed.stdout
    )
    assert "resumed after image update 4\n" in resumed.stdout
    assert outcome(tmp_path / "run") == undisturbed
    for checkpoint in (last, previous):
        checkpoint.write_bytes(b"")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    for words in (["resume=run"], ["resume=run", "iterations=9"]):
        assert "no checkpoint can be read, start a new run" in refusal(typed("train", *words))
    for checkpoint in (last, previous):
        checkpoint.unlink()
        del before[checkpoint]
    assert "is finished and has no checkpoint" in refusal(typed("train", "resume=run", "iterations=9"))
    del before[tmp_path / "run" / ".lock"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_overrides_of_run_and_command_line_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 1)):
        folder = tmp_path / "runs" / "it's" / name
        folder.mkdir(parents=True)
        command = (
            f"# python -m gmlight.train --config-dir conf 'dataset.mean=[.1, .2]' seed={seed} hydra.run.dir=x"
        )
        (folder / "config.yaml").write_text(command + "\nseed: 0\n")
        os.utime(folder / "config.yaml", (seed, seed))
    with pytest.raises(ConfigError, match="the run had --config-dir conf, which is not followed from a file"):
        expand(prepare_paths(["resume=latest"]))
    words = expand(prepare_paths(["resume=latest", "+seed=7", "--config-dir", "conf", "log_every=1"]))
    assert words == [
        "--config-dir", "conf", "dataset.mean=[.1, .2]", "+seed=7", "log_every=1",
        "resume='runs/it\\'s/b'", "hydra.run.dir='runs/it\\'s/b'", "hydra.mode=RUN",
    ]  # fmt: skip
    assert expand(words)[-5:] == words[-5:]  # Lightning starts the other processes of a run this way
    assert expand(["seed=1", "-m"]) == ["seed=1", "-m"]


HOSTILE_SWEEPS: dict[str, tuple[Any, str]] = {
    "text": ("scale=smoke", "not the configuration of a sweep"),
    "number": (5, "not the configuration of a sweep"),
    "unreadable": (["seed=choice("], "no viable alternative at input"),
    "endless": (["seed=range(0,1000000000)"], "more than 10000 jobs"),
    "endless together": (
        [f"{key}=range(0,200)" for key in ("seed", "ipc", "updates")],
        "more than 10000 jobs",
    ),
    "standing": (["seed=range(0,9,0)"], "more than 10000 jobs"),
    "options of the disk": (["dataset=glob(*)"], r"or glob\(\); name the folder of one run"),
}


@pytest.mark.parametrize("name", HOSTILE_SWEEPS)
def test_a_strangers_sweep_is_refused_before_it_is_listed(name: str, tmp_path: Path) -> None:
    words, line = HOSTILE_SWEEPS[name]
    hydra = {"overrides": {"task": words, "hydra": []}, "runtime": {"choices": {"hydra/sweeper": "basic"}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    with pytest.raises(ConfigError, match=line) as raised:
        expand(prepare_paths([f"resume={tmp_path}"]))
    assert "\n" not in str(raised.value)


def test_jobs_of_a_sweep_are_counted_by_hand() -> None:
    assert len(split_jobs(["seed=range(0,10,3)", "ipc=1,2", "scale=smoke"], "x")) == 8
    for words, jobs in (("seed=range(0,0)", 1), ("seed=range(5)", 5), ("seed=range(4,0,-2)", 2)):
        assert _choices(OverridesParser.create().parse_override(words)) == jobs
    assert split_jobs(["seed=1,2", "seed=5", "ipc=choice(1,3)"], "x") == [
        ["seed=5", "ipc=1"],
        ["seed=5", "ipc=3"],
    ]


@pytest.mark.parametrize("value", ["x", None, -1, float("inf"), True])
def test_a_run_without_a_number_of_iterations_is_refused(value: object, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"iterations": value, "command": ["seed=1"]}))
    with pytest.raises(ConfigError, match=r"config.yaml: not the configuration of a run \(iterations\)"):
        expand(prepare_paths([f"resume={tmp_path}"]))


def test_another_option_drops_the_keys_set_inside_the_former(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    stored = ["distance=cos_euclid", "distance.weight=3", "matching.inter_weight=2", "seed=1"]
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "command": stored}))
    kept = expand(prepare_paths([f"resume={folder}", "distance=cos"]))
    assert kept[:3] == ["matching.inter_weight=2", "seed=1", "distance=cos"]
    kept = expand(prepare_paths([f"resume={folder}", "distance.weight=4"]))
    assert kept[:4] == ["distance=cos_euclid", "matching.inter_weight=2", "seed=1", "distance.weight=4"]


def test_command_is_stored_as_data(tmp_path: Path) -> None:
    """Its words come from the key `command` of config.yaml, not from the comment."""
    folder = RunFolder(tmp_path)
    words = ["--config-dir", "my conf", "dataset.mean=[.1, .2]", "seed=1"]
    config = {"iterations": 2, "seed": 1, "distance": {"weight": 1.0}}
    command = shlex.join(["python", "-m", "gmlight.train", *words])
    record = RunRecord(command, words[2:], {}, config, "mda", [], "paper", "convnet", "plain")
    claim(folder, record, resumed=False)
    with pytest.raises(ConfigError, match="already holds a run; choose another with hydra"):
        claim(folder, record, resumed=False)
    text = folder.config.read_text()
    assert text.startswith(f"# {command}\n")
    assert yaml.safe_load(text) == {"command": words} | config
    folder.config.write_text(text.replace("# python", "# something else"))
    assert read_run(folder) == (words, config)
    refuse_changes(folder, config)
    with pytest.raises(ConfigError, match=r"synthetic set of the run: seed=2 \(was 1\)"):
        refuse_changes(folder, config | {"seed": 2})
    claim(folder, replace(record, config=config | {"iterations": 3}), resumed=True)
    assert read_run(folder) == (words, config | {"iterations": 3})


MAY_CHANGE = (
    "checkpoint.every=1", "checkpoint.minutes=1", "log_every=1", "diagnose_every=2", "download=false",
    "data_dir=elsewhere", "evaluation.networks=3", "evaluation.every=1", "evaluation.test_batch=7",
    "memory.classes_per_chunk=2", "memory.device_share=0.5", "speed.compile=false", "speed.microbatch=3",
    "speed.classes_per_block=2", "speed.allocator=off", "iterations=21", "trainer=cpu", "logger=none",
)  # fmt: skip
MAY_NOT_CHANGE = (
    "ipc=3", "updates=4", "image_steps=2", "real_batch=5", "mixed_batch=6", "statistics_batch=7",
    "train_batch=8", "network_images=real", "image_lr=0.2", "image_momentum=0.4", "network_lr=0.02",
    "network_momentum=0.4", "network_weight_decay=0.1", "network_cutmix=0.1", "seed=1",
    "synthetic_batch=1", "image_lr_warmup=0.1", "image_lr_decay=cosine", "clip_images=true",
    "multi_size=true", "matching.step=class", "network_start=pool",
    "pool.networks=3", "pool.epochs=1", "pool.least=0", "pool.most=1",
    "holdout=0.1", "speed.precision=bfloat16", "speed.network_precision=bfloat16", "evaluation.cutmix=0.5",
    "matching=inter", "matching.class_weights=batch", "distance=mse", "distance.weight=2", "schedule=fixed",
    "schedule.unit=steps", "initialization=real", "synthetic=multi_formation", "augmentation=dsa",
    "sampling=representative", "sampling=easy", "sampling=dream", "architecture=mlp", "architecture.width=9",
    "dataset.mean=[0.2]",
    "dataset.std=[0.2]", "scale.real_batch=5", "scale.networks=9", "scale.epochs=9", "scale.name=mine",
)  # fmt: skip


def test_which_keys_may_change_on_resume(tmp_path: Path) -> None:
    config, folder = composed(), RunFolder(tmp_path)

    def with_word(word: str) -> dict[str, Any]:
        key, value = word.split("=", 1)
        changed = config.copy()
        if (CONF_DIR / key).is_dir():
            changed = composed(word)
        else:  # as composing does, in a hundredth of the time
            OmegaConf.update(changed, key, yaml.safe_load(value), force_add=True)
        return OmegaConf.to_container(changed, resolve=True)  # type: ignore[return-value]

    def is_accepted(word: str) -> bool:
        try:
            refuse_changes(folder, with_word(word))
        except ConfigError as error:
            return "would change the synthetic set of the run: " not in str(error)
        return True

    folder.config.write_text(yaml.safe_dump({"command": []} | with_word("seed=0")))
    assert [word for word in MAY_CHANGE if not is_accepted(word)] == []
    assert [word for word in MAY_NOT_CHANGE if is_accepted(word)] == []
    with pytest.raises(ConfigError, match="iterations=19: the run has 20; use no fewer"):
        refuse_changes(folder, with_word("iterations=19"))


@pytest.mark.parametrize("word", ["image_lr_decay=linear", "image_lr_warmup=0.2"])
def test_a_rate_that_follows_the_iterations_keeps_their_number(word: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    now: Any = OmegaConf.to_container(composed(word), resolve=True)
    folder.config.write_text(yaml.safe_dump({"command": []} | now))
    refuse_changes(folder, now)
    more = now | {"iterations": now["iterations"] + 1}
    with pytest.raises(
        ConfigError, match=rf"iterations={more['iterations']}: image_lr follows the run's {now['iterations']}"
    ):
        refuse_changes(folder, more)


def test_a_run_of_a_version_without_a_key_had_its_default(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    now: Any = OmegaConf.to_container(composed(), resolve=True)
    older = copy.deepcopy(now)
    del older["matching"]["layers"]
    folder.config.write_text(yaml.safe_dump({"command": []} | older))
    refuse_changes(folder, now)
    with pytest.raises(ConfigError, match=r"matching.layers=conv \(was all\); start a new run"):
        refuse_changes(folder, now | {"matching": now["matching"] | {"layers": "conv"}})


def test_folder_is_locked_by_one_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with (
        folder.locked(),
        pytest.raises(ConfigError, match=rf"is in use by process {os.getpid()} on "),
        folder.locked(),
    ):
        pass
    with folder.locked():
        pass
