"""Representative batches: real images near the centres of clusters."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.builders.data import build_data, build_sampler
from gmlight.builders.parts import build_factory
from gmlight.condensation import sampling
from gmlight.condensation.sampling import MatchedRepresentatives, Representatives, near_centres
from gmlight.config.validate import check
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import RealImages, random_sampling
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.features import before_last_layer, outputs_of
from helpers.problems import real_images, small_network
from helpers.runs import composed, train_tiny

CPU = torch.device("cpu")


def loaded(*words: str) -> CondensationData:
    config = composed("scale=smoke", "sampling=representative", "architecture.width=8", *words)
    factory = build_factory(config.architecture, config.dataset)
    return build_data(config, sampler=build_sampler(config, factory)).load(CPU)


def test_nearest_images_of_each_cluster() -> None:
    """For three distant clouds, returns the middle point of each and then the next nearest."""
    offsets = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.2], [-0.1, -0.2]])  # with mean 0
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    features = (centres.unsqueeze(1) + offsets).flatten(0, 1)
    found = near_centres(features, 3, 2, seed=0)
    assert sorted(found[:, 0].tolist()) == [0, 4, 8]
    assert {tuple(row) for row in found.tolist()} == {(0, 1), (4, 5), (8, 9)}
    few = torch.tensor([[0.0], [0.1], [1.0]])  # with mean 0.37; the nearest is repeated
    assert near_centres(few, 1, 5, seed=0).tolist() == [[1, 0, 2, 1, 1]]


def test_the_seed_draws_the_clusters() -> None:
    features = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    found = [near_centres(features, 20, 1, seed).flatten().sort().values.tolist() for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len({tuple(rows) for rows in found}) == 3


def test_clusters_share_no_image() -> None:
    features = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    found = near_centres(features, 40, 4, seed=0)
    for row in found:
        assert not set(row.tolist()) & set(found[found[:, 0] != row[0]].flatten().tolist())
    labels = {int(i): c for c, row in enumerate(found) for i in row}
    centres = torch.stack([features[[i for i in labels if labels[i] == c]].mean(0) for c in range(40)])
    assert torch.cdist(features[found[:, 0]], centres).argmin(1).tolist() == list(range(40))


def test_equal_features_still_give_distinct_images() -> None:
    found = near_centres(torch.zeros(20, 3), 8, 1, seed=0)
    assert len(found.unique()) == 8


def test_diverging_network_raises_a_one_line_error() -> None:
    data = loaded("real_batch=8", "network_lr=1e30", "sampling.steps=5")
    with pytest.raises(ConfigError, match="network_lr"):
        data.draw(0, 0)


def test_mixed_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match="mixed_real=0"):
        check(composed("sampling=representative", "matching=inter", "matching.mixed_real=64"))


def test_representatives_are_stored_in_checkpoints() -> None:
    words = ("real_batch=8", "sampling.every=4")
    first, later = loaded(*words), loaded(*words)
    drawn = first.draw(1, 0).images[:]
    state = first.state_dict()
    state["found"][1][0][:, 0] = 77  # as if another device had found it
    later.load_state_dict(state)
    assert not torch.equal(later.draw(1, 0).images[:][0], drawn[0])
    assert torch.equal(later.draw(1, 0).images[:][1:], drawn[1:])
    assert first.sampling_seconds(8) == 2 * first.sampling_seconds(4) > 0


def test_batch_has_the_requested_size_for_each_class() -> None:
    data = loaded("real_batch=8")
    batch = data.draw(0, 0)
    assert batch.images.sizes == [8] * 10
    labels = [data.train.labels[indices].unique().tolist() for indices in batch.images._indices]
    assert labels == [[c] for c in range(10)]
    assert all(len(indices.unique()) == 8 for indices in batch.images._indices)


def test_small_class_gives_all_its_images() -> None:
    data = loaded("real_batch=500")
    assert data.draw(0, 0).images.sizes == data.train.counts


def test_batches_depend_on_seed_and_iteration_alone() -> None:
    """A run resumed at k = 3 draws the same batches as an uninterrupted one."""
    words = ("real_batch=8", "sampling.every=2", "sampling.steps=3", "sampling.nearest=2")
    whole = loaded(*words)
    drawn = {(k, t): whole.draw(k, t).images[:] for k in range(4) for t in range(2)}
    later = loaded(*words)
    for place in ((3, 1), (2, 0), (3, 0), (0, 1)):
        assert torch.equal(later.draw(*place).images[:], drawn[place])
    assert not torch.equal(loaded(*words, "seed=1").draw(0, 0).images[:], drawn[0, 0])
    assert not torch.equal(drawn[0, 0], drawn[0, 1])  # one of the two nearest to each centre


def test_refresh_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    refreshes = []
    found = Representatives._candidates

    def counted(self: Representatives, train: RealImages, size: int, refresh: int) -> list[torch.Tensor]:
        refreshes.append(refresh)
        return found(self, train, size, refresh)

    monkeypatch.setattr(Representatives, "_candidates", counted)
    data = loaded("real_batch=4", "sampling.every=2", "sampling.steps=0")
    drawn = [data.draw(k, t).images[:] for k in range(5) for t in range(2)]
    assert refreshes == [0, 1, 2]
    assert torch.equal(drawn[0], drawn[3])  # equal until the next refresh if only the nearest image is drawn
    assert not torch.equal(drawn[0], drawn[4])


def test_representatives_are_nearer_to_the_centres_than_random_images() -> None:
    data = loaded("real_batch=8", "sampling.steps=20")
    sampler = data._sampler
    assert isinstance(sampler, Representatives)
    extract = sampler._features(data.train, 0)

    def spread(indices: torch.Tensor) -> float:
        features = outputs_of(extract, data.train, torch.arange(data.train.counts[0]))
        chosen = outputs_of(extract, data.train, indices)
        return torch.cdist(features, chosen).min(1).values.mean().item()

    chosen = sampler(data.train, 8, 0, torch.Generator())._indices[0]
    others = [data.train.draw_lazily(8, torch.Generator().manual_seed(i))._indices[0] for i in range(20)]
    assert spread(chosen) < min(spread(indices) for indices in others)


def test_features_are_the_input_of_the_last_layer() -> None:
    network = small_network()
    images = torch.randn(3, 2, 8, 8, dtype=torch.double)
    features = before_last_layer(network)(images)
    torch.testing.assert_close(list(network)[-1](features), network.eval()(images))

    class Other(torch.nn.Module):
        pass

    with pytest.raises(ConfigError, match="architecture"):
        before_last_layer(Other())


@pytest.mark.parametrize("name", ["mlp", "lenet", "alexnet", "vgg11", "resnet18", "convnet"])
def test_every_architecture_has_features(name: str) -> None:
    config = composed("dataset=cifar10", f"architecture={name}")
    network = build_factory(config.architecture, config.dataset)()
    features = before_last_layer(network)(torch.randn(2, 3, 32, 32))
    assert features.flatten(1).shape[1] == list(network)[-1].in_features


def test_default_sampling_is_random() -> None:
    config = composed()
    assert build_sampler(config, build_factory(config.architecture, config.dataset)) is random_sampling


def test_each_refresh_has_its_own_network_and_each_class_its_own_clusters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, seeds = [], []

    def trained(network: torch.nn.Module, *_: object, **__: object) -> torch.nn.Module:
        networks.append(next(network.parameters()).detach().flatten()[:5].tolist())
        return torch.nn.Flatten()

    def near(features: torch.Tensor, clusters: int, nearest: int, seed: int) -> torch.Tensor:
        seeds.append(seed)
        return torch.zeros(clusters, nearest, dtype=torch.long)

    monkeypatch.setattr(sampling, "trained_features", trained)
    monkeypatch.setattr(sampling, "near_centres", near)
    data = loaded("sampling.every=2", "real_batch=3")
    for k in (0, 1, 2):
        data.draw(k, 0)
    assert len(networks) == 2
    assert networks[0] != networks[1]
    assert len(set(seeds)) == len(seeds) == 2 * 10  # ten classes, two refreshes


def test_seconds_are_those_of_all_refreshes() -> None:
    """Of 7 outer iterations, the first, the fourth and the seventh."""
    data = loaded("sampling.every=3")
    sampler = data._sampler
    assert isinstance(sampler, Representatives)
    sampler.seconds = 2.0
    assert data.sampling_seconds(7) == 6.0
    assert data.sampling_seconds(6) == 4.0


def matched_sampler(**settings: int) -> MatchedRepresentatives:
    return MatchedRepresentatives(
        **({"every": 2, "nearest": 1, "candidates": 0, "updates": 3, "seed": 0} | settings)
    )


def decided(sampler: MatchedRepresentatives, network: torch.nn.Module, k: int, t: int) -> list[torch.Tensor]:
    """Draws 4 images of each of 3 classes of 30."""
    draw = sampler(NUMBERED, 4, k, torch.Generator().manual_seed(10 * k + t)).decide(network, t)
    return list(draw._indices)


NUMBERED = real_images(
    torch.randint(256, (90, 2, 8, 8), generator=torch.Generator().manual_seed(0)).byte(),
    torch.arange(90) % 3,
    mean=[0.5, 0.5],
    std=[0.25, 0.25],
)


def test_matched_representatives_are_near_the_centres_in_the_matched_networks_features() -> None:
    network = small_network().float().eval()
    found = decided(matched_sampler(), network, 0, 0)
    for c, indices in enumerate(NUMBERED.class_indices()):
        features = before_last_layer(network)(NUMBERED.batch(indices)[0]).flatten(1).detach()
        rng = generator(0, "representatives-clusters", 0, c)
        rows = near_centres(features, 4, 1, int(torch.randint(2**31, (), generator=rng)))
        assert found[c].tolist() == indices[rows.squeeze(1)].tolist()
    with seeded(1, "other"):
        other = small_network().float().eval()
    assert any(
        set(a.tolist()) != set(b.tolist())
        for a, b in zip(found, decided(matched_sampler(), other, 0, 0), strict=True)
    )


def test_clusters_are_renewed_every_so_many_image_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """T = 3, renewed every second update: updates 0, 2, 4 of (0, 0), (0, 1), ..., (1, 2)."""
    refreshes = []
    near = sampling._near_all_centres

    def counted(*arguments: Any) -> list[torch.Tensor]:
        refreshes.append(arguments[-1])
        return near(*arguments)

    monkeypatch.setattr(sampling, "_near_all_centres", counted)
    sampler, network = matched_sampler(), small_network().float().eval()
    drawn = [decided(sampler, network, k, t) for k in range(2) for t in range(3)]
    assert refreshes == [0, 1, 2]
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    sampler.seconds = 2.0
    assert (sampler.estimate_seconds(1), sampler.estimate_seconds(2)) == (4.0, 6.0)

    resumed = matched_sampler()
    resumed.load_state_dict(sampler.state_dict())
    again = decided(resumed, torch.nn.Identity(), 1, 2)  # the network is not asked before the next refresh
    assert all(torch.equal(a, b) for a, b in zip(again, drawn[-1], strict=True))


def test_candidates_limit_what_is_clustered_but_never_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    near = sampling._near_all_centres

    def noted(extract: Any, train: Any, pools: list[torch.Tensor], *rest: Any) -> list[torch.Tensor]:
        seen.append(pools)
        return near(extract, train, pools, *rest)

    monkeypatch.setattr(sampling, "_near_all_centres", noted)
    network = small_network().float().eval()
    for candidates, size in ((0, 30), (7, 7), (2, 4)):
        sampler = matched_sampler(candidates=candidates, every=1)
        drawn = decided(sampler, network, 0, 0)
        assert [len(pool) for pool in seen[-1]] == [size] * 3
        assert [len(indices) for indices in drawn] == [4] * 3
        for c, pool in enumerate(seen[-1]):
            assert NUMBERED.labels[pool].unique().tolist() == [c]
    sampler = matched_sampler(candidates=7, every=1)
    decided(sampler, network, 0, 0)
    decided(sampler, network, 0, 1)
    assert not torch.equal(seen[-1][0], seen[-2][0])


def test_a_diverged_matched_network_is_named() -> None:
    network = small_network().float().eval()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigError, match=r"sampling=dream: .* at k=1, t=2; use a lower network_lr$"):
        decided(matched_sampler(), network, 1, 2)


def test_a_run_matches_what_the_sampler_decides(tmp_path: Path) -> None:
    words = ["updates=3", "iterations=2", "real_batch=4", "evaluation.baselines.random=0"]
    train_tiny(tmp_path / "dream", "sampling=dream", "sampling.every=4", *words)
    train_tiny(tmp_path / "random", *words)
    dream, other = (CondensedDataset(tmp_path / name) for name in ("dream", "random"))
    assert not torch.equal(dream.images, other.images)
