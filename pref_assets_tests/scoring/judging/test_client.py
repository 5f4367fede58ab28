"""What a server may do to a client: refuse, fail, stall, talk nonsense, cost money; what the client keeps secret."""

import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.scoring.judging.answers import ANSWERS, ask_all, conversation, question_id, questions
from pref_assets.scoring.judging.client import Client, ServerError
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets_tests.scoring.judging.server import Quiet, Reply, endpoint, serving

HELLO = conversation("", "hello")


def client(url: str, asking: Asking | None = None, **more: Any) -> Client:
    return Client(Endpoint(**endpoint(url, **more)), asking or Asking())


def many(n: int) -> pl.DataFrame:
    asked = [conversation("Be brief.", f"question {i}") for i in range(n)]
    return questions((question_id(each), each, 0) for each in asked)


def test_an_answer_with_its_tokens() -> None:
    with serving(lambda question, number: f"you said {question}") as fake, client(fake.url) as asking:
        answer = asking.ask(HELLO)
    assert (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens) == (
        "you said hello",
        "stop",
        100,
        10,
    )
    assert asking.counts == {
        "requests": 1,
        "retries": 0,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": 0,
    }
    assert fake.bodies[0] == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.0,
        "max_tokens": 512,
        "seed": 0,
    }


def test_what_is_null_is_not_sent_and_what_is_extra_is() -> None:
    asking = Asking(temperature=None, seed=7, length_field="max_completion_tokens", extra={"reasoning_effort": "low"})
    with serving(lambda question, number: "ok") as fake, client(fake.url, asking) as asked:
        asked.ask(HELLO, draw=2)
    sent = {name: value for name, value in fake.bodies[0].items() if name not in ("model", "messages")}
    assert sent == {"max_completion_tokens": 512, "seed": 9, "reasoning_effort": "low"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_fault_that_may_pass_is_tried_again(status: int) -> None:
    def says(question: str, number: int) -> Reply:
        return Reply("at last") if number == 2 else Reply(status=status, body="busy")

    with serving(says) as fake, client(fake.url) as asking:
        assert asking.ask(HELLO).text == "at last"
    assert (asking.counts["requests"], asking.counts["retries"]) == (3, 2)


@pytest.mark.parametrize("after", ["0.3", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"])
def test_a_retry_waits_as_long_as_the_server_asks_but_no_longer_than_allowed(after: str) -> None:
    def says(question: str, number: int) -> Reply:
        return Reply("ok") if number else Reply(status=429, body="slow down", headers={"Retry-After": after})

    with serving(says) as fake, client(fake.url, longest_wait_seconds=0.4) as asking:
        asking.ask(HELLO)
    assert 0.28 < fake.times[1] - fake.times[0] < 2.0


@pytest.mark.parametrize("status", [400, 401, 404, 422, 301])
def test_a_refusal_is_not_tried_again_and_says_what_the_server_said(status: int) -> None:
    with (
        serving(lambda question, number: Reply(status=status, body="no such model 'fake'")) as fake,
        client(fake.url) as asking,
        pytest.raises(ServerError, match=rf"{fake.url} \(model 'fake'\): status {status}: no such model 'fake'"),
    ):
        asking.ask(HELLO)
    assert len(fake.bodies) == 1


@pytest.mark.parametrize(
    "body",
    ["<html>welcome</html>", "[]", "{}", '{"choices": []}', '{"choices": [{"message": {"content": 7}}]}', "null"],
)
def test_a_reply_that_is_no_completion_is_tried_again_and_then_an_error(body: str) -> None:
    with (
        serving(lambda question, number: Reply(body=body)) as fake,
        client(fake.url, retries=1) as asking,
        pytest.raises(ServerError, match=r"a reply that is no chat completion: .* \(2 attempts\)"),
    ):
        asking.ask(HELLO)
    assert len(fake.bodies) == 2


@pytest.mark.parametrize(
    ("content", "text"), [("null", ""), ('[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]', "ab")]
)
def test_an_empty_answer_and_one_in_parts_are_answers(content: str, text: str) -> None:
    body = f'{{"choices": [{{"message": {{"content": {content}}}}}]}}'
    with serving(lambda question, number: Reply(body=body)) as fake, client(fake.url) as asking:
        assert asking.ask(HELLO).text == text


def test_a_server_that_stalls_is_an_error_that_names_it() -> None:
    with (
        serving(lambda question, number: Reply("late", delay=1.0)) as fake,
        client(fake.url, timeout_seconds=0.1, retries=1) as asking,
        pytest.raises(ServerError, match=rf"{fake.url}.*no answer in 0\.1 s \(ReadTimeout\) \(2 attempts\)"),
    ):
        asking.ask(HELLO)


def test_a_server_that_is_down_is_an_error_that_names_it_and_counts_what_is_left() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ServerError, match=rf"{url}.*ConnectError.*\(3 attempts\); 5 of 5 questions have no answer"):
        ask_all(Endpoint(**endpoint(url, retries=2)), Asking(), many(5), lambda rows: None, Quiet())


def test_answers_before_a_failure_are_kept_and_only_the_others_are_asked_again(tmp_path: Path) -> None:
    store, items = Store(tmp_path), many(40)
    settings = Endpoint(**endpoint("http://127.0.0.1:1/v1", concurrency=1, retries=0))
    key = answers_key(settings, Asking())

    def write(rows: pl.DataFrame) -> None:
        store.append(ANSWERS, key, rows)

    with serving(lambda question, number: Reply(status=500, body="full") if number == 20 else "fine") as fake:
        here = settings.model_copy(update={"url": fake.url})
        with pytest.raises(ServerError, match="20 of 40 questions have no answer, the 20 answered ones are in"):
            ask_all(here, Asking(), items, write, Quiet())
        missing = store.missing(ANSWERS, key, items["id"])
        assert len(missing) == 20
        ask_all(here, Asking(), items.filter(pl.col("id").is_in(missing)), write, Quiet())
        assert len(fake.bodies) == 41
    assert store.read(ANSWERS, key, items["id"])["answer"].to_list() == ["fine"] * 40


def test_answers_go_to_their_questions_whoever_is_first() -> None:
    def says(question: str, number: int) -> Reply:
        return Reply(question, delay=0.02 * (number % 3))

    items, written, report = many(50), [], Quiet()
    with serving(says) as fake:
        counted = ask_all(Endpoint(**endpoint(fake.url, concurrency=8)), Asking(), items, written.append, report)
    said = dict(pl.concat(written).select("id", "answer").iter_rows())
    assert said == {id_: messages[-1]["content"] for id_, messages in items.select("id", "messages").iter_rows()}
    assert counted["requests"] == 50
    assert report.progressed[-1] == (50, 50)


def test_requests_keep_to_their_rate() -> None:
    with serving(lambda question, number: "ok") as fake:
        ask_all(
            Endpoint(**endpoint(fake.url, requests_per_minute=600, concurrency=4)),
            Asking(),
            many(6),
            lambda rows: None,
            Quiet(),
        )
    assert fake.times[-1] - fake.times[0] > 0.45


def test_cost_is_counted_and_ends_the_questions_when_it_is_spent() -> None:
    prices = {"price_prompt": 0.01, "price_completion": 0.1}
    with serving(lambda question, number: "ok") as fake:
        settings = Endpoint(**endpoint(fake.url, concurrency=1, **prices))
        counted = ask_all(settings, Asking(), many(3), lambda rows: None, Quiet())
        # 100 tokens of the question at 0.01 and 10 of the answer at 0.1 for 1,000: 0.002 each.
        assert counted["cost"] == pytest.approx(0.006)
        written: list[pl.DataFrame] = []
        limited = settings.model_copy(update={"max_cost": 0.004})
        with pytest.raises(ServerError, match=r"0\.004 spent of `max_cost` 0\.004; raise it.*3 of 5 questions"):
            ask_all(limited, Asking(), many(5), written.append, Quiet())
    assert pl.concat(written).height == 2


def test_a_price_without_counted_tokens_is_an_error() -> None:
    with (
        serving(lambda question, number: Reply("ok", usage=None)) as fake,
        client(fake.url, price_prompt=1.0) as asking,
        pytest.raises(ServerError, match="counts no tokens"),
    ):
        asking.ask(HELLO)


def test_the_key_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    leaks = Reply(status=401, body="wrong key sk-very-secret, see http://me:pass@place/?token=abc")
    with serving(lambda question, number: leaks) as fake, client(fake.url, api_key_env="JUDGE_KEY") as asking:
        with pytest.raises(ServerError) as raised:
            asking.ask(HELLO)
        assert fake.headers[0]["authorization" if "authorization" in fake.headers[0] else "Authorization"] == (
            "Bearer sk-very-secret"
        )
    for secret in ("secret", "pass@", "abc"):
        assert secret not in str(raised.value)
    assert "secret" not in asking.endpoint.model_dump_json()


@pytest.mark.parametrize("value", [None, "", "  ", "sk\nsecret", "sk-sécret"])
def test_a_key_that_is_not_there_or_fits_no_header_is_an_error_without_it(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(ServerError, match=r"JUDGE_KEY holds (no key|fits no HTTP header)") as raised:
        client("http://localhost:1/v1", api_key_env="JUDGE_KEY")
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("wrong", ["sk-1234", "judge key", "", "1KEY"])
def test_a_key_in_place_of_its_name_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Endpoint(url="http://localhost/v1", model="m", api_key_env=wrong)
    message = raised.value.errors()[0]["msg"]
    assert "NAME of an environment variable" in message
    assert "1234" not in message


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://me:pass@host/v1", "http://host/v1?api_key=abc"]
)
def test_addresses_with_credentials_or_without_a_scheme_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="an endpoint's address"):
        Endpoint(url=url, model="m")


def test_answers_are_kept_by_model_and_sampling_and_nothing_else() -> None:
    base = Endpoint(url="http://a/v1", model="m")
    key = answers_key(base, Asking())
    same = {"url": "http://b/v1", "retries": 0, "concurrency": 9, "price_prompt": 1.0, "api_key_env": "KEY"}
    assert answers_key(base.model_copy(update=same), Asking()) == key
    others = [answers_key(base.model_copy(update=each), Asking()) for each in ({"model": "n"}, {"revision": "2"})]
    others += [answers_key(base, Asking(**each)) for each in ({"temperature": 1}, {"max_tokens": 9}, {"seed": 1})]
    assert len({key, *others}) == 6
    assert question_id(HELLO) != question_id(HELLO, 1) != question_id(conversation("Be brief.", "hello"))
