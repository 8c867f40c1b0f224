"""Interpreters for peers: one package of their own, everything else from here, made once."""

import json
import subprocess
import zipfile

import pytest
from journeyman.recipes.peers import NoPeer, peer_python, without_paths

CODE = "import json, sys, other, yaml; print(json.dumps([other.VERSION, yaml.__file__, sys.prefix]))"


def wheel(folder, version):
    with zipfile.ZipFile(folder / f"other-{version}-py3-none-any.whl", "w") as file:
        file.writestr("other.py", f"VERSION = '{version}'\n")
        place = f"other-{version}.dist-info"
        file.writestr(f"{place}/METADATA", f"Metadata-Version: 2.1\nName: other\nVersion: {version}\n")
        file.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{place}/RECORD", "")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_the_package_is_its_own_and_the_rest_is_ours(offline):
    import yaml

    wheel(offline, "1.0")
    python = peer_python("other==1.0")
    found = subprocess.run([python, "-c", CODE], capture_output=True, text=True, check=True, env=without_paths())
    version, shared, prefix = json.loads(found.stdout)

    assert version == "1.0" and shared == yaml.__file__ and prefix.startswith(str(offline / "cache" / "peers"))
    (offline / "other-1.0-py3-none-any.whl").unlink()
    assert peer_python("other==1.0") == python, "it is there already"


def test_what_cannot_be_installed_leaves_nothing(offline):
    with pytest.raises(NoPeer, match=r"other==2\.0 can't be installed here: "):
        peer_python("other==2.0")
    assert not list((offline / "cache" / "peers").iterdir())
