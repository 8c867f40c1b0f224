import asyncio
import math
from collections import Counter

import numpy as np
import pytest
import torch
from journeyman.rollouts.engine import Request, Sampling, SyncFailed, complete_all, uniforms
from journeyman.rollouts.record import StopReason
from journeyman.rollouts.transformers_engine import TransformersEngine, cut, sample
from scipy.stats import chisquare
from transformers import MinPLogitsWarper, Qwen3Config, Qwen3ForCausalLM, TopKLogitsWarper, TopPLogitsWarper

PAD, EOS, VOCABULARY = 0, 1, 40
PROMPTS = [[5], [7, 8, 9], [5, 6, 7, 8, 9, 10, 11], [7, 8, 9], [30, 2]]


@pytest.fixture(scope="module")
def model():
    """Two layers of random weights, wide enough apart that greedy decoding has no ties."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, initializer_range=0.4, tie_word_embeddings=True,
        pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def complete(model, prompts, sampling, rows=None, eos=(EOS,), seed=3, step=2, **options):
    engine = TransformersEngine(model, PAD, list(eos), **options)
    numbers = range(len(prompts)) if rows is None else rows
    requests = [Request(prompt, (seed, step, row)) for prompt, row in zip(prompts, numbers, strict=True)]
    return dict(enumerate(complete_all(engine, requests, sampling)))


def test_greedy_is_what_transformers_generates(model):
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])
    theirs = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=24, eos_token_id=EOS, pad_token_id=PAD
    )[:, width:].tolist()
    theirs = [row[: row.index(EOS) + 1] if EOS in row else row for row in theirs]
    ours = complete(model, PROMPTS, Sampling(24, temperature=0))

    assert [ours[i].ids for i in range(len(PROMPTS))] == theirs


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_a_plain_forward(model, temperature):
    ours = complete(model, PROMPTS, Sampling(12, temperature=temperature))

    for i, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt + ours[i].ids])
        with torch.no_grad():
            logps = (model(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        plain = logps.gather(1, torch.tensor(ours[i].ids)[:, None]).squeeze(1)
        np.testing.assert_allclose(ours[i].logprobs, plain.numpy(), atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours_or_on_how_the_batch_is_cut(model):
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(20)]
    together = complete(model, prompts, Sampling(10))
    in_lots = complete(model, prompts, Sampling(10), max_rows=3)
    alone = [complete(model, [prompt], Sampling(10), rows=[i])[0] for i, prompt in enumerate(prompts)]

    assert [together[i].ids for i in range(20)] == [c.ids for c in alone] == [in_lots[i].ids for i in range(20)]
    assert len({tuple(together[i].ids) for i in (1, 3, 6, 8, 11, 13)}) > 3, "same prompt, other rows: other texts"


def test_seed_step_and_row_each_change_the_stream():
    streams = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 2**20, 5), (-1, 0, 0)]
    draws = np.stack([uniforms(stream, 1000) for stream in streams])

    assert (draws >= 0).all() and (draws < 1).all()
    assert np.abs(np.corrcoef(draws) - np.eye(len(streams))).max() < 0.15
    np.testing.assert_array_equal(uniforms((0, 1, 2), 5), uniforms((0, 1, 2), 50)[:5])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_as_frequent_as_they_are_likely(model, temperature):
    n, prompt = 6000, PROMPTS[2]
    drawn = Counter(c.ids[0] for c in complete(model, [prompt] * n, Sampling(1, temperature=temperature)).values())
    with torch.no_grad():
        probabilities = (model(torch.tensor([prompt])).logits[0, -1] / temperature).double().softmax(-1).numpy()
    often = probabilities * n >= 5
    seen = np.array([drawn[t] for t in range(VOCABULARY)])
    observed = [*seen[often], seen[~often].sum()]
    expected = [*probabilities[often] * n, probabilities[~often].sum() * n]
    keep = [e > 0 for e in expected]

    assert chisquare(np.array(observed)[keep], np.array(expected)[keep]).pvalue > 0.001


def test_the_ends_of_the_unit_interval_draw_tokens_that_are_possible():
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf], [-torch.inf, 0.0, 1.0, -torch.inf]])
    tokens, logprobs = sample(logits, torch.tensor([0.0, 1 - 2**-24]), Sampling(1))

    assert tokens.tolist() == [1, 2] and torch.isfinite(logprobs).all()


ALONE = [
    (dict(top_k=1), TopKLogitsWarper(1)),
    (dict(top_k=5), TopKLogitsWarper(5)),
    (dict(top_k=500), TopKLogitsWarper(500)),
    (dict(top_p=0.1), TopPLogitsWarper(0.1)),
    (dict(top_p=0.9), TopPLogitsWarper(0.9)),
    (dict(min_p=0.05), MinPLogitsWarper(0.05)),
    (dict(min_p=1.0), MinPLogitsWarper(1.0)),
]


@pytest.mark.parametrize(("options", "theirs"), ALONE, ids=[str(o) for o, _ in ALONE])
def test_each_cut_is_transformers_own(options, theirs):
    logits = torch.randn(50, VOCABULARY, generator=torch.Generator().manual_seed(1)) * 2
    ours = cut(logits, Sampling(1, **options))

    torch.testing.assert_close(ours, theirs(None, logits.clone()))
    assert torch.isfinite(ours.gather(1, logits.argmax(1, keepdim=True))).all()


@pytest.mark.parametrize(("top_k", "min_p", "top_p"), [(8, 0.0, 0.8), (0, 0.1, 0.7), (10, 0.02, 0.95), (3, 0.9, 0.01)])
def test_cuts_together_are_those_of_brute_force(top_k, min_p, top_p):
    """Top-k and min-p first, then top-p over what is left, as vLLM orders them."""
    rows = torch.randn(50, VOCABULARY, generator=torch.Generator().manual_seed(2)).double() * 2
    ours = torch.isfinite(cut(rows, Sampling(1, top_k=top_k, top_p=top_p, min_p=min_p)))

    for row, kept in zip(rows.tolist(), ours.tolist(), strict=True):
        order = sorted(range(VOCABULARY), key=lambda t: -row[t])
        if top_k:
            order = order[:top_k]
        order = [t for t in order if math.exp(row[t] - max(row)) >= min_p]
        mass = sum(math.exp(row[t]) for t in order)
        expected, reached = set(), 0.0
        for t in order:
            if reached >= top_p:
                break
            expected.add(t)
            reached += math.exp(row[t]) / mass
        assert {t for t in range(VOCABULARY) if kept[t]} == expected


def test_sampled_tokens_stay_within_the_cut(model):
    for i, c in complete(model, PROMPTS * 20, Sampling(4, top_k=2)).items():
        ids = torch.tensor([(PROMPTS * 20)[i] + c.ids])
        with torch.no_grad():
            best = model(ids).logits[0, len(ids[0]) - len(c.ids) - 1 : -1].topk(2).indices
        assert (best == torch.tensor(c.ids)[:, None]).any(1).all()


def test_any_end_token_ends_a_row_and_is_its_last(model):
    ends = [EOS, 4, 9, 17, 23]
    done = complete(model, PROMPTS * 10, Sampling(16), eos=ends)

    assert {c.stop_reason for c in done.values()} == {StopReason.EOS, StopReason.LENGTH}
    for c in done.values():
        assert len(c.ids) == len(c.logprobs) <= 16
        assert not set(c.ids[:-1]) & set(ends)
        assert (c.ids[-1] in ends) == (c.stop_reason is StopReason.EOS)
        assert c.stop_reason is StopReason.EOS or len(c.ids) == 16


class Watched:
    """A model that notes the shape of everything it is asked."""

    def __init__(self, model):
        self.model, self.shapes, self.training = model, [], False

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, input_ids, **kwargs):
        self.shapes.append(tuple(input_ids.shape))
        return self.model(input_ids=input_ids, **kwargs)


def test_prompts_are_prefilled_once_and_finished_rows_leave(model):
    watched = Watched(model)
    done = complete(watched, PROMPTS * 4, Sampling(8), eos=[EOS, 4, 9, 17, 23])
    (prefill, *steps), lengths = watched.shapes, [len(c.ids) for c in done.values()]

    assert prefill == (4, 7), "five prompts, two of them the same"
    assert steps == [(sum(length > i for length in lengths), 1) for i in range(1, max(lengths))]
    assert [done[i].tokens_cached for i in (0, 1, 3, 5)] == [0, 0, 3, 1]


def test_rows_come_as_they_finish_and_each_one_once(model):
    engine = TransformersEngine(model, PAD, [EOS, 4, 9, 17, 23])
    requests = [Request(prompt, (3, 2, i)) for i, prompt in enumerate(PROMPTS * 4)]
    order = []

    async def one(i, request):
        order.append((i, await engine.complete(request, Sampling(8))))

    async def together():
        await asyncio.gather(*(one(i, request) for i, request in enumerate(requests)))

    asyncio.run(together())
    assert sorted(i for i, _ in order) == list(range(20))
    assert [len(c.ids) for _, c in order] == sorted(len(c.ids) for _, c in order)
    assert all(0 < c.first_token_s <= c.latency_s for _, c in order)


def test_a_single_token_and_no_rows_at_all(model):
    single = complete(model, [[5]], Sampling(1))

    assert len(single[0].ids) == len(single[0].logprobs) == 1
    assert complete(model, [], Sampling(4)) == {}


def test_the_model_is_left_in_the_mode_it_was_in(model):
    model.train()
    complete(model, [[5]], Sampling(2))
    assert model.training
    model.eval()
    complete(model, [[5]], Sampling(2))
    assert not model.training


def test_sync_moves_the_version_and_refuses_another_model(model):
    engine = TransformersEngine(model, PAD, [EOS])
    engine.sync(None, 7)
    engine.sync(model, 8)

    assert engine.policy_version == 8
    with pytest.raises(SyncFailed, match="another"):
        engine.sync(object(), 9)
    assert engine.policy_version == 8
