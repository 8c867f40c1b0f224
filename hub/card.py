"""The card of an adapter: what it is, what was measured, and how to load and repeat it, from the run's own files.

Always true here: every number on a card is read from the run folder; what was not measured is said to be missing; the
metadata is serialised by `huggingface_hub`, so `ModelCard.load` reads it back. No paths of a machine: they are cut to
the file's name.

    facts = RunFacts.read(Path("runs/arithmetic-0"))
    print(build_card(facts, license="apache-2.0"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evals.statistics import interval_text
from ..rollouts.record import Rollout, read_records, record_files
from .facts import RunFacts
from .scan import findings, shortened

_EXAMPLE_CHARACTERS = 600


_SETTINGS = (
    "learning_rate",
    "num_generations",
    "loss_type",
    "beta",
    "epsilon",
    "temperature",
    "max_completion_length",
    "lora",
)
"""Of config.yaml; the whole of it comes back with the command."""


def build_card(
    facts: RunFacts,
    *,
    hub_id: str | None = None,
    repo: str | None = None,
    license: str = "apache-2.0",
    examples: int = 3,
) -> ModelCard:
    """The card of a run's adapter.

    Args:
        facts: the run.
        hub_id: the base model's id on the Hub; None where it has none.
        repo: where the adapter will be, for the code that loads it.
        license: a licence id of the Hub.
        examples: how many failures of the held-out evaluation to show, at most.
    """
    tags = ["lora", facts.recipe, "trl", "journeyman"]
    if facts.recipe != "sft":
        tags.append("reinforcement-learning")
    data = ModelCardData(
        base_model=hub_id,
        # Without a base model on the Hub the relation would point at nothing.
        base_model_relation="adapter" if hub_id else None,
        library_name="peft",
        pipeline_tag="text-generation",
        license=license,
        datasets=[facts.dataset] if facts.dataset else None,
        tags=tags + ([f"base_model:adapter:{hub_id}"] if hub_id else []),
        model_name=facts.name if facts.heldout else None,
        eval_results=[_eval_result(facts, facts.heldout)] if facts.heldout else None,
    )
    name = repo.split("/")[-1] if repo else facts.name
    sections = [
        f"# {name}",
        _summary(facts, hub_id),
        "## Held-out result\n\n" + _result(facts.heldout),
        "## Rewards\n\n" + _rewards(facts.run.get("rewards") or []),
        "## Environment\n\n" + _environment(facts.environment),
        "## How to load it\n\n" + _loading(facts, hub_id, repo),
        "## Training\n\n" + _training(facts),
        "## Failures\n\n" + _failures(facts, examples),
        "## Limits\n\n" + _limits(facts, hub_id),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _eval_result(facts: RunFacts, heldout: Mapping[str, Any]) -> EvalResult:
    spec = str(facts.environment.get("name") or "unknown")
    label = shortened(spec)
    args = {"ci95": [heldout["low"], heldout["high"]]}
    args |= {key: heldout[key] for key in ("difference", "before", "n", "k", "smallest_detectable") if key in heldout}
    return EvalResult(
        task_type="text-generation",
        dataset_type=facts.dataset or spec.rpartition(":")[2].lower(),
        dataset_name=f"{label}, version {facts.environment.get('version', 'unknown')}",
        dataset_split="heldout",
        # What the Hub calls the share of right answers; any other metric goes by its own name.
        metric_type="accuracy" if heldout.get("binary") else str(heldout.get("metric", "quality")),
        metric_name=f"{heldout.get('metric', 'quality')} (ci95 is of the paired difference to the base model)",
        metric_value=heldout["after"],
        metric_args=args,
    )


def _summary(facts: RunFacts, hub_id: str | None) -> str:
    method = "supervised fine-tuning" if facts.recipe == "sft" else f"reinforcement learning ({facts.recipe.upper()})"
    base = f"[{hub_id}](https://huggingface.co/{hub_id})" if hub_id else f"`{facts.base_name}`"
    job = shortened(str(facts.environment.get("name") or "unknown"))
    text = f"A LoRA adapter for {base}, trained with {method} on the job `{job}` by Journeyman."
    revision, digest = facts.base.get("revision"), facts.base.get("sha256")
    if revision:
        text += f" Base revision: `{revision}`."
    if digest:
        text += f" SHA-256 of the base weights: `{digest}`."
    if not hub_id:
        text += "\n\n**The base model is not on the Hub**, so the metadata of this card names none."
        build = facts.base.get("build")
        text += f" `{shortened(str(build))}` builds it." if build else " Only who has that model can use the adapter."
    return text


def _result(heldout: Mapping[str, Any] | None) -> str:
    if not heldout:
        return "**Not evaluated.** This adapter had no held-out evaluation, so nothing is claimed about it."
    low, high = heldout["low"], heldout["high"]
    rows = [
        ("metric", heldout.get("metric", "quality")),
        ("base model", f"{heldout['before']:.3f}"),
        ("with this adapter", f"**{heldout['after']:.3f}**"),
        ("difference, 95% interval", f"**{interval_text(heldout['difference'], low, high)}**"),
        ("tasks (n), rollouts a task (k)", f"{heldout['n']}, {heldout['k']}"),
    ]
    if heldout.get("smallest_detectable") is not None:
        rows.append(("smallest difference that n shows (80% power)", f"{heldout['smallest_detectable']:.3f}"))
    if heldout.get("sampling"):
        rows.append(("sampling", _inline(heldout["sampling"])))
    verdict = (
        "The interval leaves 0 out."
        if low > 0 or high < 0
        else "**The interval holds 0: this evaluation does not show that the adapter differs from its base.**"
    )
    method = (
        "The tasks are disjoint, by content, from those trained on. The interval is a paired bootstrap over tasks: "
        "base and adapter answered the same ones, sampled alike."
    )
    return _table(("", "held-out"), rows) + f"\n\n{verdict} {method}"


def _rewards(rewards: Sequence[Mapping[str, Any]]) -> str:
    if not rewards:
        return "The run does not say which rewards it used."
    rows = [
        (r.get("name", ""), r.get("weight", ""), f"`{r.get('hash', '')}`", f"`{shortened(str(r.get('spec', '')))}`")
        for r in rewards
    ]
    return _table(("reward", "weight", "hash of its source", "from"), rows) + "\n\nA weight of 0 marks a metric."


def _environment(environment: Mapping[str, Any]) -> str:
    rows = [
        ("environment", f"`{shortened(str(environment.get('name', 'unknown')))}`"),
        ("version", environment.get("version", "unknown")),
        ("arguments", _inline(environment.get("kwargs") or {})),
    ]
    return _table(("", ""), rows)


def _loading(facts: RunFacts, hub_id: str | None, repo: str | None) -> str:
    adapter = repo or "path/to/this/folder"
    base, comment, revision = hub_id or facts.base_name, "", ""
    if not hub_id:
        build = facts.base.get("build")
        comment = f"  # the folder that `{shortened(str(build))}` built" if build else "  # a folder on your machine"
    elif facts.base.get("revision") and facts.base.get("hub_id") == hub_id:
        revision = f', revision="{facts.base["revision"]}"'
    return f"""```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"{comment}
adapter = "{adapter}"
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base{revision}), adapter)

messages = [{{"role": "user", "content": "..."}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
completion = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(completion, skip_special_tokens=True))
```"""


def _training(facts: RunFacts) -> str:
    run, git = facts.run, facts.run.get("git") or {}
    rows: list[tuple[Any, Any]] = [
        (label, run[key])
        for label, key in (("steps", "steps"), ("seed", "seed"), ("device", "device"), ("processes", "processes"))
        if run.get(key) is not None
    ]
    if run.get("train_seconds") is not None:
        hours = run["train_seconds"] * (run.get("processes") or 1) / 3600
        rows.append(("time", f"{run['train_seconds']:.0f} s ({hours:.2f} device hours)"))
    if git.get("commit"):
        rows.append(("commit", f"`{git['commit']}`" + (", with changes not committed" if git.get("dirty") else "")))
    rows += [(f"version of {name}", version) for name, version in (run.get("versions") or {}).items()]
    settings = {key: facts.config[key] for key in _SETTINGS if facts.config.get(key) is not None}
    if settings:
        rows.append(("settings", _inline(settings)))
    command = shortened(str(run.get("command") or ""))
    repeat = f"This command repeats it:\n\n```bash\n{command}\n```\n\n" if command else ""
    return repeat + _table(("", ""), rows)


def _failures(facts: RunFacts, count: int) -> str:
    if count < 1:
        return "Left out."
    if not record_files(facts.folder / "records", "heldout-after"):
        return "No records of a held-out evaluation are kept with this run."
    failed = sorted(_failed(read_records(facts.folder / "records", "heldout-after")), key=lambda r: (r.quality, r.item))
    shown: list[str] = []
    items: set[str] = set()
    for rollout in failed:
        text = _example(rollout)
        # An example that would stop the whole upload is left out; others tell as much.
        if rollout.item in items or next(findings(text), None):
            continue
        items.add(rollout.item)
        shown.append(text)
        if len(shown) == count:
            break
    return "\n\n".join(shown) if shown else "The held-out evaluation recorded none."


def _failed(records: Iterable[Rollout]) -> Iterator[Rollout]:
    return (r for r in records if r.quality is not None and r.quality < 1 and r.messages)


def _example(rollout: Rollout) -> str:
    task = next((m for m in rollout.messages if m.get("role") == "user"), rollout.messages[0])
    quality, why = f"{rollout.quality:.2f}", rollout.stop_reason
    answer = rollout.messages[-1]
    head = f"Item `{rollout.item}`, quality {quality}, ended by `{why}`:"
    return "\n\n".join([head, "Task:", _fenced(task.get("content")), "Answer:", _fenced(answer.get("content"))])


def _limits(facts: RunFacts, hub_id: str | None) -> str:
    points = [
        "It was trained for, and measured on, this one job; nothing is known about others.",
        "The result holds for the sampling, environment version and base revision stated above.",
        "What the rewards do not check was not trained.",
    ]
    if hub_id:
        points.append("The base model's own limits and licence apply.")
    return "\n".join(f"- {point}" for point in points)


def _inline(values: Mapping[str, Any]) -> str:
    texts = {key: shortened(json.dumps(value, ensure_ascii=False, default=str)) for key, value in values.items()}
    return ", ".join(f"`{key}={text}`" for key, text in texts.items()) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line("---" for _ in head), *(line(row) for row in rows)])


def _fenced(content: Any) -> str:
    text = str(content or "").strip()
    if len(text) > _EXAMPLE_CHARACTERS:
        text = text[:_EXAMPLE_CHARACTERS] + f" ... ({len(text) - _EXAMPLE_CHARACTERS} characters more)"
    # A fence must be longer than any run of backticks that it holds.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
