import json

import numpy as np
import pytest
import yaml
from journeyman.evals.comparison import compare
from journeyman.evals.statistics import pass_at_k
from journeyman.recipes.evaluate import AFTER, BEFORE, evaluate
from journeyman.rollouts.record import read_records
from journeyman.trainers.config import load_config
from journeyman.trainers.run_folder import RunFolder


@pytest.fixture(scope="module")
def measured(train_here, tmp_path_factory):
    """A run of a few steps, evaluated."""
    run = train_here(tmp_path_factory.mktemp("evaluated") / "run", max_steps=6, learning_rate=0.01, select="last")
    return run, evaluate(run, quiet=True)


def qualities(run, stem):
    return {r.item: r.quality for r in read_records(run, stem)}


def test_every_figure_follows_from_the_records(measured):
    run, result = measured
    before, after = qualities(run, "heldout-before"), qualities(run, "heldout-after")

    assert before.keys() == after.keys() and len(before) == 40 == result.difference.n
    assert result.metric == "exact" and set(before.values()) <= {0.0, 1.0}
    assert result.difference.mean_before == pytest.approx(np.mean(list(before.values())))
    assert result.difference.mean_after == pytest.approx(np.mean(list(after.values())))
    changes = [after[item] - before[item] for item in before]
    assert result.difference.difference == pytest.approx(np.mean(changes))
    assert result.difference.low <= result.difference.difference <= result.difference.high
    assert compare(RunFolder(run).records, BEFORE, AFTER).difference == result.difference


def test_before_and_after_answer_the_same_held_out_rows(measured):
    run, _ = measured
    config = load_config(run / "config.yaml")
    items = [row["item"] for row in config.environment().tasks("heldout", config.seed, 40)]
    trained_on = {r.item for stem in ("train", "validation") for r in read_records(run, stem)}

    for stem, step in (("heldout-before", 0), ("heldout-after", 6)):
        rollouts = list(read_records(run, stem))
        assert [r.item for r in rollouts] == items and [r.row for r in rollouts] == list(range(40))
        assert {(r.split, r.policy_version, r.step) for r in rollouts} == {("heldout", step, step)}
    assert not trained_on & set(items)


def test_an_answer_is_judged_as_the_record_shows_it(measured):
    run, _ = measured
    config = load_config(run / "config.yaml")
    answers = {row["item"]: row["answer"] for row in config.environment().tasks("heldout", config.seed, 40)}

    for stem in ("heldout-before", "heldout-after"):
        for r in read_records(run, stem):
            assert r.quality == r.rewards["exact"] == float(r.messages[-1]["content"].strip() == answers[r.item])


def test_the_figures_are_kept_and_printed(measured):
    run, result = measured
    kept = json.loads((run / "results.json").read_text())["heldout"]
    text = "\n".join(result.lines())

    assert kept == json.loads(json.dumps(result.as_dict()))
    assert f"{result.difference.mean_before:.3f}" in text and "95% interval" in text and "n = 40 items" in text


def test_measuring_again_gives_the_same(measured):
    run, result = measured
    before = [vars(r) for r in read_records(run, "heldout-before")]
    again = evaluate(run, quiet=True)

    assert again.difference == result.difference
    assert [vars(r) for r in read_records(run, "heldout-before")] == before, "the base is not measured twice"
    assert len(list(read_records(run, "heldout-after"))) == 40


def test_fewer_rows_are_the_first_of_them(measured, run_copy):
    run, _ = measured
    fewer = evaluate(run_copy, n=10, quiet=True)

    assert fewer.difference.n == 10
    assert list(qualities(run_copy, "heldout-before")) == list(qualities(run, "heldout-before"))[:10]


def test_several_rollouts_an_item_give_pass_at_k(run_copy):
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    (run_copy / "config.yaml").write_text(yaml.safe_dump({**config, "evaluation": {"k": 4, "temperature": 1.0}}))
    result = evaluate(run_copy, n=20, quiet=True)
    scores = {}
    for r in read_records(run_copy, "heldout-after"):
        scores.setdefault(r.item, []).append(r.quality)

    assert {len(values) for values in scores.values()} == {4} and result.difference.k_after == 4
    assert sorted(result.pass_at) == [1, 2, 4]
    for k, (_, after) in result.pass_at.items():
        assert after == pytest.approx(np.mean([pass_at_k(4, int(sum(values)), k) for values in scores.values()]))
    assert result.pass_at[1][1] == pytest.approx(result.difference.mean_after)
    assert any(0 < sum(values) < 4 for values in scores.values()), "each rollout has its own randomness"
    assert "pass@4" in "\n".join(result.lines())


def test_the_adapter_is_plain_peft_and_scores_what_was_recorded(measured, tiny_base):
    """By transformers' own generate, one row at a time, with nothing of ours but the records."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, _ = measured
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), run / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "adapter")
    for r in list(read_records(run, "heldout-after"))[:12]:
        ids = tokenizer.apply_chat_template(
            r.messages[:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        assert ids["input_ids"][0].tolist() == r.prompt_ids
        with torch.no_grad():
            new = model.generate(**ids, do_sample=False, max_new_tokens=3)[0, len(r.prompt_ids) :].tolist()
        assert new == r.completion_ids
