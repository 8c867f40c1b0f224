"""Triage on the real files: enough rows, nothing given away, splits that share no text, a cache that can be lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from journeyman.configs.errors import BadInput
from journeyman.envs import triage
from journeyman.envs.core import SPLITS
from journeyman.envs.docstrings import clean, docstrings, paragraphs
from journeyman.envs.triage import Passage, Triage, different, select
from journeyman.rewards.text import extractor


@pytest.fixture(scope="session")
def job() -> Triage:
    return Triage()


@pytest.fixture(scope="session")
def splits(job) -> dict[str, list[dict]]:
    return {split: job.tasks(split, seed=0) for split in SPLITS}


def text(row: dict) -> str:
    return row["prompt"][-1]["content"]


def test_there_is_enough_of_every_label(job, splits):
    assert len(job.labels) >= 12 and job.labels == sorted(job.labels)
    assert all(re.fullmatch("[a-z]+", label) for label in job.labels)
    assert len(splits["heldout"]) >= 4500
    assert len(splits["train"]) > sum(len(splits[split]) for split in SPLITS if split != "train")
    for split in SPLITS:
        assert set(row["answer"] for row in splits[split]) == set(job.labels)
    counts = Counter(row["answer"] for row in job.rows())
    assert max(counts.values()) <= 2500 and min(counts.values()) >= 300


def test_no_text_and_no_object_lies_in_two_splits(splits):
    for what in (text, lambda row: row["about"], lambda row: row["item"]):
        found = defaultdict(set)
        for split in SPLITS:
            for row in splits[split]:
                found[what(row)].add(split)
        assert all(len(where) == 1 for where in found.values())


def test_every_prompt_is_there_once(splits):
    prompts = [text(row).lower() for split in SPLITS for row in splits[split]]
    assert len(prompts) == len(set(prompts))


def test_no_held_out_text_is_like_a_training_text(splits):
    # Brute force over a sample, apart from the index that the job itself uses.
    def runs(row):
        words = re.findall(r"[a-z]+|0", re.sub(r"\d+", "0", text(row).lower()))
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    train = [runs(row) for row in splits["train"]]
    for row in splits["heldout"][:40]:
        own = runs(row)
        assert max(len(own & other) / len(own | other) for other in train) < 0.5


def test_no_package_is_named(job):
    names = re.compile(
        r"torch|sklearn|scikit|numpy|\bnp\b|pandas|\bpd\b|scipy|sympy|networkx|hugging ?face|transformers|peft"
        r"|pygments|\brich\b|\bdatasets\b|\bhub\b|stdlib|tensorflow|https?://",
        re.IGNORECASE,
    )
    assert [row["prompt"] for row in job.rows() if names.search(row["prompt"])] == []


def test_prompts_are_short_single_spaced_text(job):
    for row in job.rows():
        words = row["prompt"].split(" ")
        assert 5 <= len(words) <= 16 and all(words)


def test_max_words_cuts(tmp_path, monkeypatch):
    monkeypatch.setattr(triage, "PACKAGES", {"rich": "rich"})
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path))
    small = Triage(max_words=8, per_label=50)
    assert len(small.rows()) == 50 and max(len(row["prompt"].split()) for row in small.rows()) == 8


@pytest.mark.parametrize("wrong", [{"max_words": 4}, {"max_words": "many"}, {"per_label": 0}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Triage(**wrong)


def test_the_oracle_is_right_and_the_baseline_beats_guessing(job, splits):
    for row in splits["validation"][:50]:
        assert extractor(job.extraction)(job.oracle(row)) == row["answer"]
    heldout = splits["heldout"][:1000]
    answers = job.baseline(heldout, splits["demonstrations"])
    assert answers == job.baseline(heldout, splits["demonstrations"])
    right = sum(answer == row["answer"] for answer, row in zip(answers, heldout, strict=True))
    assert 0.35 < right / len(heldout) < 0.9
    assert job.baseline(heldout, []) is None


def test_a_cache_that_is_lost_broken_or_unwritable_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(triage, "PACKAGES", {"rich": "rich", "peft": "peft"})
    load = triage.load.__wrapped__
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    first = load(16, 100, 2500)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_text()
    assert load(16, 100, 2500) == first
    for broken in (whole[: len(whole) // 2], "", "not json\n", whole.replace("rich", "poor", 3)):
        file.write_text(broken)
        assert load(16, 100, 2500) == first
        assert file.read_text() == whole
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "file" / "below"))
    assert load(16, 100, 2500) == first
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [file.name]


def test_the_version_follows_the_installed_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(triage, "PACKAGES", {"rich": "rich"})
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path))
    _, before = triage.load.__wrapped__(16, 100, 2500)
    monkeypatch.setattr(triage, "version_of", lambda label: "0.0.1")
    _, after = triage.load.__wrapped__(16, 100, 2500)
    assert before != after and len(before) == 64


def test_a_package_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(triage, "PACKAGES", {"nowhere": "nowhere_to_be_found"})
    with pytest.raises(BadInput, match="pip install nowhere_to_be_found"):
        triage.load.__wrapped__(16, 100, 2500)


def test_nothing_is_imported_and_nothing_printed(job):
    code = (
        "import sys; from journeyman.envs.triage import Triage; Triage();"
        "print(json.dumps([m for m in ('torch', 'transformers', 'pandas', 'sympy') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


SOURCE = '''
def public(x="a"):
    """Say what it does.

    And a second paragraph.

    Args:
        x: something
    """
    def inner():
        """Hidden inside."""

def _private():
    """Not shown."""

def bare():
    return f("""not a docstring""")

class Thing(Base):
    r"""A thing \\d."""

    def method(self, x: int) -> int:
        """Do it."""

    async def later(self): """One line."""

    def _own(self):
        """Not shown."""
'''


def test_docstrings_of_public_things_go_with_their_class():
    assert [(about, text.split("\n")[0]) for about, text in docstrings(SOURCE)] == [
        ("public", "Say what it does."),
        ("Thing", "A thing \\d."),
        ("Thing", "Do it."),
        ("Thing", "One line."),
    ]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One.\nTwo.\n\nThree.\n\nFour.\n\nFive.", ["One. Two.", "Three.", "Four."]),
        ("One.\n\nArgs:\n    x: y\n\nTwo.", ["One."]),
        ("One.\nArgs:\n    x: y", ["One."]),
        ("One.\n\nParameters\n----------\nx : int", ["One."]),
        ("f(x, y) -> int\n\nOne.", ["One."]),
        ("One.\n\n>>> f()\n1\n\nTwo.", ["One."]),
        ("One::\n\n    code", ["One::"]),
        ("", []),
    ],
)
def test_prose_ends_where_sections_begin(docstring, expected):
    assert list(paragraphs(docstring)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A :class:`~torch.nn.Module` of PyTorch", "A _.nn.Module of _"),
        ("from sklearn import x, np.array", "_ import x, _.array"),
        ("See [the docs](https://numpy.org/x) or https://x.y/z now", "See the docs or _ now"),
        ("input, enriched, output and Ctrl stay", "input, enriched, output and Ctrl stay"),
        ("``scikit-learn`` on the Hugging Face Hub", "_ on the _ _"),
    ],
)
def test_names_are_masked_and_markup_goes(raw, expected):
    assert clean(raw) == expected


def test_one_of_each():
    same = [
        Passage("Return the value of it.", "a", "a.x"),
        Passage("return the value of it", "b", "b.x"),
        Passage("Compute the sum of all 3 numbers in the list now.", "a", "a.y"),
        Passage("Compute the sum of all 4 numbers in the list now.", "a", "a.z"),
        Passage("Something else that nobody said.", "b", "b.y"),
    ]
    assert {passage.about for passage in select(same, 10)} == {"a.y", "b.y"}
    long = "one two three four five six seven eight nine ten eleven twelve"
    alike = [Passage(long, "a", "1"), Passage(long.replace("twelve", "dozen"), "a", "2"), Passage(long[:23], "a", "3")]
    assert [passage.about for passage in different(alike)] == ["1", "3"]
