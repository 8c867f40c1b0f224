"""What the scan finds in a text, and what it lets pass."""

import pytest
from journeyman.hub import scan


@pytest.mark.parametrize(
    "text, found",
    [
        ("hf_" + "a" * 34, "a Hugging Face token"),
        ("ghp_" + "a" * 36, "a GitHub token"),
        ("key=sk-proj-" + "a1" * 20, "an API key"),
        ("AIza" + "b" * 35, "a Google API key"),
        ("AKIAIOSFODNN7EXAMPLE", "an AWS key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("https://me:pass@host.example/x", "a password in an address"),
        ("jane.doe+x@firm.co.uk", "an e-mail address"),
        ("file:///home/me/model", "a path of a machine"),
        ("C:\\\\Users\\\\me", "a path of a machine"),
        ("/opt/things/runs/one/adapter", "a path of a machine"),
        ("sk-toggleable-content-hidden-away", None),
        ("risk-a1b2c3d4e5f6g7h8i9j0k1l2", None),
        ('"@gmail.com": 4, "hf_": 5, "/home": 6, "/tmp/": 7, "user@": 8', None),
        ("https://huggingface.co/home/x and Qwen/Qwen3 and either/or", None),
        ("{{ message['role'] }}\n@dataclass", None),
    ],
)
def test_the_scan(text, found):
    seen = list(scan.findings(text, private_paths=["/opt/things/runs/one", "/opt"]))
    assert (not seen) if found is None else any(finding.startswith(found) for finding in seen)


@pytest.mark.parametrize(
    "text, short",
    [
        ("train /home/u/job.yaml --out=/data/x/runs", "train job.yaml --out=runs"),
        ("~/a/b.py:exact C:\\Users\\u\\t.csv", "b.py:exact t.csv"),
        ("https://host/a/b owner/name ./a/b m.py:f 1 / 2", "https://host/a/b owner/name ./a/b m.py:f 1 / 2"),
    ],
)
def test_paths_are_cut_to_the_name(text, short):
    assert scan.shortened(text) == short
