"""Servers that go, come back, refuse and lie: stand-ins for what HTTP can do."""

import asyncio
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.rollouts.engine import Request, Sampling, SyncFailed, complete_all
from journeyman.rollouts.routing import route
from journeyman.rollouts.server import PROBE
from journeyman.rollouts.servers import NoServer, ServersEngine

EOS = 2
PROMPTS = [[5, 6, 7 + i] for i in range(12)]


def requests(n=24, step=1):
    return [Request(PROMPTS[i % len(PROMPTS)], (7, step, i)) for i in range(n)]


def cut_off(handler, body):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


FAILURES = {
    "an error of its own": lambda handler, body: handler.answer(500, {"error": {"message": "out of memory"}}),
    "cut off": cut_off,
    "model gone": lambda handler, body: handler.answer(404, {"error": {"message": "The model does not exist."}}),
    "ended early": lambda handler, body: handler.completion(body, finish_reason="abort"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_request_whose_server_fails_is_asked_elsewhere_with_the_same_random_numbers(engine, two, failure):
    expected = complete_all(engine, requests(), Sampling(4))
    asked_before = [len(server.completions()) for server in two]
    assert all(asked_before) and sum(asked_before) == 24

    two[0].misbehave = failure
    again = complete_all(engine, requests(), Sampling(4))
    failed, redone = two[0].completions()[asked_before[0] :], two[1].completions()[asked_before[1] :]
    assert [c.ids for c in again] == [c.ids for c in expected]
    assert failed and {body["seed"] for body in failed} <= {body["seed"] for body in redone}
    assert len(redone) == 24, "answered once each"


def test_a_server_that_hangs_is_given_up_after_a_few_looks(engine, two):
    hung = threading.Event()

    def hang(handler, body):
        two[0].healthy = False
        hung.wait(20)
        cut_off(handler, body)

    two[0].misbehave = hang
    began = time.monotonic()
    done = complete_all(engine, requests(), Sampling(4))
    hung.set()
    assert len(done) == 24 and len(two[1].completions()) == 24 and time.monotonic() - began < 5


def test_the_version_moves_when_every_server_that_is_up_has_acknowledged(engine, two, model, until):
    two[1].may_load.clear()
    syncing = threading.Thread(target=engine.sync, args=(model, 1))
    syncing.start()
    until(lambda: two[0].adapters)
    time.sleep(0.2)
    assert engine.policy_version == 0 and not two[1].adapters

    two[1].may_load.set()
    syncing.join()
    complete_all(engine, requests(), Sampling(4))
    [name] = two[0].adapters
    assert engine.policy_version == 1 and name.startswith("policy-v1-") and list(two[1].adapters) == [name]
    assert {body["model"] for server in two for body in server.completions()} == {name}


def test_a_server_that_comes_back_loads_the_adapter_before_it_gets_requests(
    engine, two, model, readapt, until, stand_in
):
    engine.sync(model, 1)
    two[0].stop()
    until(lambda: not engine.servers[0].up)
    readapt(1)
    engine.sync(model, 2)
    assert engine.policy_version == 2

    complete_all(engine, requests(), Sampling(4))
    assert len(two[1].completions()) == 24
    two[0] = stand_in(two[0].port)
    until(lambda: engine.servers[0].up)
    complete_all(engine, requests(), Sampling(4))
    paths = [path for path, body in two[0].seen if body.get("prompt") != PROBE]
    assert paths[0] == "/v1/load_lora_adapter" and paths.count("/v1/completions") == len(paths) - 1 > 0
    assert {body["model"] for body in two[0].completions()} == set(two[0].adapters)


def test_the_last_two_versions_stay_loaded(engine, two, model, readapt):
    for version in (1, 2, 3):
        readapt(version)
        engine.sync(model, version)
    assert [name.split("-")[1] for name in two[0].adapters] == ["v2", "v3"]


def test_a_name_says_what_is_in_it_so_runs_and_ranks_share_servers(engine, two, model, readapt):
    readapt(5)
    engine.sync(model, 1)
    other = ServersEngine([server.url for server in two], [EOS], every=0.05)
    other.sync(model, 1)
    assert len(two[0].adapters) == 1, "the same adapter is loaded once"
    other.close()

    readapt(6)
    other = ServersEngine([server.url for server in two], [EOS], every=0.05)
    other.sync(model, 1)
    complete_all(other, requests(1), Sampling(4))
    complete_all(engine, requests(1), Sampling(4))
    [asked] = [server.completions() for server in two if server.completions()]
    assert [body["model"] for body in asked] == list(two[0].adapters)[::-1], (
        "one version, two adapters, each asked for by its run"
    )
    other.close()


def test_what_a_run_that_is_over_has_loaded_is_loaded_again(engine, two, model):
    over = ServersEngine([server.url for server in two], [EOS], every=0.05)
    over.sync(model, 1)
    over.close()
    over.close()
    before = dict(two[0].adapters)
    engine.sync(model, 1)
    assert two[0].adapters.keys() == before.keys() and two[0].adapters != before, "of that run's files none is left"


def test_a_shared_folder_is_given_in_full_and_others_may_read_it(two, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = ServersEngine([server.url for server in two], [EOS], folder=Path("shared/adapters"), every=0.05)
    engine.sync(model, 1)
    [path] = map(Path, two[0].adapters.values())
    assert path.is_relative_to(tmp_path / "shared" / "adapters") and (path / "adapter_model.safetensors").is_file()
    assert path.parent.stat().st_mode & 0o777 == 0o755
    engine.close()
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be made"):
        ServersEngine(["http://a:8000"], [EOS], folder=tmp_path / "file")


def test_prompts_of_a_group_share_a_server_and_a_conversation_stays(engine, two):
    groups = [Request(prompt, (7, 1, i * 4 + j)) for i, prompt in enumerate(PROMPTS[:3]) for j in range(4)]
    complete_all(engine, groups, Sampling(4))
    asked = [[tuple(body["prompt"]) for body in server.completions()] for server in two]
    assert not set(asked[0]) & set(asked[1])

    later = [Request([*r.prompt_ids, 9, r.stream[2]], r.stream, turn=1) for r in groups]
    complete_all(engine, later, Sampling(4))
    for server, before in zip(two, asked, strict=True):
        assert {tuple(body["prompt"][:3]) for body in server.completions()} == set(before)


def test_a_caller_that_gives_up_leaves_nothing_behind(engine, two, model):
    free = threading.Event()
    two[0].misbehave = two[1].misbehave = lambda handler, body: free.wait(20) and cut_off(handler, body)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.complete(Request([5], (0, 0, 0)), Sampling(4)), 0.2)

    asyncio.run(give_up())
    engine.sync(model, 1)
    assert engine.policy_version == 1 and all(server.up for server in engine.servers)
    free.set()


def test_no_version_moves_under_requests_that_are_under_way(engine, two, model, monkeypatch, until):
    monkeypatch.setattr("journeyman.rollouts.servers.DRAIN_SECONDS", 0.2)
    free = threading.Event()
    two[0].misbehave = two[1].misbehave = lambda handler, body: free.wait(20) and handler.completion(body)
    asking = threading.Thread(target=complete_all, args=(engine, requests(4), Sampling(4)))
    asking.start()
    until(lambda: sum(len(server.under_way) for server in engine.servers) == 4)
    with pytest.raises(SyncFailed, match="4 requests are under way"):
        engine.sync(model, 1)
    free.set()
    asking.join()
    assert engine.policy_version == 0


REFUSALS = {
    "rank": ((400, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 32."}}), "rank 64 is .*--max-lora-rank"),
    "elsewhere": ((404, {"error": {"message": "No adapter found for /x"}}), "a folder that every server sees"),
    "fixed": ((404, {"detail": "Not Found"}), "no adapters at run time; start it with `journeyman serve-rollouts`"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "message"), REFUSALS.values(), ids=REFUSALS)
def test_an_adapter_that_every_server_refuses_is_an_error_at_once(engine, two, model, error, message):
    for server in two:
        server.adapter_error = error
    began = time.monotonic()
    with pytest.raises(SyncFailed, match=message):
        engine.sync(model, 1)
    assert engine.policy_version == 0 and time.monotonic() - began < 5


def test_what_no_server_would_do_and_what_another_model_says_are_errors(engine, two):
    for server in two:
        server.misbehave = lambda handler, body: handler.answer(400, {"error": {"message": "prompt too long: 300"}})
    with pytest.raises(BadInput, match="refuses a request: prompt too long: 300"):
        complete_all(engine, requests(1), Sampling(4))
    for server in two:
        server.misbehave = lambda handler, body: handler.completion(body, model="base-2")
    with pytest.raises(SyncFailed, match="answered with base-2 where base was asked for"):
        complete_all(engine, requests(1), Sampling(4))


def test_a_request_that_fails_everywhere_is_not_tried_for_ever(engine, two):
    for server in two:
        server.misbehave = FAILURES["an error of its own"]
    with pytest.raises(NoServer, match=r"failed 6 times: .*out of memory"):
        complete_all(engine, requests(1), Sampling(4))


def test_without_servers_the_error_names_them_and_their_troubles(two, model, stand_in):
    two[0].stop()
    two[1].healthy = False
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05, patience=0.5)
    with pytest.raises(NoServer, match=rf"for 0.5 s: {two[0].url} .*ConnectError.*; {two[1].url} /health answers 503"):
        engine.sync(model, 1)
    with pytest.raises(NoServer, match="no server was up"):
        complete_all(engine, requests(1), Sampling(4))
    engine.close()
    two[0] = stand_in()


def test_a_server_with_log_probs_of_another_distribution_gets_no_requests(two, stand_in):
    for server in two:
        server.stop()
    raw = stand_in()
    real = raw.http.RequestHandlerClass.completion
    raw.http.RequestHandlerClass.completion = lambda self, body: real(
        self, body, logprobs={"token_logprobs": [-0.7, -2.0]}
    )
    engine = ServersEngine([raw.url], [EOS], every=0.05)
    with pytest.raises(SyncFailed, match="--logprobs-mode processed_logprobs"):
        complete_all(engine, requests(1), Sampling(4))
    engine.close()
    raw.stop()
    two[:] = [stand_in(), stand_in()]


def test_a_server_of_another_base_than_the_others_gets_no_requests(two, model, caplog, until):
    engine = ServersEngine([server.url for server in two], [EOS], every=0.05)
    until(lambda: all(server.up for server in engine.servers))
    two[0].score, two[1].score = -2.0, -2.3  # as if the adapter did nothing on one of them
    engine.sync(model, 1)
    complete_all(engine, requests(), Sampling(4))
    assert Counter(server.up for server in engine.servers) == {True: 1, False: 1}
    assert (
        sorted(len(server.completions()) for server in two) == [0, 24] and "do all serve the same base?" in caplog.text
    )
    engine.close()


@pytest.mark.parametrize("urls", [[], "http://a:8000", ["a:8000"], ["ftp://a"], ["http://"]], ids=str)
def test_addresses_that_are_none_are_bad_input(urls):
    with pytest.raises(BadInput, match="address"):
        ServersEngine(urls, [EOS])


def test_a_server_that_goes_moves_no_prompt_but_its_own():
    urls = [f"http://host-{i}:8000" for i in range(5)]
    prompts = [[i, i * i, 7] for i in range(500)]
    before = [route(prompt, dict.fromkeys(urls, 0)) for prompt in prompts]
    after = [route(prompt, dict.fromkeys(urls[1:], 0)) for prompt in prompts]

    assert all(a == b for a, b in zip(after, before, strict=True) if b != urls[0])
    assert min(Counter(before).values()) > 60 and min(Counter(after).values()) > 80


def test_no_server_gets_much_more_than_its_share():
    loads = dict.fromkeys("abcd", 0)
    for _ in range(400):
        loads[route([1, 2, 3], loads)] += 1
    assert max(loads.values()) <= 126
    assert route([1, 2, 3], {"a": 10**6}) == "a"


@pytest.mark.parametrize(
    ("model", "message"),
    [("nano", "journeyman nano JOB"), ("./nowhere", "no folder ./nowhere"), ("{empty}", "no config.json in it")],
)
def test_serving_what_is_not_there_is_bad_input(command, tmp_path, model, message):
    done = command("serve-rollouts", model.format(empty=tmp_path))
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_a_port_that_is_taken_is_bad_input(command, base, two):
    done = command("serve-rollouts", base, "--port", two[0].port)
    assert done.code == 2 and f"can't listen on 127.0.0.1:{two[0].port}" in done.err and done.err.count("\n") == 1
