import pytest

from pref_assets.pairs.audit.roles import RoleOrder, fault
from pref_assets_tests.pairs.audit.build import details


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ("user", None),
        ("system user", None),
        ("developer user assistant user", None),
        ("tools system user", None),
        ("user assistant tool", None),
        ("user assistant tool tool assistant user", None),
        ("user assistant+json tool assistant tool", None),
        ("user+json", None),
        ("", "has no turns"),
        ("user user", "has two turns of role 'user' in a row, turns 1 and 2"),
        ("user assistant assistant user", "has two turns of role 'assistant' in a row, turns 2 and 3"),
        ("user assistant", "ends with a turn of role 'assistant', expected 'user'"),
        ("user system user", "has roles in the order user, system, user"),
        ("assistant user", "has roles in the order assistant, user"),
        ("tool user", "has roles in the order tool, user"),
        ("narrator user", "has a turn of role 'narrator', which is none of"),
    ],
)
def test_prompts(roles, why):
    found = fault(roles.split(), is_prompt=True)
    assert found == why or (why and found and found.startswith(why))


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ("assistant", None),
        ("assistant tool assistant", None),
        ("assistant user assistant", None),
        ("user", "begins with a turn of role 'user', expected 'assistant'"),
        ("assistant user", "ends with a turn of role 'user', expected 'assistant'"),
        ("assistant assistant", "has two turns of role 'assistant' in a row, turns 1 and 2"),
        ("assistant tool", "ends with a turn of role 'tool', expected 'assistant'"),
        ("assistant system assistant", "has roles in the order assistant, system, assistant"),
    ],
)
def test_answers(roles, why):
    assert fault(roles.split(), is_prompt=False) == why


def test_every_part_is_named():
    two = [("user", "q"), ("user", "q")]
    found = details(
        RoleOrder(),
        (two, "a", [("user", "b")]),
        ("q", "a", "b"),
        ("q", "a", [("assistant", "b"), ("user", "c")]),
        ("q", "a", [("user", "b")], {"other_prompt": "r"}),
    )
    assert found == {
        1: "the prompt has two turns of role 'user' in a row, turns 1 and 2; "
        "the rejected answer begins with a turn of role 'user', expected 'assistant'",
        3: "the rejected answer ends with a turn of role 'user', expected 'assistant'",
        4: "the rejected answer begins with a turn of role 'user', expected 'assistant'",
    }
