"""Courier: the turns' pay and the arrival's make up the quality, the oracle earns all of it, and the clerk errs as is said."""

from __future__ import annotations

import pytest
from journeyman.configs.errors import BadInput
from journeyman.configs.read import find_job
from journeyman.envs.core import SPLITS, check_disjoint, keeps_state, pays_steps, tools_of
from journeyman.envs.courier import CLERK_EARNS, GEAR, HABIT, PACKING, SACK, SACKED, SAVED, WHOLE, Courier, packing_of
from journeyman.rewards.executor import Executor
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.collect import Batch, collect
from journeyman.rollouts.engine import Sampling
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.record import RecordWriter, compact, read_records
from journeyman.rollouts.scoring import scored_rollouts
from journeyman.rollouts.scripted import ScriptedEngine, demonstrated, oracle_rollouts
from journeyman.trainers.config import load_config
from journeyman.trainers.nano import apart, dialogues
from journeyman.trainers.tokenizer import train_tokenizer

JOB = Courier()
CONFIG = load_config("courier", {"model_name_or_path": "nano"})


@pytest.fixture(scope="module")
def chat():
    """A tokenizer that has read demonstrations, as the embedded model's has."""
    texts = [part for text in dialogues(JOB, JOB.tasks("demonstrations", 0, 100)) for part in apart(text, JOB.labels)]
    chat = Chat(train_tokenizer(texts, JOB.labels, 768))
    chat.learn_to_parse()
    return chat


@pytest.fixture
def paid(chat):
    """Works `rows` by a script, (row, turn) -> text, and scores them by the job's own rewards."""

    def run(rows, write, job=JOB, max_tokens=10_000):
        engine = ScriptedEngine(lambda request: write(rows[request.stream[2]], request.turn), chat)
        pool = Pool(job)

        def collecting(on_finished):
            batch = Batch("r", 0, "train", 0)
            return collect(
                engine, chat, pool, rows, Sampling(max_tokens), batch, on_finished=on_finished, limits=job.limits
            )

        rollouts, scores = scored_rollouts(
            collecting, Executor(CONFIG.rewards()), rows, CONFIG.quality(), 1, pays_steps(job)
        )
        pool.close()
        return rollouts, scores.total

    return run


def use(thing):
    return f'<tool_call>\n{{"name": "use", "arguments": {{"thing": "{thing}"}}}}\n</tool_call>'


def right(row, turn):
    return use(GEAR[row["road"][turn - 1]] if turn else packing_of(row["goods"]))


def test_the_contract():
    assert [tool.__name__ for tool in tools_of(JOB)] == ["use"]
    assert pays_steps(JOB) and keeps_state(JOB)
    assert CONFIG.quality() == "earned"
    assert {reward.name: reward.weight for reward in CONFIG.rewards()} == {"earned": 0.0, "arrival": WHOLE}
    assert find_job("courier", "ppo").name == "nano-ppo.yaml"


@pytest.mark.parametrize("stretches", [1, 5, 8])
def test_the_oracle_earns_everything(paid, chat, stretches):
    job = Courier(stretches)
    rows = job.tasks("validation", 3, 30) if stretches > 1 else job.tasks("validation", 3)
    for rollout in oracle_rollouts(job, chat, rows):
        assert (rollout.turns, rollout.tool_calls, rollout.tool_errors) == (stretches + 1, stretches + 1, 0)
        assert (rollout.stop_reason, rollout.messages[-1]["content"]) == ("eos", "whole")
    rollouts, totals = paid(rows, right, job)

    assert totals == pytest.approx(1) and [r.quality for r in rollouts] == pytest.approx([1.0] * len(rows))
    assert all(r.step_rewards == pytest.approx([0] + [0.5 / stretches] * stretches) for r in rollouts)


ROW = {"goods": "milk", "road": ["snow", "night", "cliff", "gate", "mud"], "prompt": "Deliver milk."}
RIGHT = ["ice", "chains", "lamp", "rope", "key", "planks"]
WORK = {
    "all right": (RIGHT, [0, 0.1, 0.1, 0.1, 0.1, 0.1], 1, 1.0),
    "the sack pays at once and loses by it": ([SACK, *RIGHT[1:]], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1], 0, 0.6),
    "packing for other goods": (["straw", *RIGHT[1:]], [0, 0.1, 0.1, 0.1, 0.1, 0.1], 0, 0.5),
    "gear for elsewhere": (["ice", "raft", "lamp", "rope", "raft", "planks"], [0, 0, 0.1, 0.1, 0, 0.1], 1, 0.8),
    "no such thing, then right": (["ice", "skis", *RIGHT[1:]], [0, 0, 0.1, 0.1, 0.1, 0.1, 0.1], 1, 1.0),
    "gear is no packing": (["lamp", *RIGHT], [0, 0, 0.1, 0.1, 0.1, 0.1, 0.1], 1, 1.0),
    "given up on the way": (["ice", "chains", ""], [0, 0.1, 0], 0, 0.1),
    "nothing done": ([""], [0], 0, 0.0),
    "all in one turn": ([RIGHT], [0.5], 1, 1.0),
    "more than there is": ([[*RIGHT, "rope", "rope"]], [0.5], 1, 1.0),
    "too many turns": (["skis"] * 20, [0] * 7, 0, 0.0),
}


@pytest.mark.parametrize(("things", "steps", "arrived", "quality"), WORK.values(), ids=WORK)
def test_each_turn_is_paid_and_all_of_it_is_the_quality(paid, things, steps, arrived, quality):
    def write(row, turn):
        used = things[turn]
        return used if used == "" else "\n".join(map(use, [used] if isinstance(used, str) else used))

    ((rollout,), totals) = paid([JOB.finished(ROW, 0)], write)

    assert rollout.step_rewards == pytest.approx(steps)
    assert rollout.rewards == pytest.approx({"earned": quality, "arrival": arrived, "step_rewards": sum(steps)})
    assert rollout.quality == pytest.approx(quality) and totals[0] == pytest.approx(quality)


def test_a_turn_that_was_cut_off_earns_nothing_and_isnt_asked(paid, chat):
    whole = [len(chat.ids(right(ROW, turn))) + 1 for turn in range(2)]
    reply = len(chat.tool_reply_ids([{"role": "tool", "name": "use", "content": "snow"}]))
    ((rollout,), totals) = paid([JOB.finished(ROW, 0)], right, max_tokens=sum(whole) + reply - 1)

    assert (rollout.stop_reason, rollout.turns, rollout.step_rewards) == ("length", 2, [0.0])
    assert rollout.quality == totals[0] == 0


def test_what_turns_earned_is_kept_on_the_disk(paid, tmp_path):
    rows = JOB.tasks("train", 0, 12)
    rollouts, _ = paid(rows, lambda row, turn: use(SACK) if turn == 0 else right(row, turn))
    writer = RecordWriter(tmp_path, "train")
    writer.write(rollouts)
    writer.close()
    lines = list(read_records(tmp_path))
    compact(tmp_path, "train")

    assert [p.name for p in tmp_path.iterdir()] == ["train.parquet"]
    assert (
        [r.step_rewards for r in read_records(tmp_path)]
        == [r.step_rewards for r in lines]
        == [[SAVED, *[0.1] * 5]] * 12
    )


def test_replies_tell_what_lies_ahead_and_no_more(chat):
    for rollout, row in zip(oracle_rollouts(JOB, chat, rows := JOB.tasks("train", 0, 50)), rows, strict=True):
        replies = [message["content"] for message in rollout.messages if message["role"] == "tool"]
        assert replies == [*row["road"], "whole"]
        assert rollout.messages[0]["content"] == f"Deliver {row['goods']}."


def test_every_word_is_a_token_and_a_delivery_is_short(chat):
    assert len(JOB.labels) == len(set(JOB.labels))
    assert {len(chat.ids(word)) for word in JOB.labels} == {1}
    for rollout in demonstrated(JOB, chat, JOB.tasks("validation", 0, 50)):
        assert len(rollout.prompt_ids) + len(rollout.completion_ids) <= 120
        assert sum(rollout.env_mask) == 36


def test_splits_share_no_task():
    splits = {split: JOB.tasks(split, 0, 1000) for split in SPLITS}
    check_disjoint(splits)
    told = [(row["goods"], *row["road"]) for rows in splits.values() for row in rows]

    assert len(told) == len(set(told)) == 4000


def test_a_seed_gives_the_same_rows_and_another_seed_others():
    assert Courier().tasks("train", 1, 50) == JOB.tasks("train", 1, 50)
    one, other = ({row["item"] for row in JOB.tasks("train", seed, 200)} for seed in (1, 2))
    assert len(one & other) < 3


@pytest.mark.parametrize("stretches", [0, 33, "five", True])
def test_a_road_out_of_range(stretches):
    with pytest.raises(BadInput, match=r"stretches is .* from 1 to 32"):
        Courier(stretches)


def test_the_clerk_earns_what_is_said_and_errs_by_habit(paid):
    rows = JOB.tasks("demonstrations", 0, 1500)
    rollouts, totals = paid(rows, lambda row, turn: JOB.demonstrate(row, [{"role": "tool"}] * turn))
    used = [
        [m["tool_calls"][0]["function"]["arguments"]["thing"] for m in r.messages if m.get("tool_calls")]
        for r in rollouts
    ]

    assert totals.mean() == pytest.approx(CLERK_EARNS, abs=3 * totals.std() / len(totals) ** 0.5)
    assert all(rollout.stop_reason == "eos" and rollout.tool_errors == 0 for rollout in rollouts)
    for packing in PACKING:
        mine = [things[0] for things, row in zip(used, rows, strict=True) if packing_of(row["goods"]) == packing]
        assert max(set(mine), key=mine.count) == (SACK if packing in SACKED else packing)
    for ahead, gear in GEAR.items():
        mine = [
            t
            for things, row in zip(used, rows, strict=True)
            for t, a in zip(things[1:], row["road"], strict=True)
            if a == ahead
        ]
        assert mine.count(HABIT.get(ahead, gear)) > 0.6 * len(mine)


def test_demonstrations_follow_from_the_task_alone(chat):
    rows = JOB.tasks("demonstrations", 0, 50)
    once, again = (demonstrated(Courier(), chat, part) for part in (rows, list(reversed(rows))))

    assert [rollout.messages for rollout in once] == [rollout.messages for rollout in reversed(again)]
