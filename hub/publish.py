"""Publish a run's adapter: as a folder, or to the Hugging Face Hub, private unless said otherwise.

Always true here: what leaves is an allow-list (never the pickle `training_args.bin`, which holds the Hub token, and
never a card that something else wrote); it leaves only after the tensors were read back and found sound, and after
every text file was searched for secrets, e-mail addresses and paths. What leaves is plain PEFT: no Journeyman is needed
to load it.

    publish("runs/arithmetic-0", dry_run=True)                  # show what would leave
    publish("runs/arithmetic-0", export="adapter")              # a folder
    publish("runs/arithmetic-0", "me/arithmetic-lora")          # the Hub
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..configs.errors import BadInput
from .card import build_card
from .facts import RunFacts, read_object
from .figure import check_figure
from .scan import findings

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "README.md"
ALLOWED = (
    WEIGHTS,
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
_HEAD_LINES = 40


@dataclass(frozen=True)
class PublishResult:
    """What left, and where to."""

    files: dict[str, int]
    """name -> bytes, the card included"""
    left_out: tuple[str, ...]
    """Names in the run's adapter folder that are not on the allow-list."""
    card: str
    repo: str | None = None
    url: str | None = None
    export: Path | None = None
    dry_run: bool = False


def publish(
    run: str | Path,
    repo: str | None = None,
    *,
    dry_run: bool = False,
    export: str | Path | None = None,
    private: bool = True,
    base_model: str | None = None,
    license: str = "apache-2.0",
    examples: int = 3,
) -> PublishResult:
    """Check a finished run's adapter, write its card, and publish both.

    Args:
        run: the run's folder.
        repo: `owner/name` on the Hub.
        dry_run: print the files and the head of the card; write and upload nothing.
        export: a folder to write them to; must not exist, or be empty.
        private: whether the Hub repository is private.
        base_model: the base model's Hub id, where the run doesn't know it (trained from a local copy).
        license: a licence id of the Hub.
        examples: how many held-out failures the card quotes; 0 keeps the held-out texts to yourself.

    Raises:
        BadInput: no such run, not finished, nowhere to publish to, a bad name, an unsound adapter, a text file that holds a
            secret, an e-mail address or a path of a machine, or a held-out figure that is not of this run as it is now.
    """
    facts = RunFacts.read(Path(run).expanduser())
    target = Path(export).expanduser() if export is not None else None
    _check_destination(repo, target, dry_run, base_model)
    hub_id = base_model or facts.base.get("hub_id")
    with tempfile.TemporaryDirectory(prefix="journeyman-publish-") as temporary:
        stage = Path(temporary)
        left_out = _stage(facts, stage, hub_id)
        check_weights(stage / WEIGHTS)
        card = str(build_card(facts, hub_id=hub_id, repo=repo, license=license, examples=examples))
        (stage / CARD).write_text(card, encoding="utf-8")
        _check_texts(stage, facts)
        if facts.heldout:
            check_figure(facts.folder, facts.run, facts.heldout, facts.config)
        files = {path.name: path.stat().st_size for path in sorted(stage.iterdir())}
        url = None
        if dry_run:
            _show(files, left_out, card, repo, target, private)
        else:
            if target is not None:
                _export(stage, target)
            if repo is not None:
                url = _upload(stage, repo, private, facts.name)
    return PublishResult(files, left_out, card, repo, url, None if dry_run else target, dry_run)


def check_weights(path: Path) -> None:
    """Read an adapter's tensors back from the disk and refuse those that can't be right.

    Raises:
        BadInput: not a safetensors file, no tensors, NaN or infinities, a LoRA A matrix of zeros (training never makes
            one: a file cut off while written does), or nothing but zeros where the adapter adds to the base.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            acts = False
            for name in names:
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise BadInput(f"{path.name}: the tensor '{name}' holds NaN or infinities: the training diverged")
                zero = not tensor.any()
                if zero and "lora_A" in name:
                    raise BadInput(f"{path.name}: the tensor '{name}' is all zeros: the file was cut off")
                # B starts at zero and A does not: only B, or a layer trained whole, shows that training did anything.
                acts |= not zero and ("lora_B" in name or "lora_embedding_B" in name or "lora_" not in name)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path.name}: can't be read as safetensors: {error}") from error
    if not names:
        raise BadInput(f"{path.name}: holds no tensors")
    if not acts:
        raise BadInput(f"{path.name}: every lora_B tensor is all zeros, so the adapter does nothing; train it first")


def _check_destination(repo: str | None, export: Path | None, dry_run: bool, base_model: str | None) -> None:
    if repo is None and export is None and not dry_run:
        raise BadInput("nowhere to publish to: give a repo (owner/name), an export folder, or dry_run")
    if repo is not None:
        try:
            validate_repo_id(repo)
        except HFValidationError as error:
            raise BadInput(f"'{repo}' is not a name for the Hub, owner/name: {error}") from error
        if repo.count("/") != 1:
            raise BadInput(f"'{repo}' should read owner/name, such as your-name/{repo.strip('/') or 'adapter'}")
    if base_model is not None:
        try:
            validate_repo_id(base_model)
        except HFValidationError as error:
            raise BadInput(f"base_model '{base_model}' is not an id on the Hub, such as Qwen/Qwen3-0.6B") from error
    if export is not None and export.exists() and (not export.is_dir() or any(export.iterdir())):
        raise BadInput(f"{export}: already there and not an empty folder; name a new one")


def _stage(facts: RunFacts, stage: Path, hub_id: str | None) -> tuple[str, ...]:
    """Copy the allowed files into `stage` with the base's public name; returns the names that stay behind."""
    adapter = facts.folder / "adapter"
    for name in (WEIGHTS, CONFIG):
        if not (adapter / name).is_file():
            raise BadInput(f"{adapter / name}: missing: no adapter yet; the command that began the run goes on with it")
    for name in ALLOWED:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, stage / name)
    config = read_object(stage / CONFIG)
    config["base_model_name_or_path"] = hub_id or facts.base_name
    # PEFT's AutoPeftModel loads the base at this revision.
    config["revision"] = facts.base.get("revision") if hub_id and hub_id == facts.base.get("hub_id") else None
    (stage / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer = stage / "tokenizer_config.json"
    if tokenizer.exists():
        # transformers notes here that the tokenizer came from a local folder, which is not true of what is published.
        values = read_object(tokenizer)
        for key in ("name_or_path", "is_local", "local_files_only"):
            values.pop(key, None)
        tokenizer.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return tuple(sorted(path.name for path in adapter.iterdir() if path.name not in ALLOWED))


def _check_texts(stage: Path, facts: RunFacts) -> None:
    """Refuse a staged text that holds what must not leave; all findings are named, ten at most."""
    from safetensors import safe_open

    texts = {p.name: p.read_text(encoding="utf-8", errors="replace") for p in stage.iterdir() if p.name != WEIGHTS}
    with safe_open(stage / WEIGHTS, framework="pt") as tensors:
        texts[f"{WEIGHTS} (metadata)"] = json.dumps(tensors.metadata() or {}, ensure_ascii=False)
    private: list[str | Path] = [facts.folder.resolve(), Path.cwd(), os.path.expanduser("~")]
    found = [f"{name}: {finding}" for name, text in sorted(texts.items()) for finding in findings(text, private)]
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise BadInput(
            "not published, because a file holds what must not leave: "
            + "; ".join(found[:10])
            + more
            + f". Take it out of the run's adapter folder, or of run.json where the file is {CARD}"
        )


def _export(stage: Path, target: Path) -> None:
    """Write the staged files to `target`: all of them, or no folder of that name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{os.getpid()}"
    partial.mkdir()
    try:
        for path in stage.iterdir():
            # Content alone: the stage's own permissions let nobody else read.
            shutil.copyfile(path, partial / path.name)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _upload(stage: Path, repo: str, private: bool, run: str) -> str:
    api = HfApi()
    try:
        url = str(api.create_repo(repo, private=private, exist_ok=True))
        # An existing repository keeps its visibility, whatever create_repo was asked for.
        if private and not api.repo_info(repo).private:
            raise BadInput(f"{repo} exists and is public; name another, or publish with private=False")
        api.upload_folder(repo_id=repo, folder_path=stage, commit_message=f"Adapter and card of the run {run}")
    except OfflineModeIsEnabled as error:
        raise BadInput("HF_HUB_OFFLINE is set, so nothing was uploaded; unset it, or use an export folder") from error
    except LocalTokenNotFoundError as error:
        raise BadInput("not logged in to the Hub; run 'hf auth login' first") from error
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in {401, 403}:
            raise BadInput(f"the Hub refused {repo}: run 'hf auth login' with a token that may write to it") from error
        raise
    return url


def _show(
    files: dict[str, int], left_out: tuple[str, ...], card: str, repo: str | None, export: Path | None, private: bool
) -> None:
    hub = f"{repo} on the Hub ({'private' if private else 'PUBLIC'})" if repo else None
    where = " and ".join(filter(None, [hub, str(export) if export else None])) or "nowhere yet"
    print(f"Dry run, nothing written. To {where} would go:")
    for name, size in files.items():
        print(f"  {size:>12,} bytes  {name}")
    if left_out:
        print(f"Left out of the run's adapter folder: {', '.join(left_out)}")
    lines = card.splitlines()
    print(f"\n{CARD}, the first {min(_HEAD_LINES, len(lines))} of {len(lines)} lines:\n")
    print("\n".join(lines[:_HEAD_LINES]))
