"""The record of a run that was stopped and went on adds up."""

import json
from pathlib import Path

from tools.grok_mini.metadata import active_parameter_count, run_record
from tools.grok_mini.model import GROK_MINI

RECIPE = {"steps": 30, "batch": 2, "model": {"sequence_len": 16}}


def _validation(step: int, seconds: float) -> str:
    losses = {"mean_loss": 4.0, "validation_loss": 5.0 - step / 10, "balance": 1.0, "rate": 0.1}
    return json.dumps({"step": step, "seconds": seconds, "cpu_seconds": 2 * seconds, **losses})


def test_times_of_the_parts_are_added() -> None:
    start = json.dumps({"recipe": RECIPE | {"steps": 40}, "tokens": 480, "at": 0})
    again = json.dumps({"recipe": RECIPE, "tokens": 480, "at": 10})
    lines = [start, _validation(10, 5.0), again, _validation(20, 4.0), _validation(30, 8.5)]
    record = run_record("\n".join(lines))
    assert (record["seconds"], record["cpu_seconds"]) == (13.5, 27.0)
    assert (record["steps"], record["tokens_seen"], record["epochs"]) == (30, 960, 2.0)
    assert [row["step"] for row in record["log"]] == [10, 20, 30]
    assert record["parts"] == [
        {"from_step": 0, "planned_steps": 40},
        {"from_step": 10, "planned_steps": 30},
    ]


def test_active_parameters_leave_out_six_of_eight_experts() -> None:
    expert = 3 * GROK_MINI.emb_size * GROK_MINI.ffn_size
    assert active_parameter_count(GROK_MINI) == 8_011_008 - GROK_MINI.num_layers * 6 * expert


def test_the_record_lies_where_the_documents_look_for_it(repository: Path) -> None:
    record = json.loads((repository / "docs/grok-mini/training-run.json").read_text())
    assert record["log"][-1]["step"] == record["steps"]
