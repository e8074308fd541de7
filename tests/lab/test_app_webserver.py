# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The textbook's steps on the running lab: a recording of its servers, held against strace, ps and the answers.

The recording is made anew for these tests, beside the one that the page shows.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

import pytest
from visitor import Visitor, on_host, url_of, visiting

HOME = "/srv/weblab/webserver"
RECORD = ["/usr/bin/python3", "-B", f"{HOME}/recorder/record.py", f"{HOME}/requests.json"]
KINDS = ["nginx", "prefork", "worker", "event", "open_files", "cache"]
#: strace as anybody would run it, on the workers of a server, while curl asks for the same.
ORACLE = """
directory=$(mktemp --directory)
timeout --signal INT 15 strace -ff -y -s 300 -o "$directory/call" -p "$1" 2> "$directory/said" &
strace=$!
until [ "$(grep --count attached "$directory/said")" -ge "$3" ] || ! kill -0 $strace; do sleep 0.1; done
sleep 0.3
curl --silent --show-error --fail --output /dev/null --header "X-Weblab-Step: oracle" "$2"
sleep 0.3
kill $strace; wait $strace
cat $(grep --files-with-matches "X-Weblab-Step: oracle" "$directory"/call.*)
rm -r "$directory"
"""


def _record(*options: str, **environment: str) -> dict[str, t.Any]:
    """Record with the host's own program, into a file that goes again."""
    words = ["env", *(f"{key}={value}" for key, value in environment.items()), *RECORD, "$file", *options]
    line = " ".join(word if word == "$file" else shlex.quote(word) for word in words)
    text = on_host("sh", "-ec", f'file=$(mktemp); {line} >&2; cat "$file"; rm "$file"')
    return {request["kind"]: request for request in json.loads(text)["requests"]}


@pytest.fixture(autouse=True)
def visit() -> t.Iterator[None]:
    """Who else is served meanwhile is in strace's own output, too."""
    with visiting(alone=True):
        yield


@pytest.fixture(scope="module")
def page() -> Visitor:
    with visiting():
        return Visitor(url_of("webserver"))


@pytest.fixture(scope="module")
def traced(page: Visitor) -> dict[str, t.Any]:
    with visiting(alone=True):
        return _record()


@pytest.fixture(scope="module")
def watched(page: Visitor) -> dict[str, t.Any]:
    """The same on a host where nobody finds a strace."""
    with visiting(alone=True):
        return _record(PATH="/nowhere")


def _calls(round_: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return [call for actor in round_["actors"] for call in actor["calls"] if "left_out" not in call]


def _of(request: t.Mapping[str, t.Any], role: str) -> list[dict[str, t.Any]]:
    return [process for process in request["processes"] if process["role"] == role]


def test_the_page_shows_what_the_playbook_has_recorded(page: Visitor) -> None:
    answer = page.get("/")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    shown = page.get("/steps.json").json()
    assert [request["kind"] for request in shown["requests"]] == KINDS
    texts = page.get("/texts.json").json()
    for round_ in (round_ for request in shown["requests"] for round_ in request["rounds"]):
        for call in _calls(round_):
            assert call["why"] in texts["why"]
            assert call["step"] in texts["steps"]
    assert page.get("/requests.json").status == page.get("/recorder/record.py").status == 404


def test_a_second_run_leaves_the_recording_alone(page: Visitor) -> None:
    before = on_host("sha256sum", f"{HOME}/page/steps.json")
    assert on_host(*RECORD, f"{HOME}/page/steps.json", "--if-new").strip() == "there already"
    assert on_host("sha256sum", f"{HOME}/page/steps.json") == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_processes_are_those_that_ps_shows(traced: dict[str, t.Any], kind: str) -> None:
    processes = traced[kind]["processes"]
    for process in processes:
        shown = on_host("ps", "--no-headers", "-o", "ppid=,user:32=,nlwp=", "-p", str(process["pid"])).split()
        assert shown == [str(process["ppid"]), process["user"], str(process["threads"])]
    masters = {process["pid"] for process in _of(traced[kind], "master")}
    assert {process["ppid"] for process in _of(traced[kind], "worker")} == masters


@pytest.mark.parametrize("kind", ["nginx", "prefork", "worker", "event"])
def test_the_steps_are_the_calls_that_strace_shows(traced: dict[str, t.Any], kind: str) -> None:
    request = traced[kind]
    pids = [str(process["pid"]) for process in _of(request, "worker")]
    url = f"http://127.0.0.1:{request['port']}{request['path']}"
    seen = on_host("bash", "-c", ORACLE, "oracle", ",".join(pids), url, str(len(pids)))
    # A process that writes the first line of its life into a log looks for the time zone before.
    names = re.findall(r"^(\w+)\((?!.*(?:zoneinfo|/etc/localtime))", seen, flags=re.MULTILINE)
    server = next(actor for actor in request["rounds"][0]["actors"] if any(c["step"] == "read" for c in actor["calls"]))
    told = [call["call"] for call in server["calls"] if not re.search("zoneinfo|/etc/localtime", call["arguments"])]
    assert set(told) <= set(names), seen
    # Between the request and the log, the same calls in the same order; but for memory, which nobody asked about.
    start, end = ("recvfrom" if kind == "nginx" else "read"), "write"
    ours = told[told.index(start) : told.index(end)]
    theirs = names[names.index(start) : names.index(end)]
    memory = {"mmap", "munmap", "brk", "mprotect", "madvise", "clock_gettime", "times", "getpid", "gettid"}
    assert [name for name in ours if name not in memory] == [name for name in theirs if name not in memory], seen


@pytest.mark.parametrize("kind", ["nginx", "prefork", "worker", "event"])
def test_one_worker_of_k_accepts_and_serves(traced: dict[str, t.Any], kind: str) -> None:
    request = traced[kind]
    first, second = request["rounds"]
    workers = {process["pid"] for process in _of(request, "worker")}
    assert len(workers) > 1
    winners = {actor["pid"] for actor in first["actors"]}
    assert len(winners) == 1
    assert winners < workers
    steps = [call["step"] for call in _calls(first)]
    assert {"accept", "read", "map", "send", "log"} <= set(steps)
    assert sum(call["why"] == "accept" for call in _calls(first)) == 1
    # The connection was kept: nobody accepts again, and it is closed when the client has gone.
    assert [call for call in _calls(second) if call["why"] == "accept"] == []
    assert {"client_closed", "close"} <= {call["why"] for call in _calls(second)}
    file = on_host(
        "sh", "-c", f"find /usr/share/gitweb /usr/share/wordpress -path '*{request['path']}' -printf %s"
    ).strip()
    assert {round_["bytes"] for round_ in request["rounds"]} == {int(file)}


def test_the_threads_are_those_of_the_mpm(traced: dict[str, t.Any]) -> None:
    threads = {
        kind: {actor["tid"] for actor in traced[kind]["rounds"][0]["actors"]} for kind in ("nginx", "prefork", "worker")
    }
    assert {kind: len(found) for kind, found in threads.items()} == {"nginx": 1, "prefork": 1, "worker": 2}
    # One thread accepts, another one serves; of event, the listening one watches the connection afterwards.
    for kind in ("worker", "event"):
        accepts, reads = (
            {
                actor["tid"]
                for actor in traced[kind]["rounds"][0]["actors"]
                if any(call["why"] == why for call in actor["calls"] if "why" in call)
            }
            for why in ("accept", "request")
        )
        assert len(accepts) == len(reads) == 1
        assert accepts != reads
    assert "watch" in {call["why"] for call in _calls(traced["event"]["rounds"][1])}
    assert "watch" not in {call["why"] for call in _calls(traced["worker"]["rounds"][1])}


def test_nginx_sends_from_the_kernels_memory_and_apache_from_its_own(traced: dict[str, t.Any]) -> None:
    ways = {kind: {call["why"] for call in _calls(traced[kind]["rounds"][0])} for kind in ("nginx", "prefork")}
    assert "sendfile" in ways["nginx"]
    assert "mmap" in ways["prefork"]


def test_a_file_that_is_kept_open_is_not_opened_again(traced: dict[str, t.Any]) -> None:
    last = _calls(traced["open_files"]["rounds"][-1])
    assert [call for call in last if call["step"] == "map"] == []
    assert "sendfile" in {call["why"] for call in last}
    # Without the cache of open files, every time.
    assert "open" in {call["why"] for call in _calls(traced["nginx"]["rounds"][-1])}


def test_the_first_answer_comes_from_the_backend_and_the_second_from_the_cache(traced: dict[str, t.Any]) -> None:
    miss, hit = traced["cache"]["rounds"]
    assert (miss["cache"], hit["cache"]) == ("MISS", "HIT")
    sockets = {socket for actor in miss["actors"] for socket in actor["sockets"]}
    assert {socket.partition(":")[0] for socket in sockets} == {"0.0.0.0", "127.0.0.1", "/run/php/blog-proxy.sock"}
    assert {socket for actor in hit["actors"] for socket in actor["sockets"]} == {f"0.0.0.0:{traced['cache']['port']}"}
    assert {"ask", "answer"} <= {call["why"] for call in _calls(miss)}
    assert [call for call in _calls(hit) if call["step"] == "backend"] == []
    assert any("/var/cache/nginx-" in call["arguments"] for call in _calls(hit))


def test_nothing_that_is_secret_is_told(traced: dict[str, t.Any], page: Visitor) -> None:
    secret = on_host("cat", "/etc/weblab/wordpress/blog-proxy.key").strip()
    assert len(secret) > 20
    told = json.dumps(traced)
    assert "/etc/weblab/wordpress/blog-proxy.key" in told, "the file is not read any more: find another secret"
    assert secret[:8] not in told
    assert secret[:8] not in page.get("/steps.json").text


def test_nobody_is_traced_any_more(traced: dict[str, t.Any]) -> None:
    pids = {process["pid"] for request in traced.values() for process in request["processes"]}
    status = on_host("sh", "-c", " ".join(["grep -h TracerPid", *(f"/proc/{pid}/task/*/status" for pid in pids)]))
    assert set(status.split()) == {"TracerPid:", "0"}


@pytest.mark.parametrize("kind", ["nginx", "prefork", "worker", "event"])
def test_without_strace_proc_tells_who_held_the_connection(
    watched: dict[str, t.Any], traced: dict[str, t.Any], kind: str
) -> None:
    request = watched[kind]
    assert (request["method"], request["sees"]) == ("proc", True)
    moments = {moment["moment"]: moment for moment in request["moments"]}
    assert list(moments) == ["connected", "half", "answered", "closed"]
    # Apache's listening sockets have TCP_DEFER_ACCEPT, nginx's not: ss shows the timer of those that wait.
    assert (moments["connected"]["connection"]["state"] == "SYN_RECV") == (kind != "nginx")
    (holder,) = moments["answered"]["connection"]["held_by"]
    assert holder in {process["pid"] for process in _of(request, "worker")}
    assert moments["closed"]["connection"]["held_by"] == []
    written = sum(thread.get("wchar", 0) for thread in moments["answered"]["threads"] if thread["pid"] == holder)
    assert written > request["rounds"][0]["bytes"]
    # What strace saw the winner wake up from is what /proc had seen it wait in.
    winner = traced[kind]["rounds"][0]["actors"][0]
    waits = next(process["waits"] for process in traced[kind]["processes"] if process["pid"] == winner["pid"])
    assert winner["calls"][0]["call"] in {wait["call"] for wait in waits}


def test_where_the_kernel_shows_nothing_of_others_that_is_said(page: Visitor) -> None:
    words = ["setpriv", "--bounding-set", "-sys_ptrace", *RECORD]
    text = on_host("sh", "-ec", f'file=$(mktemp); {shlex.join(words)} "$file" >&2; cat "$file"; rm "$file"')
    for request in json.loads(text)["requests"]:
        assert (request["method"], request["sees"]) == ("proc", False)
        assert [moment["connection"]["state"] for moment in request["moments"]][1:3] == ["ESTABLISHED"] * 2
        assert request["rounds"][0]["status"] == 200


def test_a_site_that_does_not_answer_is_named(page: Visitor) -> None:
    requests = json.loads(on_host("cat", f"{HOME}/requests.json"))[:1]
    requests[0]["sockets"] = [{"host": "0.0.0.0", "port": 9}]
    script = f"""cd $(mktemp -d); echo {shlex.quote(json.dumps(requests))} > wrong.json
        {shlex.join(RECORD[:-1])} wrong.json steps.json 2>&1; echo "left with $?"; ls"""
    said = on_host("sh", "-c", script).splitlines()
    site = requests[0]["site"]
    assert said == [
        f"requests[0], nginx of {site}: nothing listens on port 9; start the site, or take it out of the requests",
        "left with 1",
        "wrong.json",
    ]
