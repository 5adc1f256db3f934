"""The Python API on a cluster: one session for several calls, and the caller's own Ray work beside it."""

import json
from pathlib import Path

import ray

from safechain_ray import import_responses, judge, load_run, session

ROWS = [
    {"prompt": f"Question {number}?", "response": "I'm sorry, but I can't." if number % 3 == 0 else "Sure, like this."}
    for number in range(90)
]


def test_calls_share_a_session_and_the_caller_may_use_ray_too(cluster_address: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with session(cluster_address):
        node = ray.get_runtime_context().get_node_id()
        run = import_responses(file, output=tmp_path / "run", progress=False)
        run = judge(run, judges=["refusal-match"], progress=False)
        assert ray.data.range(10).sum("id") == 45
        run = judge(run, judges=["refusal-match"], parts=["answer"], progress=False)
        assert ray.get_runtime_context().get_node_id() == node
    assert not ray.is_initialized()
    verdicts = load_run(str(tmp_path / "run")).verdicts.to_pandas()
    assert verdicts.groupby("part").size().to_dict() == {"answer": 90, "response": 90}
    assert verdicts[verdicts.part == "response"].unsafe.sum() == 60
    assert run.figures.to_pandas().safe_at_1.round(3).tolist() == [0.333, 0.333]
