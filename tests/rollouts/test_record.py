import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from journeyman.configs import BadInput
from journeyman.rollouts.record import FIELDS, RecordWriter, Rollout, compact, read_records, record_files


def rollout(row, step=0, **values):
    messages = [{"role": "user", "content": "héllo\n\u2028\U0001f600"}, {"role": "assistant", "content": ""}]
    defaults = dict(
        run="r", step=step, split="train", item=f"i{row}", group=row // 2, row=row, seed=1, policy_version=step,
        messages=messages, prompt_ids=[1, 2], completion_ids=[], logprobs=[-0.1234567890123456], env_mask=[1],
        rewards={"exact": 1.0, "none": None}, reward_hashes={"exact": "ab"},
    )  # fmt: skip
    return Rollout(**{**defaults, **values})


FULL = rollout(0, quality=0.5, advantage=-1.5, error="E: x", latency_s=0.2, first_token_s=0.1, tool_calls=3)


def test_the_fields_are_those_of_the_design():
    said = """run, step, split, item, group, row, seed, policy_version, messages, prompt_ids, completion_ids, logprobs,
    env_mask, rewards, step_rewards, quality, advantage, stop_reason, turns, tool_calls, tool_errors, tokens_in,
    tokens_cached, tokens_out, first_token_s, latency_s, error, env_version, reward_hashes, extras"""

    assert tuple(name.strip() for name in said.split(",")) == FIELDS
    assert rollout(3, step=2).key == ("r", 2, 3)


def test_what_is_written_is_read_from_jsonl_and_from_parquet(tmp_path):
    written = [FULL, rollout(1), rollout(2, messages=[{"role": "assistant", "tool_calls": [{"x": {"y": 1}}]}])]
    writer = RecordWriter(tmp_path, "train")
    writer.write(written[:1])
    writer.write(written[1:])
    writer.close()

    assert list(read_records(tmp_path)) == written
    assert compact(tmp_path, "train") == tmp_path / "train.parquet"
    assert [p.name for p in tmp_path.iterdir()] == ["train.parquet"]
    assert list(read_records(tmp_path)) == written
    assert list(read_records(tmp_path / "train.parquet")) == written


def test_records_of_earlier_versions_are_read_and_joined_without_their_empty_cost(tmp_path):
    def with_cost():
        line = json.loads(next(tmp_path.glob("*.jsonl")).read_text())
        next(tmp_path.glob("*.jsonl")).write_text(json.dumps({**line, "cost": None}) + "\n")

    writer = RecordWriter(tmp_path, "train")
    writer.write([FULL])
    writer.close()
    with_cost()
    assert list(read_records(tmp_path)) == [FULL]

    compact(tmp_path, "train")
    table = pq.read_table(tmp_path / "train.parquet")
    pq.write_table(table.append_column("cost", pa.nulls(1, pa.float64())), tmp_path / "train.parquet")
    assert list(read_records(tmp_path)) == [FULL]
    later = RecordWriter(tmp_path, "train")
    later.write([rollout(1)])
    later.close()
    compact(tmp_path, "train")
    assert list(read_records(tmp_path)) == [FULL, rollout(1)]
    assert "cost" not in pq.read_schema(tmp_path / "train.parquet").names


def test_a_write_is_on_the_disk_when_it_returns(tmp_path):
    writer = RecordWriter(tmp_path, "train")
    writer.write([FULL])

    assert list(read_records(tmp_path)) == [FULL]


def test_many_segments_become_one_file_and_later_ones_join_it_in_order(tmp_path):
    writer = RecordWriter(tmp_path, "train", segment_bytes=1)
    for step in range(3):
        writer.write([rollout(row, step) for row in range(2)])
    writer.close()
    names = ["train-00000.jsonl", "train-00001.jsonl", "train-00002.jsonl"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    compact(tmp_path, "train")

    later = RecordWriter(tmp_path, "train", segment_bytes=1)
    later.write([rollout(0, 3)])
    later.write([rollout(0, 4)])
    later.close()
    steps = [0, 0, 1, 1, 2, 2, 3, 4]
    assert [r.step for r in read_records(tmp_path)] == steps
    compact(tmp_path, "train")
    assert [r.step for r in read_records(tmp_path)] == steps
    assert [p.name for p in tmp_path.iterdir()] == ["train.parquet"]


def test_a_writer_that_starts_again_leaves_a_cut_off_line_alone(tmp_path):
    first = RecordWriter(tmp_path, "train")
    first.write([rollout(0), rollout(1)])
    path = tmp_path / "train-00000.jsonl"
    path.write_bytes(path.read_bytes()[:-25])
    second = RecordWriter(tmp_path, "train")
    second.write([rollout(1), rollout(2)])

    assert [r.row for r in read_records(tmp_path)] == [0, 1, 2]
    compact(tmp_path, "train")
    assert [r.row for r in read_records(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, cut):
    RecordWriter(tmp_path, "train").write([rollout(0), rollout(1)])
    path = tmp_path / "train-00000.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])

    assert [r.row for r in read_records(path)] in ([0], [0, 1] if cut == 1 else [0])


BROKEN = {
    "half a line": '{"run": "r", "st\n',
    "no line of ours": '{"a": 1}\n',
    "not an object": "[1, 2]\n",
    "an unknown field": json.dumps({**dataclasses.asdict(FULL), "color": 1}) + "\n",
    "an empty line": "\n",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_any_other_broken_line_is_an_error_that_names_file_and_line(tmp_path, line):
    RecordWriter(tmp_path, "train").write([rollout(0), rollout(1)])
    path = tmp_path / "train-00000.jsonl"
    first, second = path.open(encoding="utf-8")
    path.write_text(first + line + second)

    with pytest.raises(BadInput, match=r"train-00000\.jsonl:2: not a rollout record"):
        list(read_records(tmp_path))
    with pytest.raises(BadInput, match=r"train-00000\.jsonl:2"):
        compact(tmp_path, "train")
    assert path.exists() and not (tmp_path / "train.parquet").exists()


def test_places_and_stems(tmp_path):
    records = tmp_path / "run" / "records"
    for stem in ("train", "heldout-before", "heldout-after"):
        RecordWriter(records, stem).write([FULL])
    compact(records, "heldout-before")

    assert [p.name for p in record_files(tmp_path / "run", "heldout")] == [
        "heldout-after-00000.jsonl",
        "heldout-before.parquet",
    ]
    assert len(list(read_records(tmp_path / "run"))) == 3
    assert len(list(read_records(records, "heldout-after"))) == 1
    assert compact(records, "validation") is None
    with pytest.raises(BadInput, match="no rollout records here"):
        list(read_records(tmp_path / "run", "validation"))
    with pytest.raises(BadInput, match="no rollout records here"):
        list(read_records(tmp_path / "nowhere"))
