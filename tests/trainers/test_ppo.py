"""PPO's loss against one written out in NumPy, its gradient against REINFORCE's, and what the three critics read."""

import math

import numpy as np
import pytest
import torch
from journeyman.rollouts.adapter_files import adapter_state, at_scale_one
from journeyman.trainers.critic import decoder
from journeyman.trainers.layout import Limits
from journeyman.trainers.prefix import fused_head
from journeyman.trainers.tensors import joined
from peft import get_peft_model_state_dict
from trl.trainer.utils import split_tensor_dict

CRITICS = ("adapter", "head", "model")


@torch.no_grad()
def scored(model, rollout, temperature=1.0, sampled=None):
    """(log-probs and entropies [C], values [C + 1]) of one rollout, unpadded and on its own, in float64.

    Args:
        sampled: what this returned of the policy that sampled, where it has moved since.
    """
    P, C = len(rollout.prompt_ids), len(rollout.completion_ids)
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
    seen = model(input_ids=ids, use_cache=False, output_hidden_states=True)
    logits = seen.logits[0, P - 1 : P - 1 + C].double() / temperature
    logps = logits.log_softmax(-1)
    lm, head = model.critic.lm, model.critic.head
    mine, entropies = logps.gather(1, ids[0, P:, None]).squeeze(1).numpy(), -(logps.exp() * logps).sum(-1).numpy()
    if lm is not None:
        embedded = lm.get_input_embeddings()(ids)
        if (told := model.critic.odds) is not None:
            opinions = [(sampled or (mine, entropies))[:2]]
            if told.in_features > 3:  # what the critic's own base thinks, which never moves
                with lm.disable_adapter():
                    own = lm(input_ids=ids, use_cache=False).logits[0, P - 1 : P - 1 + C].double() / temperature
                own = own.log_softmax(-1)
                opinions.append(
                    (own.gather(1, ids[0, P:, None]).squeeze(1).numpy(), -(own.exp() * own).sum(-1).numpy())
                )
            for t in range(C + 1):  # at the token before the t-th
                numbers = torch.zeros(len(opinions), 3)
                for about, (logps_then, entropies_then) in zip(numbers, opinions, strict=True):
                    if t > 0 and rollout.env_mask[t - 1]:
                        about[:2] = torch.tensor([max(logps_then[t - 1], -10.0), math.exp(logps_then[t - 1]) - 1])
                    if t < C and rollout.env_mask[t]:
                        about[2] = entropies_then[t]
                embedded[0, P - 1 + t] += told.weight @ numbers.flatten()
        seen = lm(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
    values = seen.hidden_states[-1][0, P - 1 :].double() @ head.weight[0].double() + head.bias.double()
    return mine, entropies, values.numpy()


def credit_of(args, kl_coef, rollouts, totals, old, reference):
    """(advantages, returns) a token of each rollout: explicit sums over the tokens that the policy wrote."""
    advantages, returns = [], []
    for rollout, total, (logps, _, values), base in zip(rollouts, totals, old, reference, strict=True):
        own = [t for t, mine in enumerate(rollout.env_mask) if mine and not math.isnan(total)]
        rewards = {t: -kl_coef * (logps[t] - base[0][t]) for t in own}
        ends = [t for t in own if t + 1 not in own]
        for end, paid in zip(ends, rollout.step_rewards, strict=False):
            rewards[end] += paid
        if own:
            rewards[own[-1]] += total - sum(rollout.step_rewards)
        cut = args.bootstrap_truncated and rollout.stop_reason == "length"
        known = [values[t] for t in own] + [values[-1] if cut else 0.0]
        gaps = [rewards[t] + args.gamma * known[k + 1] - known[k] for k, t in enumerate(own)]
        A, R = np.zeros(len(logps)), np.zeros(len(logps))
        for k, t in enumerate(own):
            for lam, into, base_value in ((args.lam, A, 0.0), (args.critic_lam, R, values[t])):
                into[t] = base_value + sum((args.gamma * lam) ** (j - k) * gap for j, gap in enumerate(gaps) if j >= k)
        advantages.append(A)
        returns.append(R)
    every = [A[t] for r, total, A in zip(rollouts, totals, advantages, strict=True) for t in range(len(A))
             if r.env_mask[t] and not math.isnan(total)]  # fmt: skip
    if args.whiten_advantages:
        for rollout, total, A in zip(rollouts, totals, advantages, strict=True):
            for t in range(len(A)):
                counts = rollout.env_mask[t] and not math.isnan(total)
                A[t] = (A[t] - np.mean(every)) / (np.std(every) + 1e-8) if counts else 0.0
    return advantages, returns


def loss_of(args, rollouts, totals, old, new, advantages, returns, tokens, windows):
    """The loss of one micro-batch; `tokens` is what token means divide by, `windows` the micro-batches of a step."""
    policy, value, entropy, written = [], 0.0, 0.0, 0
    for i, (rollout, total) in enumerate(zip(rollouts, totals, strict=True)):
        terms = []
        for t, mine in enumerate(rollout.env_mask):
            if not mine:
                continue
            ratio, A = math.exp(new[i][0][t] - old[i][0][t]), advantages[i][t]
            if args.loss_type == "cispo":
                terms.append(-min(ratio, 1 + (args.epsilon_high or args.epsilon)) * A * new[i][0][t])
            else:
                low, high = 1 - args.epsilon, 1 + (args.epsilon_high or args.epsilon)
                terms.append(-min(ratio * A, min(max(ratio, low), high) * A))
            entropy += new[i][1][t]
            if not math.isnan(total):
                v, before, R = new[i][2][t], old[i][2][t], returns[i][t]
                near = before + min(max(v - before, -args.cliprange_value), args.cliprange_value)
                value += 0.5 * max((v - R) ** 2, (near - R) ** 2)
        written += len(terms)
        policy.append(terms)
    everything = sum(sum(terms) for terms in policy)
    mean = {
        "dapo": everything / tokens, "cispo": everything / tokens, "bnpo": everything / max(written, 1) / windows,
        "grpo": sum(sum(terms) / max(len(terms), 1) for terms in policy) / len(policy) / windows,
        "dr_grpo": everything / (len(policy) * args.max_completion_length) / windows,
    }[args.loss_type]  # fmt: skip
    bonus = args.entropy_coef * entropy / max(written, 1) / windows
    return mean + args.value_coef * value / tokens - bonus


def batch_of(trainer, rollouts, totals):
    trainer._credit(rollouts, totals[:, None], totals, "train")
    return trainer._batch(rollouts)


def gradients(trainer, batch, steps=1):
    """(gradient of the policy, of the critic) of a batch in so many micro-batches."""
    trainer.model.zero_grad()
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
    for part in split_tensor_dict(batch, steps):
        trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))
    found = {"policy": [], "critic": []}
    for name, p in sorted(trainer.model.named_parameters()):
        if p.requires_grad:
            found["critic" if name.startswith("critic.") else "policy"].append(
                torch.zeros(p.numel()) if p.grad is None else p.grad.flatten().clone()
            )
    return {side: torch.cat(parts) for side, parts in found.items()}


def relative(a, b):
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


LOSSES = {
    "as it comes": {},
    "truncation, lambdas, discount": {"bootstrap_truncated": True, "gamma": 0.9, "lam": 0.7, "critic_lam": 0.6},
    "KL in the reward": {"kl_coef": 0.3, "whiten_advantages": False},
    "entropy bonus, tight clips": {"entropy_coef": 0.05, "cliprange_value": 0.02, "epsilon": 0.05, "epsilon_high": 0.1},
    "accumulation": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3},
    "minibatches": {"per_device_train_batch_size": 8, "steps_per_generation": 3},
    "grpo": {"loss_type": "grpo"}, "bnpo": {"loss_type": "bnpo"}, "dr_grpo": {"loss_type": "dr_grpo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0}, "head": {"critic": "head"}, "model": {"critic": "model"},
    "the text alone": {"critic_reads_logprobs": False},
    "another model": {"critic": "model", "critic_model_name_or_path": "{other}", "temperature": 0.8},
    "temperature": {"temperature": 0.6, "kl_coef": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("flags", LOSSES.values(), ids=LOSSES)
def test_the_loss_is_that_of_numpy(ppo_trainer, hand_made, stir, flags):
    trainer = ppo_trainer(**flags)
    args, model = trainer.args, trainer.model
    rollouts, totals = hand_made(24)
    old = [scored(model, r, args.temperature) for r in rollouts]
    with model.disable_adapter():
        reference = [scored(model, r, args.temperature) for r in rollouts]
    batch = batch_of(trainer, rollouts, totals)
    stir(model, 0.05, seed=6)  # the policy and the critic have moved since
    new = [scored(model, r, args.temperature, o) for r, o in zip(rollouts, old, strict=True)]
    advantages, returns = credit_of(args, args.kl_coef, rollouts, totals, old, reference)
    ratios = np.exp(np.concatenate([n[0] - o[0] for n, o in zip(new, old, strict=True)]))
    assert (ratios < 0.8).any() and (ratios > 1.2).any(), "clips are at work"

    steps, windows = args.steps_per_generation, args.gradient_accumulation_steps
    tokens = sum(sum(r.env_mask) for r in rollouts) * windows / steps
    each = len(rollouts) // steps
    for k, part in enumerate(split_tensor_dict(batch, steps)):
        mine = slice(k * each, (k + 1) * each)
        expected = loss_of(
            args, rollouts[mine], totals[mine], old[mine], new[mine], advantages[mine], returns[mine], tokens, windows
        )
        assert trainer._compute_loss(model, part).item() == pytest.approx(expected, abs=1e-5, rel=1e-5)
    metrics = trainer._metrics["train"]
    flat = np.concatenate([n[2][:-1][np.array(r.env_mask, bool)] for n, r, total in zip(old, rollouts, totals, strict=True)
                           if not math.isnan(total) and r.env_mask])  # fmt: skip
    assert metrics["critic/value_mean"][0] == pytest.approx(flat.mean(), abs=1e-5)
    assert np.mean(metrics["critic/clip_ratio"]) > 0
    assert ("kl" in metrics) == (args.kl_coef > 0)


def test_a_critic_on_another_model_is_told_what_that_one_thinks(ppo_trainer, hand_made):
    trainer = ppo_trainer(critic="model", critic_model_name_or_path="{other}")
    batch = batch_of(trainer, *hand_made(24))
    mine, theirs = batch["odds"].split(3, dim=-1)
    written = (batch["completion_mask"] * batch["tool_mask"]).bool()

    assert not mine[:, 1:][~written][:, :2].any() and not theirs[:, 1:][~written][:, :2].any()
    assert (mine - theirs)[:, 1:][written].abs().amax(0).min() > 1e-3, "two models, two opinions"

    # On a GPU it is asked by TRL's tiled head, which works here too.
    ids, mask, C = joined(batch)
    labels = torch.where((torch.arange(ids.size(1)) >= ids.size(1) - C) & mask.bool(), ids, -100)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    with torch.no_grad(), trainer.critic.lm.disable_adapter():
        tiled = fused_head(trainer.critic.lm, inputs, labels)
    for ours, other in zip(trainer._second_opinion(batch), tiled, strict=True):
        assert (ours - other[:, -C:])[batch["completion_mask"].bool()].abs().max() < 1e-5


@pytest.mark.parametrize("critic", CRITICS)
def test_with_a_critic_that_knows_nothing_it_is_reinforce(ppo_trainer, hand_made, critic):
    trainer = ppo_trainer(critic=critic, lam=1.0, whiten_advantages=False)
    model = trainer.model
    torch.nn.init.zeros_(model.critic.head.weight)
    torch.nn.init.zeros_(model.critic.head.bias)
    rollouts, _ = hand_made(24, tools=False)
    totals = np.random.default_rng(3).normal(size=24)
    ours = gradients(trainer, batch_of(trainer, rollouts, totals))["policy"]

    model.zero_grad()
    for rollout, reward in zip(rollouts, totals, strict=True):
        P = len(rollout.prompt_ids)
        ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
        logps = model(input_ids=ids, use_cache=False).logits[0, P - 1 : -1].log_softmax(-1)
        (-reward * logps.gather(1, ids[0, P:, None]).sum() / sum(r.tokens_out for r in rollouts)).backward()
    named = sorted(model.named_parameters())
    theirs = torch.cat([p.grad.flatten() for name, p in named if p.requires_grad and not name.startswith("critic.")])

    assert theirs.norm() > 1e-3 and relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("critic", CRITICS)
def test_a_critic_reads_what_a_plain_forward_gives(ppo_trainer, hand_made, critic):
    trainer = ppo_trainer(critic=critic)
    model = trainer.model
    rollouts, totals = hand_made(24)
    batch = batch_of(trainer, rollouts, totals)
    for row, rollout in enumerate(rollouts):
        values = scored(model, rollout)[2][:-1]
        np.testing.assert_allclose(batch["old_values"][row, : len(values)], values, atol=1e-5)

    passes = {"policy": 0, "critic": 0}
    hooks = [decoder(model).register_forward_pre_hook(lambda *_: passes.update(policy=passes["policy"] + 1))]
    if model.critic.lm is not None:
        lm = decoder(model.critic.lm)
        hooks.append(lm.register_forward_pre_hook(lambda *_: passes.update(critic=passes["critic"] + 1)))
    trainer._compute_loss(model, batch).backward()
    for hook in hooks:
        hook.remove()
    assert passes == {"policy": 1, "critic": int(critic != "head")}, "a head reads the policy's own forward"


@pytest.mark.parametrize("critic", CRITICS)
def test_what_is_published_holds_nothing_of_the_critic(ppo_trainer, critic):
    trainer = ppo_trainer(critic=critic)
    model = trainer.model
    bare = {name for name, _ in model.base_model.named_parameters() if "lora_" in name}
    published = get_peft_model_state_dict(model)
    sent = at_scale_one(model)[1]

    assert published.keys() == adapter_state(model).keys() and len(published) == len(sent) == len(bare)
    assert not [name for name in [*published, *sent] if "critic" in name]
    assert set(model.critic.state()) >= {"head.weight", "head.bias", *(["odds.weight"] if critic != "head" else [])}
    ours = {tensor.data_ptr() for name, tensor in model.base_model.named_parameters() if "lora_" not in name}
    if model.critic.lm is not None:
        theirs = {tensor.data_ptr() for name, tensor in model.critic.lm.named_parameters() if "lora_" not in name}
        assert theirs == ours if critic == "adapter" else not theirs & ours
        loras = {tensor.data_ptr() for name, tensor in model.critic.lm.named_parameters() if "lora_" in name}
        assert not loras & {tensor.data_ptr() for tensor in model.base_model.parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith(("critic.head.", "critic.odds.")) for name in trained)


@pytest.mark.parametrize("critic", CRITICS)
def test_a_shared_prompt_changes_nothing(ppo_trainer, hand_made, critic):
    trainer = ppo_trainer(critic=critic, num_generations=4, kl_coef=0.1)
    rollouts, totals = hand_made(24, group=4, prompt=(24, 40))
    found, forwarded = {}, {}
    for way in (True, False):
        trainer.limits = Limits(trainer.limits.tokens, share=way)
        trainer.kl_coef, trainer.forwarded = 0.1, 0
        batch = batch_of(trainer, rollouts, totals)
        found[way] = {"values": batch["old_values"], "returns": batch["returns"], **gradients(trainer, batch)}
        forwarded[way] = trainer.forwarded

    assert trainer._checked and forwarded[True] < 0.7 * forwarded[False], "prompts were shared"
    for what, ours in found[True].items():
        assert relative(ours, found[False][what]) <= 1e-5, what


def without_cache(lm):
    inner = lm.get_base_model()
    forward = inner.forward
    inner.forward = lambda *args, past_key_values=None, **kwargs: forward(*args, **{**kwargs, "use_cache": False})


@pytest.mark.parametrize("dropping", ["neither", "policy", "critic"])
def test_on_policy_prompts_are_shared_where_both_models_keep_a_cache(ppo_trainer, hand_made, dropping):
    """One epoch: nothing needs the policy's log-probs before the update, and the first pass is the critic's alone."""
    once = {"critic": "model", "critic_reads_logprobs": False, "num_generations": 4, "num_iterations": 1}
    trainer = ppo_trainer(**once)
    plain = ppo_trainer(**once)
    plain.limits = Limits(plain.limits.tokens, share=False)
    model = trainer.model
    if dropping != "neither":
        without_cache(model if dropping == "policy" else model.critic.lm)
    ours, theirs = (batch_of(one, *hand_made(24, group=4, prompt=(24, 40))) for one in (trainer, plain))

    assert "old_per_token_logps" not in ours and relative(ours["old_values"], theirs["old_values"]) <= 1e-5
    for a, b in zip(gradients(trainer, ours).values(), gradients(plain, theirs).values(), strict=True):
        assert relative(a, b) <= 1e-5
    assert (trainer.limits.share, trainer._keeps_cache) == (dropping != "policy", dropping != "critic")


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("group", [1, 4])
def test_gradient_checkpointing_changes_nothing(ppo_trainer, hand_made, critic, group):
    rollouts, totals = hand_made(24, group=group, prompt=(24, 40))
    found = []
    for checkpointing in (False, True):
        trainer = ppo_trainer(
            critic=critic, num_generations=group, gradient_checkpointing=checkpointing, kl_coef=0.1,
        )  # fmt: skip
        if checkpointing:  # as its loop would
            trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
            assert trainer.model.is_gradient_checkpointing
        found.append(gradients(trainer, batch_of(trainer, rollouts, totals)))
    for side in ("policy", "critic"):
        assert relative(found[1][side], found[0][side]) <= 1e-5


def test_micro_batches_add_up(ppo_trainer, hand_made):
    trainer = ppo_trainer(critic="adapter")
    batch = batch_of(trainer, *hand_made(24))
    whole = gradients(trainer, batch)
    for steps in (2, 8):
        parts = gradients(trainer, batch, steps)
        assert all(relative(parts[side], whole[side]) <= 1e-5 for side in whole)


@pytest.mark.parametrize("critic", CRITICS)
def test_a_rollout_without_a_result_moves_nothing(ppo_trainer, hand_made, critic):
    trainer = ppo_trainer(critic=critic, kl_coef=0.1)
    found = []
    for seed in (1, 2):  # the unscorable ones say something else, in as many tokens
        rollouts, totals = hand_made(24)
        rng = np.random.default_rng(seed)
        for rollout, total in zip(rollouts, totals, strict=True):
            if math.isnan(total):
                rollout.completion_ids = rng.integers(10, 290, len(rollout.completion_ids)).tolist()
                rollout.step_rewards = rng.normal(size=1).tolist()
        trainer.kl_coef = 0.1
        batch = batch_of(trainer, rollouts, totals)
        lost = np.isnan(totals)
        assert lost.sum() == 3 and not batch["advantages"][lost].any() and not batch["credited"][lost].any()
        assert all(r.advantage == 0 for r, total in zip(rollouts, totals, strict=True) if math.isnan(total))
        found.append(gradients(trainer, batch))
    for side in ("policy", "critic"):
        assert found[0][side].norm() > 1e-4 and relative(found[0][side], found[1][side]) <= 1e-5
    nothing = gradients(trainer, batch_of(trainer, rollouts, np.full(24, np.nan)))
    assert not nothing["policy"].any() and not nothing["critic"].any()


def test_the_penalty_adapts_towards_its_target(ppo_trainer, hand_made):
    for target, factor in ((1e-6, 1.2), (1e6, 0.8)):
        trainer = ppo_trainer(kl_coef=0.1, kl_target=target, kl_horizon=24)
        rollouts, totals = hand_made(24)
        totals = np.nan_to_num(totals)
        batch_of(trainer, rollouts, totals)
        assert trainer._metrics["train"]["kl_coef"] == [0.1] and trainer._metrics["train"]["kl"][0] > 1e-3
        assert trainer.kl_coef == pytest.approx(0.1 * factor)
    kept = ppo_trainer(kl_coef=0.1)
    batch_of(kept, rollouts, totals)
    assert kept.kl_coef == 0.1
