"""A judge in a pipeline: what it counts fits the asset, and pairs without a verdict come last."""

from pathlib import Path

from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows
from pref_assets_tests.scoring.judging.server import serving


def test_a_judge_is_an_asset_whose_counts_are_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "first.jsonl", rows(8))
    with serving(lambda question, number: "[[A]]" if number % 5 else "I cannot say.") as server:
        endpoint = {"url": server.url, "model": "judge", "retries": 0, "concurrency": 1}
        lab = Lab(
            tmp_path,
            {
                "name": "judged",
                "sources": {"made_up": {"type": "completions", "location": str(tmp_path / "data")}},
                "scores": {"judge": {"type": "judge", "endpoint": endpoint}},
                "subsets": {"judged": {"type": "top_k", "scores": "judge", "missing": "last", "budget": "50%"}},
            },
        )
        report = lab.run()
    assert report.ok, report.failures
    told = lab.metadata("scores", "judge")
    assert told["unparsable"].value > 0
    assert "first position share 1" in str(told["measuring"].value)
    kept = lab.read("subsets", "judged").filter("selected")
    assert kept["score"].null_count() == 0
