"""The gradient of one generation batch on the ranks that a launcher started, by ours and by stock; rank 0 saves both."""

import json
import os
import sys

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from journeyman.recipes.bench_trainers import make_trainer, random_policy
from journeyman.recipes.workload import Workload, batch_of
from trl.trainer.utils import split_tensor_dict

WORK = Workload([40, 33, 21, 50], [3, 9, 12, 5] * 8, written=0.8, dead=0.5)
"""The dead groups come first: one rank has nothing to learn from."""


def main():
    target, cases = sys.argv[1], json.loads(sys.argv[2])
    found = {name: gradients(options, steps) for name, (options, steps) in cases.items()}
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(found, target)


def gradients(options, steps):
    found = {}
    for side in ("ours", "peer"):
        model = random_policy(hidden=64, layers=2)
        trainer = make_trainer(side, model=model, **options)
        rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
        wrapped = trainer.accelerator.prepare_model(trainer.model)
        whole = batch_of(WORK, 2048, "cpu")
        rows = len(whole["advantages"])
        mine = slice(rank * rows // world, (rank + 1) * rows // world)
        batch = {k: v[mine] if v.dim() else v for k, v in whole.items()}
        trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
        parts = split_tensor_dict(batch, steps)
        for i, part in enumerate(parts):
            with trainer.accelerator.no_sync(wrapped) if i < steps - 1 else torch.enable_grad():
                trainer.accelerator.backward(trainer._compute_loss(wrapped, part))
        named = sorted(trainer.accelerator.unwrap_model(wrapped).named_parameters())
        found[side] = torch.cat([p.grad.flatten() for _, p in named if p.requires_grad])
        found["world"] = world
    return found


if __name__ == "__main__":
    main()
