"""`journeyman.train`: the command's checks and defaults, in this process or in several."""

from __future__ import annotations

import json
from typing import Any

import journeyman
import pytest
from journeyman.configs import BadInput, Stopped
from journeyman.recipes import api


def test_it_trains_in_this_process_and_returns_the_folder(tiny, tiny_base, tmp_path):
    run = journeyman.train(tiny, max_steps=1, report_to="none", lora={"r": 2}, output_dir=str(tmp_path / "run"))
    assert run == tmp_path / "run"
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert json.loads((run / "adapter" / "adapter_config.json").read_text())["r"] == 2
    with pytest.raises(BadInput, match="this run is finished"):
        journeyman.train(tiny, max_steps=1, report_to="none", lora={"r": 2}, output_dir=str(run))


@pytest.mark.parametrize(("code", "error"), [(2, BadInput), (75, Stopped), (1, RuntimeError), (0, None)])
def test_how_several_processes_end(tiny, tiny_base, tmp_path, monkeypatch, code, error):
    monkeypatch.setattr(api, "launch", lambda config, words, resume: code)
    values: dict[str, Any] = {"accelerate": "two-cpu", "output_dir": str(tmp_path / "run")}
    if error is None:
        assert api.train(tiny, **values) == tmp_path / "run"
        return
    with pytest.raises(error):
        api.train(tiny, **values)


def test_bad_input_is_raised_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(BadInput, match="did you mean 'max_steps'"):
        journeyman.train(tiny, max_step=1, output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
