"""Settings, policy, and the run as a whole."""

import random
from typing import get_args

import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.pairs.audit import AuditRule, AuditRuleConfig, AuditSettings, flags, run, taken_out
from pref_assets.pairs.audit.answers import EmptyAnswer, IdenticalSides
from pref_assets.pairs.audit.lengths import LengthGap, OverLong
from pref_assets.pairs.audit.swapped import SwappedCopies
from pref_assets.pairs.audit.toxicity import Toxicity
from pref_assets.pairs.schema import COMPARISONS, FLAGS
from pref_assets_tests.pairs.audit.build import Tables, tables

RULES = get_args(get_args(AuditRuleConfig)[0])
FAULTY = (
    ("What is it?", "a cat", "a dog"),
    ("what is  it?", "A dog", "A cat"),
    ("Say it", "say  it", ""),
    ("Tell", "Yes, it is.", "yes, it  is."),
    ("Tell", "A bastard. " + "x " * 200, "short", {"p_chosen": 0.5}),
    ([("user", "Hi"), ("user", "there")], "I'm sorry, I can't help with that.", "\x00"),
    ("q", "same", "other", {"other_prompt": "r"}),
)


def run_over(made: Tables, settings: AuditSettings | None = None, store: Store | None = None) -> pl.DataFrame:
    return flags(*(frame.lazy() for frame in made), settings or AuditSettings(), store)


def by_row(made: Tables, found: pl.DataFrame) -> set[tuple[str, str]]:
    return {(made.names[pair], code) for pair, code in found.select("pair_id", "code").iter_rows()}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_documents_its_severity_and_what_it_does(rule):
    words = {"keep": "keeps", "drop": "drops", "quarantine": "goes to quarantine"}
    text = " ".join(rule.__doc__.split())
    assert f"Severity {rule.severity}; {words[rule.action]} by default" in text
    assert rule.model_fields["type"].default == rule.__annotations__["type"].__args__[0]


def test_faults_of_all_kinds():
    made = tables(*FAULTY)
    found = run_over(made)
    assert found.schema == FLAGS.schema
    assert found.equals(found.sort(FLAGS.key))
    assert by_row(made, found) == {
        ("1", "swapped_copies"),
        ("2", "swapped_copies"),
        ("3", "empty_answer"),
        ("3", "prompt_only_answer"),
        ("4", "equal_up_to_space_or_case"),
        ("5", "tie"),
        ("5", "length_gap"),
        ("6", "role_order"),
        ("6", "refusal"),
        ("6", "non_text"),
        ("7", "prompts_differ"),
    }


def test_the_policy_takes_out_what_it_does_not_keep_and_the_first_rule_says_why():
    made = tables(*FAULTY)
    found = run_over(made)

    def out(settings):
        frame = taken_out(found, settings)
        assert frame["reason"].null_count() == 0
        return sorted((made.names[pair], action, code) for pair, action, code, _ in frame.iter_rows())

    assert out(AuditSettings()) == [
        ("3", "quarantine", "empty_answer"),
        ("4", "drop", "equal_up_to_space_or_case"),
        ("6", "quarantine", "role_order"),
        ("7", "quarantine", "prompts_differ"),
    ]
    policy = {"empty_answer": "keep", "prompts_differ": "keep", "role_order": "drop", "tie": "drop"}
    settings = AuditSettings(policy=policy)
    assert out(settings) == [
        ("3", "quarantine", "prompt_only_answer"),
        ("4", "drop", "equal_up_to_space_or_case"),
        ("5", "drop", "tie"),
        ("6", "drop", "role_order"),
    ]
    assert settings.action("tie") == "drop"
    assert settings.action("identical_sides") == "drop"
    assert settings.action("length_gap") == "keep"


def test_a_policy_for_no_rule_names_the_rules():
    with pytest.raises(ValidationError, match=r"names \['ties'\], but the rules here are \['contradictory_labels', "):
        AuditSettings(policy={"ties": "drop"})
    with pytest.raises(ValidationError, match=r"rules \['over_long'\] stand there twice"):
        AuditSettings(rules=(OverLong(), OverLong(max_characters=9)))
    with pytest.raises(ValidationError, match="keep"):
        AuditSettings(policy={"tie": "delete"})


def test_order_of_rows_and_size_of_chunks_change_nothing():
    made = tables(*FAULTY)
    found = run_over(made)
    mixed = Tables(*(frame.sample(fraction=1, shuffle=True, seed=seed) for seed, frame in enumerate(made)))
    assert run_over(mixed, AuditSettings(chunk=1)).equals(found)
    assert run_over(mixed, AuditSettings(chunk=3)).equals(found)


def test_no_pairs_and_no_rules():
    assert run_over(tables()).equals(FLAGS.empty())
    assert run_over(tables(*FAULTY), AuditSettings(rules=())).equals(FLAGS.empty())


@pytest.fixture
def counted(monkeypatch):
    """Pairs whose texts were read, chunk by chunk."""
    read = []

    def chunks(*tables, **options):
        for chunk in pair_chunks(*tables, **options):
            read.append(chunk.height)
            yield chunk

    pair_chunks = run.pair_chunks
    monkeypatch.setattr(run, "pair_chunks", chunks)
    return read


def test_what_was_found_is_never_looked_for_again(tmp_path, counted):
    store, made = Store(tmp_path), tables(*FAULTY)
    found = run_over(made, store=store)
    assert run_over(made, store=store).equals(found)
    assert sum(counted) == len(FAULTY)

    more = tables(*FAULTY, ("What is it?", "", "new"), ("what is it?", "a  dog", "a cat"))
    grown = run_over(more, store=store)
    assert sum(counted) == len(FAULTY) + 2
    assert grown.equals(run_over(more))
    # Pairs that are gone are not flagged, though the store still knows them.
    assert run_over(made, store=store).equals(found)


def test_a_changed_rule_is_run_again_and_a_costly_one_beside_it_is_not(tmp_path, counted, monkeypatch):
    store, made = Store(tmp_path), tables(*FAULTY)
    asked = []
    find = Toxicity.find
    monkeypatch.setattr(Toxicity, "find", lambda rule, texts: asked.append(texts.height) or find(rule, texts))
    for limit in (40, 10):
        found = run_over(made, AuditSettings(rules=(Toxicity(), OverLong(max_characters=limit))), store)
    assert sum(counted) == 2 * len(FAULTY)
    assert 0 not in asked
    assert sum(asked) == len(FAULTY)
    assert by_row(made, found) == {("5", "toxicity"), *((row, "over_long") for row in "123456")}
    monkeypatch.setattr(OverLong, "revision", 2)
    run_over(made, AuditSettings(rules=(Toxicity(), OverLong(max_characters=10))), store)
    assert sum(counted) == 3 * len(FAULTY)


def test_a_pair_that_votes_turn_round_is_looked_at_again(tmp_path):
    store, made = Store(tmp_path), tables(("q", "", "b"), ("q", "a", "c"))
    rules = AuditSettings(rules=(EmptyAnswer(), LengthGap(), IdenticalSides(), SwappedCopies()))
    assert run_over(made, rules, store)["detail"].to_list() == ["the chosen answer is empty"]
    turned = made.comparisons.rename({"chosen_id": "rejected_id", "rejected_id": "chosen_id"})
    now = made._replace(comparisons=COMPARISONS.conform(turned.select(made.comparisons.columns)))
    assert run_over(now, rules, store)["detail"].to_list() == ["the rejected answer is empty"]
    assert run_over(made, rules, store)["detail"].to_list() == ["the chosen answer is empty"]


def test_planted_faults_are_found_among_many_pairs():
    dice = random.Random(0)
    words = ["ham", "egg", "oat", "fig", "pea", "rye"]

    def text(length):
        return " ".join(dice.choices(words, k=length))

    rows = [(text(12), f"{text(20)} {number}", f"{text(20)} {number}!") for number in range(300)]
    planted = {17: "empty_answer", 130: "equal_up_to_space_or_case", 131: "prompt_only_answer", 299: "swapped_copies"}
    rows[16] = (rows[16][0], " ", rows[16][2])
    rows[129] = (rows[129][0], rows[129][1], rows[129][1].upper())
    rows[130] = (rows[130][0], rows[130][0].title(), rows[130][2])
    rows[298] = (f"{rows[4][0]} ", rows[4][2], rows[4][1])
    made = tables(*rows)
    found = run_over(made, AuditSettings(chunk=64))
    assert by_row(made, found) == {("5", "swapped_copies"), *((str(row), code) for row, code in planted.items())}


def test_every_rule_is_in_the_union():
    def below(rule):
        return {rule, *(each for sub in rule.__subclasses__() for each in below(sub))}

    named = {rule for rule in below(AuditRule) if "type" in rule.__annotations__} - {AuditRule}
    assert named == set(RULES)
    assert {rule.type for rule in AuditSettings().rules} < {rule.model_fields["type"].default for rule in RULES}


@pytest.mark.parametrize(("column", "values"), [("images", [["a.png"], ["b.png"]]), ("context", ["short", "polite"])])
def test_the_same_question_about_another_image_is_no_swapped_copy(column, values):
    made = tables(("Is it red?", "true", "false"), ("is it  red?", "false", "true"))
    assert by_row(made, run_over(made)) >= {("1", "swapped_copies"), ("2", "swapped_copies")}
    apart = made.prompts.with_columns(pl.Series(column, values, dtype=made.prompts.schema[column]))
    assert not {code for _, code in by_row(made, run_over(made._replace(prompts=apart)))} & {"swapped_copies"}
