from journeyman.envs.core import check_disjoint
from journeyman.envs.rubric import Notices


def test_the_oracle_names_every_fact_and_the_splits_are_disjoint():
    env = Notices()
    splits = {split: env.tasks(split, 0, 200) for split in ("demonstrations", "train", "validation", "heldout")}
    check_disjoint(splits)

    for row in splits["train"]:
        assert all(fact in env.oracle(row) and fact in row["prompt"][0]["content"] for fact in row["facts"])
    assert len({env.oracle(row) for row in splits["train"]}) == 200
