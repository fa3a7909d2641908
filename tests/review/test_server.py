from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from blemish.errors import ConfigError, MissingDependencyError
from blemish.output import write_outputs
from blemish.review import serve as serve_module
from blemish.review.guard import SECURITY_HEADERS, Keys
from blemish.review.log import REVIEW_FILE, read_log
from blemish.review.serve import serve
from blemish.review.server import MAX_BODY_BYTES, review_app
from blemish.review.session import Session
from helpers.asgi import Answer, request, requests
from helpers.results import HOSTILE_NAMES, loader, make_result
from helpers.reviews import as_json
from helpers.served import port_and_token, served

PORT = 43210
HOST = {"host": f"127.0.0.1:{PORT}"}
SECRET = "the secret beside the results"


class Place:
    """A folder of results under review, its application and its secrets."""

    def __init__(self, folder: Path) -> None:
        self.result = make_result(2, (3, 2), paths=[*HOSTILE_NAMES[:6], "plain.png"])
        write_outputs(self.result, folder, report=True, load_image=loader(self.result))
        (folder.parent / "secret.txt").write_text(SECRET)
        (folder.parent / "secret.png").write_text(SECRET)
        (folder / "private.png").write_text(SECRET)
        self.folder, self.keys = folder, Keys()
        self.session = Session(folder, self.result)
        self.app = review_app(self.session, self.keys, PORT)
        self.api = HOST | {"x-blemish-token": self.keys.token, "origin": f"http://127.0.0.1:{PORT}"}
        self.cookie = HOST | {"cookie": f"other=1; blemish-review-{PORT}={self.keys.cookie}"}

    def post(self, body: str | bytes, **headers: str) -> Answer:
        content = body.encode() if isinstance(body, str) else body
        return request(self.app, "POST", "/api/operations", self.api | headers, content)

    def get(self, target: str) -> Answer:
        return request(self.app, "GET", target, self.cookie)


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("served") / "results")


@pytest.fixture
def place(shared_place: Place) -> Place:
    (shared_place.folder / REVIEW_FILE).unlink(missing_ok=True)
    return shared_place


def test_the_printed_address_opens_the_page_and_the_cookie_its_pictures(place: Place) -> None:
    page = request(place.app, "GET", f"/?token={place.keys.token}", HOST)
    assert page.status == 200
    assert f'<head><meta name="blemish-review" content="{place.keys.token}">'.encode() in page.body
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert place.keys.token not in cookie
    picture = request(place.app, "GET", "/overlays/plain.jpg", HOST | {"cookie": cookie.split(";")[0]})
    assert picture.status == 200
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.body == (place.folder / "overlays/plain.jpg").read_bytes()
    assert all(page.headers[name] == value for name, value in SECURITY_HEADERS.items())
    assert not any(name.startswith("access-control") for name in page.headers)


def test_operations_are_saved_at_once_and_read_back(place: Place) -> None:
    first, second = as_json("rename", type=1, name="裂纹"), as_json("normal", images=[place.result.paths[3]])
    assert json.loads(place.post(first).body) == {"ok": True, "revision": 1}
    assert json.loads(place.post(second).body) == {"ok": True, "revision": 2}
    assert json.loads(place.post(first).body) == {"ok": True, "revision": 2}
    found = json.loads(request(place.app, "GET", "/api/operations", place.api).body)
    assert found["revision"] == 2
    assert [one["id"] for one in found["operations"]] == [json.loads(one)["id"] for one in (first, second)]
    assert len(read_log(place.folder / REVIEW_FILE).ids) == 2


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 422, "not JSON"),
        (as_json("rename", type=1, name=""), 422, "rename.name"),
        (as_json("rename", type=9, name="x"), 409, "no type 9"),
        (as_json("normal", images=["../secret.png"]), 422, "no such image"),
        (as_json("new_type", name="x", label=2), 409, "3 is free"),
        (as_json("undo", target="00000000-0000-0000-0000-000000000009"), 409, "no operation"),
    ],
)
def test_what_cannot_be_saved_is_said_and_not_saved(place: Place, body: str, status: int, message: str) -> None:
    answer = place.post(body)
    assert answer.status == status
    assert message in json.loads(answer.body)["error"]
    assert not (place.folder / REVIEW_FILE).exists()


def test_a_window_that_does_not_know_all_operations_is_told(place: Place) -> None:
    assert place.post(as_json("rename", type=1, name="x"), **{"x-blemish-revision": "0"}).status == 200
    stale = place.post(as_json("rename", type=1, name="y"), **{"x-blemish-revision": "0"})
    assert stale.status == 409
    assert "another window" in json.loads(stale.body)["error"]


def test_a_damaged_log_is_left_alone(place: Place) -> None:
    (place.folder / REVIEW_FILE).write_text("damaged\n{}\n")
    answer = place.post(as_json("rename", type=1, name="x"))
    assert answer.status == 500
    assert "line 1" in json.loads(answer.body)["error"]
    assert (place.folder / REVIEW_FILE).read_text() == "damaged\n{}\n"


def test_a_type_is_clustered_into_parts(place: Place) -> None:
    answer = request(place.app, "POST", "/api/split?type=1&parts=2", place.api)
    parts = json.loads(answer.body)["parts"]
    assert sorted(path for part in parts for path in part) == sorted(place.result.paths[2:5])
    assert len(parts) == 2
    for query in ("type=1&parts=4", "type=1&parts=1", "type=1&parts=21", "type=1", "type=x&parts=2", "type=-1&parts=2"):
        refused = request(place.app, "POST", f"/api/split?{query}", place.api)
        assert refused.status == 422, query
        assert not json.loads(refused.body)["ok"]


FOREIGN = [
    {"host": "evil.example"},
    {"host": f"evil.example:{PORT}"},
    {"host": f"127.0.0.1:{PORT}.evil.example"},
    {"host": "127.0.0.1"},
    {"host": f"127.0.0.1:{PORT + 1}"},
    {"host": ""},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": f"http://127.0.0.1:{PORT + 1}"},
    {"origin": f"https://127.0.0.1:{PORT}"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_foreign_hosts_and_origins_are_refused_even_with_the_token(place: Place, foreign: dict[str, str]) -> None:
    for headers, method, target in (
        (place.api, "POST", "/api/operations"),
        (place.api, "GET", "/api/operations"),
        (place.cookie, "GET", f"/?token={place.keys.token}"),
        (place.cookie, "GET", "/overlays/plain.jpg"),
    ):
        answer = request(place.app, method, target, headers | foreign, as_json("rename", type=1, name="x").encode())
        assert answer.status == 403
        assert place.keys.token.encode() not in answer.body
    assert not (place.folder / REVIEW_FILE).exists()


def test_without_the_token_nothing_opens(place: Place) -> None:
    body = as_json("rename", type=1, name="x").encode()
    wrong = {"x-blemish-token": "x" * 43}
    by_cookie = {"x-blemish-token": place.keys.cookie, "cookie": place.cookie["cookie"]}
    for headers in ({}, wrong, by_cookie, {"x-blemish-token": "\xff"}):
        for method, target in (
            ("POST", "/api/operations"),
            ("GET", "/api/operations"),
            ("POST", "/api/split?type=1&parts=2"),
        ):
            assert request(place.app, method, target, HOST | headers, body).status == 403
    for target in ("/", "/report.html", "/?token=x", f"/?token={place.keys.cookie}", "/overlays/plain.jpg", "/nothing"):
        assert request(place.app, "GET", target, HOST).status == 403
        assert request(place.app, "GET", target, HOST | {"cookie": f"blemish-review-{PORT}=\xff; x"}).status == 403
    assert request(place.app, "OPTIONS", "/api/operations", HOST | {"origin": "http://evil.example"}).status == 403
    assert not (place.folder / REVIEW_FILE).exists()


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.png",
        "/overlays/../../secret.png",
        "/overlays/../private.png",
        "/overlays/%2e%2e/%2e%2e/secret.png",
        "/overlays/..%2f..%2fsecret.png",
        "/overlays%2f..%2fprivate.png",
        "/overlays/%252e%252e/private.png",
        "/overlays/..%5c..%5csecret.png",
        "/overlays//plain.jpg",
        "//overlays/plain.jpg",
        "/overlays/./plain.jpg",
        "/overlays/%00plain.jpg",
        "/overlays/plain.jpg%00.png",
        "/private.png",
        "/run.json",
        "/images.csv",
        "/review.jsonl",
        "/descriptors.npy",
        "/.blemish-lock",
        "/overlays",
        "/overlays/",
        "/overlays/link.jpg",
        "/overlays/folder/secret.png",
        "/overlays/pipe.png",
        "/overlays/plain.txt",
        "/overlays/plain.js",
        "/report_files/../overlays/plain.js",
        "/etc/passwd",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/overlays/" + "a" * 5000 + ".png",
        "/overlays/" + "../" * 40 + "etc/passwd.png",
    ],
)
def test_no_path_leaves_the_folders_of_pictures(place: Place, target: str) -> None:
    overlays = place.folder / "overlays"
    for name, leads_to in (("link.jpg", place.folder.parent / "secret.png"), ("folder", place.folder.parent)):
        if not (overlays / name).is_symlink():
            (overlays / name).symlink_to(leads_to)
    if not (overlays / "pipe.png").exists():
        os.mkfifo(overlays / "pipe.png")
    for name in ("plain.txt", "plain.js"):
        (overlays / name).write_text(SECRET)
    answer = place.get(target)
    assert answer.status == 404
    assert SECRET.encode() not in answer.body


def test_pictures_of_images_with_odd_names_are_found(place: Place) -> None:
    from urllib.parse import quote

    names = sorted(os.listdir(os.fsencode(place.folder / "masks")))
    files = [b"masks/" + name for name in names if name.endswith(b".png")]
    assert len(files) > 3
    for file in files:
        assert place.get("/" + quote(file)).status == 200


def large_body(part: bytes = b"x" * 65536, size: int = 2**30) -> Iterator[bytes]:
    for _ in range(size // len(part)):
        yield part


@pytest.mark.parametrize("declared", ["1073741824", "10", "-1", "x", "9" * 5000, None])
def test_a_body_of_a_gigabyte_is_not_read(place: Place, declared: str | None) -> None:
    headers = place.api | ({} if declared is None else {"content-length": declared})
    for target in ("/api/operations", "/api/split?type=1&parts=2"):
        answer = request(place.app, "POST", target, headers, large_body())
        assert answer.status == 413
        assert answer.taken <= MAX_BODY_BYTES + 65536
    assert not (place.folder / REVIEW_FILE).exists()


def test_ten_thousand_requests_change_nothing_and_leave_nothing_behind(place: Place) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    mixed = [
        ("POST", "/api/operations", HOST, iter([b"{}"])),
        ("GET", "/overlays/../../secret.png", place.cookie, iter([])),
        ("GET", "/", HOST | {"origin": "http://evil.example"}, iter([])),
        ("POST", "/api/operations", place.api | {"content-length": "9999999"}, iter([])),
        ("GET", "/overlays/link.jpg", place.cookie, iter([])),
    ]
    answers = requests(place.app, mixed * 2000)
    assert {answer.status for answer in answers} == {403, 404, 413}
    assert not (place.folder / REVIEW_FILE).exists()
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after <= before + 5
    assert place.get("/").status == 200


def test_methods_that_nobody_needs_are_refused(place: Place) -> None:
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert request(place.app, method, "/overlays/plain.jpg", place.cookie).status == 405
    assert request(place.app, "DELETE", "/api/operations", place.api).status == 405


def test_results_that_another_run_has_replaced_are_not_reviewed_further(tmp_path: Path) -> None:
    other = Place(tmp_path / "results")
    write_outputs(make_result(1, (2, 2)), other.folder, report=True)
    for answer in (other.post(as_json("rename", type=1, name="x")), other.get("/")):
        assert answer.status == 503
        assert b"another run has replaced" in answer.body
    assert not (other.folder / REVIEW_FILE).exists()


@pytest.fixture
def address(place: Place) -> Iterator[tuple[int, str]]:
    """Port and token of a real server in a thread."""
    with served(place.session) as printed:
        yield port_and_token(printed)


def test_the_server_itself_stands_attacks_on_the_wire(place: Place, address: tuple[int, str]) -> None:
    port, token = address
    head = f"Host: 127.0.0.1:{port}\r\nX-Blemish-Token: {token}\r\n"

    def ask(text: str, body: Iterable[bytes] = ()) -> tuple[bytes, int]:
        sent = 0
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(text.encode())
            try:
                for part in body:
                    connection.sendall(part)
                    sent += len(part)
            except OSError:
                pass  # the server has closed the connection
            try:
                return connection.recv(65536), sent
            except ConnectionResetError:
                return b"", sent

    assert b" 404 " in ask(f"GET /overlays/../../secret.png?token={token} HTTP/1.1\r\n{head}\r\n")[0]
    assert b" 403 " in ask(f"GET /?token={token} HTTP/1.1\r\nHost: evil.example\r\n\r\n")[0]
    assert b" 403 " in ask("GET /api/operations HTTP/1.1\r\n" + f"Host: 127.0.0.1:{port}\r\n\r\n")[0]
    assert b" 400 " in ask(f"GET / HTTP/1.1\r\n{head}X: {'a' * 200_000}\r\n\r\n")[0]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    post = f"POST /api/operations HTTP/1.1\r\n{head}"
    answer, sent = ask(post + "Content-Length: 1073741824\r\n\r\n", large_body())
    assert answer == b"" or b" 413 " in answer
    assert sent < 2**26
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer, sent = ask(post + "Transfer-Encoding: chunked\r\n\r\n", large_body(chunk))
    assert answer == b"" or b" 413 " in answer
    assert sent < 2**26
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory + 100_000  # kilobytes
    body = as_json("rename", type=1, name="x")
    assert b" 200 " in ask(f"{post}Content-Length: {len(body)}\r\n\r\n{body}")[0]
    assert read_log(place.folder / REVIEW_FILE).ids == {json.loads(body)["id"]}


def test_a_port_in_use_is_an_error_with_a_remedy(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="in use; choose another"):
        serve(place.session, taken.getsockname()[1], lambda _: None)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'blemish\[review\]'"):
        serve_module.require_server()
