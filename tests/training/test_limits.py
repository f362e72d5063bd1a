"""Training that ends by the clock, and memory that stays with the process."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from trainer_runs import outcome, run_small

from recbole_precise.errors import ConfigError


@pytest.mark.parametrize("model", ["SASRec", "PRECISE-ID"])
def test_train_minutes_end_at_the_first_validation_after_them(model, tmp_path, settings):
    run_small(settings(model, epochs=3, run_dir=str(tmp_path / "cut"), train_minutes=1e-6))
    run_small(settings(model, epochs=1, run_dir=str(tmp_path / "one")))
    run_small(settings(model, epochs=3, run_dir=str(tmp_path / "long"), train_minutes=1e6))
    cut, one, long = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("cut", "one", "long")
    )
    assert (cut["phases"][0]["epochs"], cut["phases"][0]["ended"]) == (1, "train_minutes")
    assert (long["phases"][0]["epochs"], long["phases"][0]["ended"]) == (3, "epochs")
    assert cut["test"] == one["test"] and cut["valid"] == one["valid"]
    # A run that the clock has ended is finished: going on with it trains no further.
    before = outcome(tmp_path / "cut")
    run_small(
        settings(model, epochs=3, run_dir=str(tmp_path / "cut"), train_minutes=1e-6, resume=True)
    )
    assert outcome(tmp_path / "cut") == before


@pytest.mark.parametrize(("clock", "ended"), [("wall", "train_minutes"), ("processor", "epochs")])
def test_processor_time_leaves_out_what_the_process_waits_for(
    clock, ended, tmp_path, settings, monkeypatch
):
    """Three epochs that wait two seconds each, with a limit of one and a half."""
    from recbole_precise.plugin.trainer import PreciseTrainer

    train = PreciseTrainer._train_epoch

    def waiting(self, *args, **kwargs):
        time.sleep(2)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(PreciseTrainer, "_train_epoch", waiting)
    run_small(
        settings(
            "PRECISE-ID", run_dir=str(tmp_path / "run"), train_minutes=1.5 / 60, train_clock=clock
        )
    )
    assert json.loads((tmp_path / "run" / "result.json").read_text())["phases"][0]["ended"] == ended


def test_early_stopping_says_so(tmp_path, settings):
    run_small(
        settings(
            "SASRec", run_dir=str(tmp_path / "run"), epochs=50, stopping_step=0, learning_rate=1.0
        )
    )
    phase = json.loads((tmp_path / "run" / "result.json").read_text())["phases"][0]
    assert phase["epochs"] < 50 and phase["ended"] == "stopping_step"


def test_minutes_are_a_number_above_zero(settings):
    with pytest.raises(ConfigError, match="train_minutes .* above 0"):
        run_small(settings("SASRec", train_minutes=0))


FAULTS = """
import resource, sys, torch
from recbole_precise.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(16 * 2**20)  # 64 MiB, freed at once
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[10:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_kept_memory_is_not_asked_of_the_system_again():
    given_back, kept = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("back", "keep")
    )
    assert (
        kept < 200 < given_back
    )  # pages: 64 MiB are 16,384 of 4 KiB, or 32 of 2 MiB beside a few small ones
