"""VICE against its definition: naive gradients, the original's updates, a planted embedding, and being interrupted."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from hf_alignet.encoder import AffineTransform
from hf_alignet.errors import InputError, RunError
from hf_alignet.judgments import choice_counts, make_judgments
from hf_alignet.similarity import choice_log_probabilities, triplet_similarities
from hf_alignet.storage import OURS
from hf_alignet.teacher import Vice, evidence
from hf_alignet.teacher import vice as vice_module
from hf_alignet.teacher.evidence import AllChoices, ShuffledChoices
from hf_alignet.teacher.posterior import Posterior, SpikeAndSlab
from hf_alignet.teacher.vice_run import ViceRun

QUICK = {"num_dimensions": 8, "min_objects": 2, "max_epochs": 150, "burn_in": 50, "window": 50, "settle": 30}


def planted(num_objects: int = 60, num_dimensions: int = 4, num_choices: int = 30_000, seed: int = 0):
    """A sparse embedding (n, d), and simulated choices of people who follow it."""
    rng = np.random.default_rng(seed)
    embedding = rng.gamma(2.0, 0.5, (num_objects, num_dimensions)) * (rng.random((num_objects, num_dimensions)) < 0.4)
    triplets = np.stack([rng.permutation(num_objects)[:3] for _ in range(num_choices)])
    a, b, c = (embedding[triplets[:, i]] for i in range(3))
    logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], 1)  # by odd one out
    odd = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return embedding, make_judgments(triplets, odd)


def naive_cross_entropy(embedding: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Mean over rows (kept, kept, odd), one softmax a row."""
    total = embedding.new_zeros(())
    for a, b, odd in rows.tolist():
        logits = torch.stack([embedding[i] @ embedding[j] for i, j in ((a, b), (a, odd), (b, odd))])
        total = total - torch.log_softmax(logits, 0)[0]
    return total / len(rows)


@pytest.fixture(scope="module")
def choices() -> tuple[np.ndarray, np.ndarray]:
    """40 triplets of 9 objects and how often each pair was kept, some of them judged several times."""
    rng = np.random.default_rng(1)
    triplets, counts = choice_counts(
        make_judgments(np.stack([rng.permutation(9)[:3] for _ in range(60)]), rng.integers(0, 3, 60))
    )
    return triplets, counts[:, ::-1].copy()


@pytest.mark.parametrize("kind", ["all", "shuffled"])
def test_slope_of_choices_is_that_of_the_naive_loop(choices, kind):
    embedding = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    evidence = AllChoices(*choices, 9) if kind == "all" else ShuffledChoices(*choices, batch_size=1000)
    [slope] = evidence.slopes(torch.Generator().manual_seed(0))
    value, gradient = slope(embedding)
    leaf = embedding.double().requires_grad_()
    naive = naive_cross_entropy(leaf, ShuffledChoices(*choices, 1000).rows)
    naive.backward()
    assert value == pytest.approx(naive.item(), abs=1e-6)
    torch.testing.assert_close(gradient.double(), leaf.grad, atol=1e-6, rtol=1e-5)


def test_batches_cover_every_choice_once(choices):
    evidence = ShuffledChoices(*choices, batch_size=7)
    generator = torch.Generator().manual_seed(3)
    embedding = torch.rand(9, 4)
    sizes = [min(7, 60 - start) for start in range(0, 60, 7)]
    losses = [slope(embedding)[0] for slope in evidence.slopes(generator)]
    assert len(losses) == len(sizes)
    whole = next(ShuffledChoices(*choices, batch_size=60).slopes(generator))(embedding)[0]
    assert np.average(losses, weights=sizes) == pytest.approx(whole, abs=1e-6)


def test_prior_is_the_mixture_of_two_gaussians():
    prior = SpikeAndSlab(spike=0.25, slab=1.5, share=0.3)
    x = torch.linspace(-4, 4, 101, dtype=torch.float64, requires_grad=True)
    density = 0.3 * torch.distributions.Normal(0, 0.25).log_prob(x).exp()
    density = density + 0.7 * torch.distributions.Normal(0, 1.5).log_prob(x).exp()
    density.log().sum().neg().backward()
    torch.testing.assert_close(prior.slope(x.detach()), x.grad)
    far = torch.tensor([1e4, -1e4])  # where both densities underflow
    torch.testing.assert_close(prior.slope(far), far / 1.5**2)


def test_dimensions_are_counted_by_benjamini_and_hochberg():
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(0.2, 0.5, (50, 6)), rng.uniform(0.05, 0.5, (50, 6))
    posterior = Posterior(torch.from_numpy(loc), torch.from_numpy(scale).log(), learning_rate=0.1)
    expected = []
    for p_values in norm.cdf(0, loc, scale).T:
        below = [rank for rank, p in enumerate(sorted(p_values), 1) if p <= 0.05 * rank / 50]
        expected.append(max(below, default=0))
    assert posterior.objects_per_dimension().tolist() == expected and len(set(expected)) > 2


def test_same_updates_as_the_original():
    """Small batches: autograd of the loss as the paper states it, with torch's Adam, goes the same way."""
    _, judgments = planted(num_objects=12, num_choices=100)
    settings = {"num_dimensions": 5, "batch_size": 32, "learning_rate": 1e-3, "initial_scale": None}
    vice = Vice(max_epochs=3, burn_in=100, settle=0, min_objects=-1, **settings).fit(judgments, progress=False)

    triplets, counts = choice_counts(judgments)
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(12, 5, generator=generator) * math.sqrt(2 / 5)
    log_scale = torch.full_like(loc, -1 / loc.std().item())
    optimizer = torch.optim.Adam([loc.requires_grad_(), log_scale.requires_grad_()], lr=1e-3)
    evidence = ShuffledChoices(triplets, counts[:, ::-1], 32)
    for _ in range(3):
        for rows in evidence.rows[torch.randperm(100, generator=generator)].split(32):
            draw = loc + log_scale.exp() * torch.randn(12, 5, generator=generator)
            log_q = torch.distributions.Normal(loc, log_scale.exp()).log_prob(draw).sum()
            spike = torch.distributions.Normal(0, 0.25).log_prob(draw) + math.log(0.5)
            slab = torch.distributions.Normal(0, 1).log_prob(draw) + math.log(0.5)
            loss = naive_cross_entropy(draw.relu(), rows) + (log_q - torch.logaddexp(spike, slab).sum()) / 100
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    order = loc.detach().sum(0).argsort(descending=True)
    np.testing.assert_allclose(vice.loc_, loc.detach()[:, order], atol=2e-6)
    np.testing.assert_allclose(vice.scale_, log_scale.detach().exp()[:, order], atol=2e-6)


@pytest.fixture(scope="module")
def recovered() -> tuple[np.ndarray, Dataset, Vice]:
    embedding, judgments = planted()
    return embedding, judgments, Vice(num_dimensions=12, min_objects=2, spike_share=0.8).fit(judgments, progress=False)


def test_recovers_a_planted_embedding(recovered):
    embedding, _, vice = recovered
    assert vice.converged_ and 4 <= vice.loc_.shape[1] <= 6  # of 12
    correlations = np.corrcoef(embedding.T, vice.embedding_.T)[:4, 4:]
    assert correlations[linear_sum_assignment(-correlations)].min() > 0.95


def test_knows_the_probabilities_of_choices(recovered):
    embedding, _, vice = recovered
    rng = np.random.default_rng(5)
    triplets = np.stack([rng.permutation(60)[:3] for _ in range(2000)])
    a, b, c = (torch.from_numpy(embedding[triplets[:, i]]) for i in range(3))
    true = torch.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], 1).softmax(1).numpy()
    probabilities = vice.choice_probabilities(triplets)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.corrcoef(probabilities.ravel(), true.ravel())[0, 1] > 0.97
    swapped = vice.choice_probabilities(triplets[:, [1, 0, 2]])[:, [0, 2, 1]]
    np.testing.assert_allclose(swapped, probabilities, atol=1e-5)


def test_similarity_is_the_mean_probability_over_third_objects(recovered):
    vice = recovered[2]
    objects = np.array([7, 3, 50, 21])
    matrix = vice.similarity_matrix(objects, n_samples=5)
    np.testing.assert_array_equal(matrix, matrix.T)
    expected = vice.choice_probabilities(np.array([[7, 50, 3], [7, 50, 21]]), n_samples=5)[:, 0].mean()
    assert matrix[0, 2] == pytest.approx(expected, abs=1e-6)


def test_an_embedding_without_variances():
    embedding = np.random.default_rng(0).gamma(0.7, 0.9, (20, 4)).astype(np.float32)
    triplets = np.array([[0, 1, 2], [5, 3, 19]])
    x = torch.from_numpy(embedding)
    expected = choice_log_probabilities(triplet_similarities(x, torch.from_numpy(triplets))).exp().numpy()
    vice = Vice.from_embedding(embedding)
    np.testing.assert_allclose(vice.choice_probabilities(triplets, n_samples=2), expected, atol=1e-5)
    np.testing.assert_array_equal(vice.embedding_, embedding)
    for bad in (embedding - 10, embedding[0], np.full((3, 2), np.nan)):
        with pytest.raises(InputError, match="must be a table of finite numbers, 0 or more"):
            Vice.from_embedding(bad)


def test_saved_and_loaded(recovered, tmp_path):
    vice = recovered[2]
    vice.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} - OURS == {"config.json", "model.safetensors", "README.md"}
    again = Vice.from_pretrained(tmp_path)
    assert again.converged_ and again.history_ == vice.history_
    assert again.settings() == vice.settings()
    np.testing.assert_array_equal(again.loc_, vice.loc_)
    triplets = np.array([[0, 1, 2], [5, 4, 3]])
    np.testing.assert_array_equal(again.choice_probabilities(triplets), vice.choice_probabilities(triplets))


def test_a_card_is_of_what_was_saved_last(recovered, tmp_path):
    vice = recovered[2]
    for judgments in ("first.csv", "second.csv"):
        vice.info = {"judgments": judgments}
        vice.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert Vice.from_pretrained(tmp_path).info == {"judgments": "second.csv"}
    assert "second.csv" in card and "first.csv" not in card and "embedding of 60 objects" in card


def test_choices_counted_or_in_rows_are_the_same_fit(recovered):
    _, judgments, _ = recovered
    triplets, counts = choice_counts(judgments)
    counted = Dataset.from_dict({"triplet": triplets[:, [2, 0, 1]].tolist(), "counts": counts[:, [2, 0, 1]].tolist()})
    first, second = (Vice(**QUICK).fit(data, progress=False) for data in (judgments, counted))
    np.testing.assert_array_equal(first.loc_, second.loc_)


@pytest.mark.parametrize("batch_size", [None, 500])
@pytest.mark.parametrize("stopped_after", [20, 165], ids=["searching", "settling"])
def test_goes_on_where_it_was_stopped(recovered, tmp_path, monkeypatch, batch_size, stopped_after):
    judgments = recovered[1].select(range(1500))
    settings = QUICK | {"batch_size": batch_size, "burn_in": 150, "min_objects": 0, "num_dimensions": 4}
    whole = Vice(**settings).fit(judgments, progress=False)
    assert len(whole.history_) == 150

    next_epoch = ViceRun.next_epoch

    def killed(run):
        if run.epochs == stopped_after:
            raise KeyboardInterrupt
        return next_epoch(run)

    monkeypatch.setattr(vice_module, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(ViceRun, "next_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        Vice(**settings).fit(judgments, checkpoint=tmp_path, progress=False)
    monkeypatch.setattr(ViceRun, "next_epoch", next_epoch)
    resumed = Vice(**settings).fit(judgments, checkpoint=tmp_path, progress=False)
    np.testing.assert_array_equal(resumed.loc_, whole.loc_)
    np.testing.assert_array_equal(resumed.scale_, whole.scale_)
    assert resumed.history_ == whole.history_

    with pytest.raises(InputError, match="belongs to a fit with other judgments or settings"):
        Vice(**settings | {"slab": 2.0}).fit(judgments, checkpoint=tmp_path, progress=False)


def test_bad_input_is_named():
    judgments = make_judgments(np.array([[0, 1, 5]]), np.array([2]))
    with pytest.raises(InputError, match="name object 5, but `num_objects` is 4"):
        Vice().fit(judgments, num_objects=4, progress=False)
    vice = Vice(**QUICK | {"min_objects": 0}).fit(planted(num_choices=3000)[1], progress=False)
    with pytest.raises(InputError, match="name rows -1 to 60, but there are 60 objects of VICE"):
        vice.choice_probabilities(np.array([[0, -1, 60]]))
    with pytest.raises(InputError, match="no choice"):
        Vice().fit(judgments.select([]), progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"num_dimensions": 0}, {"num_dimensions": "9"}, {"spike": 0}, {"slab": -1.0}, {"spike_share": 1.0}),
        *({"batch_size": 0}, {"batch_size": 1.5}, {"initial_scale": 0}, {"learning_rate": math.inf}, {"window": 0}),
        *({"settle": -1}, {"random_state": 0.5}, {"min_objects": "5"}, {"max_epochs": True}),
    ],
)
def test_settings_that_cannot_be(wrong):
    [name] = wrong
    with pytest.raises(InputError, match=f"`{name}` must be"):
        Vice(**wrong).fit(planted(num_choices=10)[1], progress=False)


def test_numpy_numbers_are_settings_like_any_other(tmp_path):
    """They are accepted, give the same fit and the same checkpoint, and are saved."""
    judgments = planted(num_choices=3000)[1]
    settings = QUICK | {"min_objects": 0, "batch_size": 500, "spike_share": 0.5, "random_state": 3, "max_epochs": 10}
    kinds = {int: np.int64, float: np.float64}
    numpy_settings = {name: kinds[type(value)](value) for name, value in settings.items()}
    plain = Vice(**settings).fit(judgments, np.int64(60), tmp_path / "fit", progress=False)
    vice = Vice(**numpy_settings).fit(judgments, 60, tmp_path / "fit", progress=False)
    np.testing.assert_array_equal(vice.loc_, plain.loc_)
    vice.save_pretrained(tmp_path / "vice")
    again = Vice.from_pretrained(tmp_path / "vice")
    assert again.settings() == vice.settings() == plain.settings()
    assert {name: type(again.settings()[name]) for name in settings} == {n: type(v) for n, v in settings.items()}
    triplets = np.array([[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(again.choice_probabilities(triplets), plain.choice_probabilities(triplets))
    np.testing.assert_array_equal(vice.choice_probabilities(triplets), plain.choice_probabilities(triplets))


@pytest.mark.parametrize("wrong", [np.int64(0), np.float64(2), np.bool_(True)])
def test_numpy_numbers_are_checked_too(wrong):
    with pytest.raises(InputError, match=rf"`num_dimensions` must be an integer \(at least 1\), got {wrong.item()}"):
        Vice(num_dimensions=wrong).fit(planted(num_choices=10)[1], progress=False)


def test_settings_that_were_changed_are_saved(recovered, tmp_path):
    vice = Vice.from_embedding(np.eye(3))
    vice.random_state = np.int64(7)
    vice.save_pretrained(tmp_path)
    assert Vice.from_pretrained(tmp_path).random_state == 7


def test_what_is_no_vice(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="cannot open the VICE"):
            Vice.from_pretrained(place)
    AffineTransform.identity(3).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot open the VICE"):
        Vice.from_pretrained(tmp_path)


def test_an_unreadable_checkpoint_is_named(tmp_path):
    (tmp_path / "vice.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match="cannot be read: remove it to start again"):
        Vice(**QUICK).fit(planted(num_choices=100)[1], checkpoint=tmp_path, progress=False)


def test_any_number_of_threads_gives_the_same_fit():
    _, judgments = planted(num_objects=600, num_dimensions=5, num_choices=60_000)
    settings = {"num_dimensions": 20, "max_epochs": 50, "burn_in": 50, "window": 10, "settle": 20}
    fits = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            fits.append(Vice(**settings).fit(judgments, progress=False))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert np.array_equal(fits[0].loc_, fits[1].loc_) and np.array_equal(fits[0].scale_, fits[1].scale_)


def test_random_choices_have_no_dimension():
    rng = np.random.default_rng(0)
    judgments = make_judgments(np.stack([rng.permutation(20)[:3] for _ in range(500)]), rng.integers(0, 3, 500))
    with pytest.raises(RunError, match="no dimension in 500 choices of 20 objects"):
        Vice(**QUICK).fit(judgments, progress=False)


def test_a_fit_that_diverges_is_an_error():
    with pytest.raises(RunError, match="diverged in epoch"):
        Vice(**QUICK | {"learning_rate": 1e12}).fit(planted(num_choices=100)[1], progress=False)


def test_pairs_of_many_objects_give_the_slope_of_the_matrix(monkeypatch):
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(40)[:3] for _ in range(60)])
    counts = rng.integers(1, 4, (60, 3))
    embedding = torch.from_numpy(rng.gamma(1, size=(40, 5)).astype(np.float32))
    assert isinstance(evidence.all_choices(triplets, counts, 40), AllChoices)
    monkeypatch.setattr(evidence, "MOST_OBJECTS", 10)
    sparse = evidence.all_choices(triplets, counts, 40)
    assert isinstance(sparse, evidence.ChoicesOfMany)
    found = []
    for way in (AllChoices(triplets, counts, 40), sparse):
        (slope,) = way.slopes(torch.Generator())
        found.append(slope(embedding))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)
