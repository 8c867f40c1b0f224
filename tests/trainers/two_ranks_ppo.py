"""PPO on the ranks that a launcher started: credit and gradient of one batch, then some steps; rank 0 saves what came of it."""

import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object
from conftest import hand_made, trainer_of
from trl.trainer.utils import split_tensor_dict

STEPS = 2


def main():
    job, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = {}
    trainer = trainer_of(
        job, target / "batch", per_device_train_batch_size=6, kl_coef=0.1, target_kl=0.1, entropy_coef=0.0
    )
    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    rollouts, totals = hand_made(24)
    own = slice(rank * 24 // world, (rank + 1) * 24 // world)
    wrapped = trainer.accelerator.prepare_model(trainer.model)
    trainer.model_wrapped = wrapped
    trainer._credit(rollouts[own], totals[:, None], totals, "train")
    batch = trainer._batch(rollouts[own])
    for key in ("advantages", "returns", "old_values"):
        whole = gather_object([row[:12].tolist() + [0.0] * (12 - len(row)) for row in batch[key]])
        found[key] = torch.tensor(whole)
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = STEPS
    for i, part in enumerate(split_tensor_dict(batch, STEPS)):
        with trainer.accelerator.no_sync(wrapped) if i < STEPS - 1 else torch.enable_grad():
            trainer.accelerator.backward(trainer._compute_loss(wrapped, part))
    named = [(n, p) for n, p in sorted(trainer.model.named_parameters()) if p.requires_grad]
    found["policy"] = torch.cat([p.grad.flatten() for n, p in named if not n.startswith("critic.")])
    found["critic"] = torch.cat([p.grad.flatten() for n, p in named if n.startswith("critic.")])
    keys = ("kl", "kl_coef", "critic/explained_variance", "critic/value_mean", "critic/return_mean")
    found["metrics"] = {key: trainer._metrics["train"][key][0] for key in keys}
    found["world"] = world

    trainer = trainer_of(
        job, target / "steps", environment="tiny.py:Larger", per_device_train_batch_size=4, steps_per_generation=2,
        max_steps=6, critic_warmup_steps=2, target_kl=1e-6, kl_coef=0.1,
    )  # fmt: skip
    trainer.train()
    mine = torch.cat([p.detach().flatten() for _, p in sorted(trainer.model.named_parameters()) if p.requires_grad])
    found["trained"] = torch.stack(gather_object([mine]))
    if rank == 0:
        torch.save(found, target.with_suffix(".pt"))


if __name__ == "__main__":
    main()
