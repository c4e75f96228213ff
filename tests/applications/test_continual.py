"""Tasks, memories and scores of continual learning."""

import statistics

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from gmlight.applications.continual import Task, class_tasks, dataset_tasks, merged, score
from gmlight.applications.task_networks import Distillation, widened
from gmlight.architectures.convnet import ConvNet
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.errors import ConfigError

CLASSES = ("cat", "dog", "hen", "owl", "pig", "rat", "yak")
INFO = DatasetInfo(CLASSES, (0.5,), (0.25,), (1, 4, 4), (1 / 7,) * 7)


def split(images_per_class: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(7).repeat(images_per_class)
    return labels.byte().view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), labels  # pixels show the label


SPLITS = (split(3), split(2))


def test_each_class_comes_in_one_step_with_outputs_in_the_order_of_the_steps() -> None:
    tasks = class_tasks(SPLITS, INFO, 3, seed=0, order=0)
    assert [len(task.classes) for task in tasks] == [3, 2, 2]
    assert sorted(name for task in tasks for name in task.classes) == sorted(CLASSES)
    assert [task.outputs for task in tasks] == [(0, 1, 2), (3, 4), (5, 6)]
    for task in tasks:
        for (images, labels), number in zip(task.splits, (3, 2), strict=True):
            assert len(images) == number * len(task.classes)
            shown = [CLASSES[int(image[0, 0, 0])] for image in images]
            assert shown == [task.classes[int(label)] for label in labels]


def test_orders_differ_and_depend_on_the_seed_alone() -> None:
    def order(seed: int, number: int) -> list[tuple[str, ...]]:
        return [task.classes for task in class_tasks(SPLITS, INFO, 3, seed, number)]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, number)) for seed in range(3) for number in range(3)}) > 6


@pytest.mark.parametrize("steps", [1, 4])
def test_steps_are_limited_by_the_classes(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps={steps}: must be from 2 to 3"):
        class_tasks(SPLITS, INFO, steps, seed=0, order=0)


def test_a_task_is_tested_by_the_outputs_and_trained_by_its_own_labels() -> None:
    task = class_tasks(SPLITS, INFO, 3, seed=0, order=0)[1]
    test, train = task.test(7, torch.device("cpu")), task.train(torch.device("cpu"))
    assert test.labels.tolist() == [3, 3, 4, 4]
    assert len(test.counts) == 7
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    pixels = train.batch(torch.tensor([0]))[0] * 0.25 + 0.5
    assert pixels.flatten()[0].item() == pytest.approx(CLASSES.index(task.classes[0]) / 255)
    chosen = task.remembered(LabelledImages(torch.zeros(3, 1, 4, 4), torch.tensor([1, 0, 1])))
    assert chosen.labels.tolist() == [4, 3, 4]
    read = task.source().read(download=False)
    assert read.info.classes == task.classes
    assert (read.info.mean, read.info.std) == ((0.5,), (0.25,))


def test_datasets_are_brought_to_one_shape_and_share_the_outputs() -> None:
    colour = torch.zeros(14, 3, 8, 8, dtype=torch.uint8)
    colour[:, 0] = 200
    read = [("grey", SPLITS, INFO), ("colour", ((colour, SPLITS[1][1]),) * 2, INFO)]
    tasks = dataset_tasks(read, INFO)
    assert [task.name for task in tasks] == ["grey", "colour"]
    assert all(task.outputs == tuple(range(7)) for task in tasks)
    images = tasks[1].splits[0][0]
    assert images.shape == (14, 1, 4, 4)
    assert images.unique().tolist() == [60]  # 0.299 of 200
    assert torch.equal(tasks[0].splits[0][0], SPLITS[0][0])
    wide = dataset_tasks(read, DatasetInfo(CLASSES, (0.5,) * 3, (0.25,) * 3, (3, 8, 8), (1 / 7,) * 7))
    assert wide[0].splits[0][0].shape == (21, 3, 8, 8)
    assert torch.equal(wide[1].splits[0][0], colour)


def test_datasets_with_other_numbers_of_classes_are_refused() -> None:
    other = DatasetInfo(CLASSES[:3], (0.5,), (0.25,), (1, 4, 4), (1 / 3,) * 3)
    with pytest.raises(ConfigError, match="datasets: small has 3 classes, not 7"):
        dataset_tasks([("large", SPLITS, INFO), ("small", SPLITS, other)], INFO)


def test_a_merged_memory_stores_what_its_parts_store() -> None:
    parts = [LabelledImages(torch.full((4, 1, 2, 2), float(i)), torch.full((4,), i), 5 + i) for i in range(2)]
    joined = merged(parts)
    assert joined.labels.tolist() == [0] * 4 + [1] * 4
    assert joined.images[:, 0, 0, 0].tolist() == [0.0] * 4 + [1.0] * 4
    assert joined.floats == 11


def test_scores_of_accuracies_written_by_hand() -> None:
    first = [[90.0], [70.0, 80.0], [60.0, 85.0, 50.0]]
    second = [[80.0], [60.0, 60.0], [40.0, 65.0, 70.0]]
    found = score([first, second], images=[10, 20, 30])
    assert found.curve[0] == 85.0
    assert found.curve[1] == pytest.approx((10 * 65 + 20 * 70) / 30)
    assert found.curve[2] == pytest.approx((10 * 50 + 20 * 75 + 30 * 60) / 60)
    assert found.average == pytest.approx(statistics.fmean(found.curve))
    assert found.forgetting == pytest.approx(((85 - 50) + (70 - 75)) / 2)


def test_forgetting_counts_from_the_best_accuracy_not_from_the_first() -> None:
    found = score([[[50.0], [90.0, 80.0], [60.0, 75.0, 50.0]]], images=[10, 10, 10])
    assert found.forgetting == pytest.approx(((90 - 60) + (80 - 75)) / 2)


def network(outputs: int) -> ConvNet:
    return ConvNet(channels=1, size=(8, 8), classes=outputs, width=4, depth=2, norm="batch")


def test_a_widened_network_computes_the_same_on_the_outputs_of_both() -> None:
    before, images = network(3).eval(), torch.randn(5, 1, 8, 8)
    before(images)
    after = widened(lambda: network(5), before).eval()
    logits = after(images)
    assert logits.shape == (5, 5)
    torch.testing.assert_close(logits[:, :3], before(images))


def test_distillation_is_the_divergence_of_softened_outputs() -> None:
    ours, before = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    expected = 0.0
    for row, target in zip(ours, before, strict=True):
        q, p = softmax(row[:3] / 2, 0), softmax(target / 2, 0)
        expected += float((p * (p / q).log()).sum()) / 6
    assert Distillation(0.5, 2.0).loss(ours, before).item() == pytest.approx(0.5 * 4 * expected)
    assert Distillation(1.0, 2.0).loss(before, before).item() == pytest.approx(0)


def test_tasks_of_a_dataset_without_an_image_of_a_class_are_refused() -> None:
    task = Task("a, b", ("a", "b"), (0, 1), ((SPLITS[0][0][:3], torch.zeros(3).long()),) * 2, INFO)
    with pytest.raises(ConfigError, match="class 'b' has no training image"):
        task.source().read(download=False)


def test_the_extra_loss_acts_on_the_training() -> None:
    from gmlight.data.augmentation import none
    from gmlight.training.ensemble import Ensemble
    from gmlight.training.steps import SGDSettings, training_steps

    def trained(extra: object) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
        images = LabelledImages(torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))
        steps = training_steps(
            Ensemble([net]), SGDSettings(lr=0.1, momentum=0, weight_decay=0).over(net.parameters()), images,
            batch_size=4, rngs=[torch.Generator()], augmentation=none, extra_loss=extra,  # type: ignore[arg-type]
        )  # fmt: skip
        before = net[1].weight.detach().clone()
        next(steps)
        return (net[1].weight - before).detach(), images

    plain, images = trained(None)
    pulled, _ = trained(lambda inputs, logits: 3 * logits[0][:, 0].sum())
    expected = torch.zeros(2, 16)
    expected[0] = -0.1 * 3 * images.images.flatten(1).sum(0)
    torch.testing.assert_close(pulled - plain, expected)
