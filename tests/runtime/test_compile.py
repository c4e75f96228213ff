"""Compilation: which functions, when, and the fallback."""

import functools
import shutil
import sys
from collections.abc import Callable

import pytest
import torch

from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator
from gmlight.runtime.compile import MIN_OPERATIONS, Compilation, Compiled, missing_compiler
from helpers.problems import gradient_engine, random_images, small_network
from helpers.runs import composed

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("choice", "operations", "device", "expected"),
    [
        ("auto", MIN_OPERATIONS * 2, "cpu", True),
        ("auto", MIN_OPERATIONS / 2, "cpu", False),
        ("auto", MIN_OPERATIONS * 2, "cuda", False),
        (True, 1, "cpu", True),
        (False, MIN_OPERATIONS * 2, "cpu", False),
    ],
)
def test_auto_compiles_when_it_saves_time(
    choice: bool | str, operations: float, device: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert Compilation(choice, print).should_compile(lambda: operations, torch.device(device)) is expected


def test_missing_compiler_prints_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("CXX", raising=False)
    assert str(missing_compiler(CPU)).startswith("the C++ compiler g++ ")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert str(missing_compiler(CPU)).startswith("the C++ compiler clang++ ")
    monkeypatch.setenv("CXX", "icpx")
    assert str(missing_compiler(CPU)).startswith("the C++ compiler icpx ")
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(sys, "platform", "linux")
    lines: list[str] = []
    compilation = Compilation(True, lines.append)
    assert not compilation.should_compile(lambda: 1, CPU)
    assert not compilation.should_compile(lambda: 1, CPU)
    assert lines == [
        "speed.compile=true: not compiled, the C++ compiler g++ (install it or set CXX) is missing"
    ]


def test_only_the_first_shapes_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def compile(function: Callable[[torch.Tensor], torch.Tensor], **options: object) -> Callable:
        def compiled(values: torch.Tensor) -> torch.Tensor:
            calls.append("compiled")
            return function(values)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    lines: list[str] = []
    doubled = Compiled(lambda values: 2 * values, "doubling", lines.append)
    for size in (4, 4, 3, 4):
        assert torch.equal(doubled(torch.ones(size)), torch.full((size,), 2.0))
    assert calls == ["compiled"] * 3
    assert len(lines) == 1
    assert lines[0].startswith("compiled doubling in ")
    assert doubled.active


def test_function_that_cannot_be_compiled_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(function: Callable, **options: object) -> Callable:
        def compiled(values: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("\nno backend\nand a long story")

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    lines: list[str] = []
    doubled = Compiled(lambda values: 2 * values, "doubling", lines.append)
    assert doubled(torch.ones(2)).tolist() == [2, 2]
    assert doubled(torch.ones(2)).tolist() == [2, 2]
    assert not doubled.active
    assert lines == ["doubling cannot be compiled and runs uncompiled: no backend"]


@pytest.mark.parametrize(
    ("factor", "active"),
    [(1, True), (1.0011, True), (1.0012, False), (float("nan"), False), (float("inf"), False)],
)
def test_function_that_is_compiled_wrongly_runs_uncompiled(
    factor: float, active: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: lambda values: [factor * 2 * values, values]
    )
    lines: list[str] = []
    compiled = Compiled(lambda values: [2 * values, values], "doubling", lines.append)
    for _ in range(2):
        doubled, same = compiled(torch.tensor([3.0, 0.0]))
        assert doubled.tolist() == pytest.approx([6 * (factor if active else 1), 0])
        assert same.tolist() == [3, 0]
    assert compiled.active is active
    assert len(lines) == 1
    if not active:
        assert lines[0].startswith(f"doubling runs uncompiled: torch {torch.__version__} compiles it wrongly")
        assert "\n" not in lines[0]


def test_a_tolerance_of_its_own_and_numbers_that_are_not_finite_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda values: 1.1 * function(values))
    assert not Compiled(torch.sin, "the sine", print, 0.09)(torch.ones(2)).isnan().any()
    for tolerance, active in ((0.09, False), (0.11, True)):
        compiled = Compiled(torch.sin, "the sine", print, tolerance)
        compiled(torch.ones(2))
        assert compiled.active is active
    diverged = Compiled(torch.log, "the logarithm", print)
    assert diverged(torch.tensor([-1.0])).isnan().all()
    assert diverged.active  # its first numbers cannot be compared


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler(CPU) is not None, reason="there is no compiler")
@pytest.mark.parametrize("norm", ["instance", "batch", "layer"])
def test_compiled_gradients_equal_the_loop(norm: str) -> None:
    lines: list[str] = []
    compiled = gradient_engine(compilation=Compilation(True, lines.append), microbatch=4)
    for network in (small_network(norm).eval(), small_network(norm).eval()):
        images = [random_images(n, 2, 8, 8, seed=n) for n in (8, 6, 4)]  # 6 leaves a smaller microbatch
        expected = gradient_engine().real(network, images)
        for name, actual in compiled.real(network, images).items():
            torch.testing.assert_close(actual, expected[name], rtol=1e-10, atol=1e-14)
        network.train()  # the mode in which the network trains between updates
        network.eval()
    assert len(lines) == 1  # one compilation serves every network
    assert lines[0].startswith("compiled the gradient on real images in ")
    assert compiled.describe()[0]["compiled"] is True


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler(CPU) is not None, reason="there is no compiler")
def test_any_number_of_functions_can_be_compiled() -> None:
    for number in range(torch._dynamo.config.recompile_limit + 2):
        compiled = Compiled(functools.partial(torch.add, torch.tensor(number)), "adding", print)
        assert compiled(torch.ones(2)).tolist() == [number + 1] * 2
        assert compiled.active


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler(CPU) is not None, reason="there is no compiler")
def test_compiled_test_gives_the_same_accuracy() -> None:
    config = composed("architecture.width=8", "evaluation.epochs=8", "evaluation.test_batch=50")
    data = build_data(config).load(CPU)  # 360 test images: the last batch is smaller
    found = []
    for choice in (False, True):
        lines: list[str] = []
        evaluator = build_evaluator(config, config.architecture, data, Compilation(choice, lines.append))
        found.append(evaluator(data.train, 2).values)
        assert len(lines) == choice
    assert found[1] == pytest.approx(found[0], abs=0.6)  # an image near a decision boundary may change class
