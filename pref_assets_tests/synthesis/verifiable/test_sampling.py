import json

import pytest

from pref_assets.models.generation import Sampling
from pref_assets.models.tiny import tiny_llama
from pref_assets.synthesis.verifiable import sampling as module
from pref_assets.synthesis.verifiable.prompts import write_prompts
from pref_assets.synthesis.verifiable.sampling import Answering, answer


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("tiny"))
    return Answering(model=str(folder), completions=2, sampling=Sampling(max_new_tokens=4, temperature=0.2))


def test_an_interrupted_run_goes_on_where_it_stopped(answering, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PORTION", 2)
    prompts = write_prompts(6)
    whole = answer(prompts, answering, tmp_path / "whole.jsonl")
    assert [len(texts) for texts in whole] == [2] * 6

    kept = tmp_path / "kept.jsonl"
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:3]) + lines[3][:20])
    seen = []
    assert answer(prompts, answering, kept, lambda done, total: seen.append((done, total))) == whole
    assert seen == [(2, 6), (4, 6), (6, 6)]
    assert kept.read_text() == "".join(lines)


def test_finished_answers_need_no_model(answering, tmp_path, monkeypatch):
    prompts = write_prompts(2)
    first = answer(prompts, answering, tmp_path / "a.jsonl")
    monkeypatch.setattr(module, "generate", None)
    assert answer(prompts, answering, tmp_path / "a.jsonl") == first
    assert answer(prompts[:1], answering, tmp_path / "a.jsonl") == first[:1]


def test_answers_of_other_settings_or_prompts_are_refused(answering, tmp_path):
    prompts, kept = write_prompts(2), tmp_path / "a.jsonl"
    answer(prompts, answering, kept)
    with pytest.raises(ValueError, match="remove it or choose another file"):
        answer(prompts, answering.model_copy(update={"completions": 3}), kept)
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: answers another prompt"):
        answer(prompts[::-1], answering, kept)
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert rows[0]["settings"]["sampling"]["temperature"] == 0.2
    assert rows[1]["prompt"] == list(prompts[0].messages)
