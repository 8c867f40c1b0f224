"""What the card says, and that huggingface_hub reads it back."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard, metadata_load
from journeyman.hub.publish import publish


def test_the_metadata_of_the_card(run, rewrite, tmp_path):
    rewrite(
        run / "run.json", base=dict(name="Qwen/Qwen3-0.6B", hub_id="Qwen/Qwen3-0.6B", revision="c1899de", build=None)
    )
    publish(run, export=tmp_path / "out")
    raw = metadata_load(tmp_path / "out" / "README.md")
    assert raw["base_model"] == "Qwen/Qwen3-0.6B" and raw["base_model_relation"] == "adapter"
    assert (raw["library_name"], raw["pipeline_tag"], raw["license"]) == ("peft", "text-generation", "apache-2.0")
    tags = {"lora", "grpo", "trl", "journeyman", "reinforcement-learning", "base_model:adapter:Qwen/Qwen3-0.6B"}
    assert set(raw["tags"]) == tags
    card = ModelCard.load(tmp_path / "out" / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.524, "heldout")
    assert result.metric_args["ci95"] == [0.192, 0.236]
    assert {key: result.metric_args[key] for key in ("n", "k", "before")} == {"n": 200, "k": 1, "before": 0.31}
    again = ModelCard(str(card))
    assert again.data.eval_results == card.data.eval_results and again.data.to_dict() == card.data.to_dict() == raw


def test_supervised_training_is_not_called_reinforcement_learning(run, rewrite):
    rewrite(run / "run.json", recipe="sft")
    assert "einforcement" not in publish(run, dry_run=True).card


def test_without_a_hub_id_the_metadata_names_no_base(run):
    card = publish(run, dry_run=True).card
    raw = ModelCard(card).data.to_dict()
    assert not {"base_model", "base_model_relation"} & set(raw) and not any("base_model" in tag for tag in raw["tags"])
    assert "`journeyman nano arithmetic` builds it" in card


def test_the_text_of_the_card(run):
    card = publish(run, "me/adder", dry_run=True).card
    assert "# adder\n" in card and 'adapter = "me/adder"' in card
    assert "**+0.214 [+0.192, +0.236]**" in card and "leaves 0 out" in card and "`temperature=0`" in card
    assert "| exact | 1.0 | `0123456789abcdef` | `rewards.py:exact` |" in card
    assert "journeyman train arithmetic.yaml --seed 0" in card
    assert "0.17 device hours" in card and "with changes not committed" in card and "| version of torch |" in card
    assert "`learning_rate=1e-05`" in card and '`lora={"r": 4}`' in card


def test_the_worst_failures_are_quoted_unless_they_hold_what_must_not_leave(run):
    card = publish(run, dry_run=True).card
    assert [item for item in range(7) if f"Item `item{item}`" in card] == [1, 4, 5]
    assert "````text\n```\n41\n```\n````" in card
    assert "Item `item" not in publish(run, dry_run=True, examples=0).card
    shutil.rmtree(run / "records")
    assert "No records of a held-out evaluation" in publish(run, dry_run=True).card


def test_an_interval_that_holds_0_is_called_so(run, rewrite):
    rewrite(run / "results.json", heldout={"low": -0.01})
    assert "does not show that the adapter differs" in publish(run, dry_run=True).card


def test_a_run_that_was_never_evaluated_says_so(run):
    (run / "results.json").unlink()
    card = publish(run, dry_run=True).card
    assert "Not evaluated" in card and "model-index" not in card
    assert ModelCard(card).data.eval_results is None


@pytest.mark.parametrize(
    "path, datasets",
    [("openai/gsm8k", ["openai/gsm8k"]), ("data/mine.csv", None), ("/srv/data/mine.csv", None), (None, None)],
)
def test_only_a_hub_dataset_is_named(run, rewrite, path, datasets):
    rewrite(run / "run.json", environment={"kwargs": {"path": path}})
    card = publish(run, dry_run=True).card
    assert ModelCard(card).data.datasets == datasets and "/srv" not in card


@pytest.mark.parametrize(
    ("metric", "binary", "kind"), [("exact", True, "accuracy"), ("f1", False, "f1"), ("close", False, "close")]
)
def test_a_metric_is_called_what_it_is(run, metric, binary, kind):
    """The share of right answers is an accuracy; a partial credit is not."""
    path = run / "results.json"
    results = json.loads(path.read_text())
    results["heldout"] |= {"metric": metric, "binary": binary}
    results["heldout"]["measure"]["metric"] = metric
    path.write_text(json.dumps(results))
    (result,) = ModelCard(publish(run, dry_run=True).card).data.eval_results

    assert result.metric_type == kind and result.metric_name.startswith(metric)
