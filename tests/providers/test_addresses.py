"""Addresses of servers: what is one, whose it is, and what of it may be told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from interfaces import KINDS, ask

from treadle.errors import ConfigurationError, ProviderUnavailable
from treadle.providers import names, probe

pytestmark = pytest.mark.anyio


@contextmanager
def answering(reply: bytes) -> Generator[tuple[str, list[bytes]]]:
    """A server that gives every connection the same bytes; gives its URL and what it was sent."""
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                asked, _ = listening.accept()
            except OSError:
                return  # closed: the test is over
            with asked:
                heard.append(asked.recv(10_000))
                asked.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", heard
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_key_does_not_follow_a_redirect() -> None:
    listing = b'HTTP/1.0 200 OK\r\n\r\n{"data": [{"id": "other"}]}'
    with answering(listing) as (other, heard):
        redirect = f"HTTP/1.0 302 Found\r\nLocation: {other}/models\r\n\r\n".encode()
        with answering(redirect) as (url, _):
            assert probe.first_model(url, api_key="sk-1234", timeout=5.0) == ""
        assert heard == []


def test_name_and_password_of_an_address_go_to_its_server_alone() -> None:
    with answering(b"HTTP/1.0 401 No\r\n\r\n") as (url, heard):
        assert probe.first_model(url.replace("//", "//me:s%3Acret@"), api_key="sk-1234", timeout=5.0) == ""
    assert b"Authorization: Basic bWU6czpjcmV0\r\n" in heard[0]
    assert b"sk-1234" not in heard[0]


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-OpenSSH_9.7\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_what_speaks_something_else_is_no_model_server(reply: bytes) -> None:
    with answering(reply) as (url, _):
        assert probe.first_model(url, timeout=5.0) == ""


@pytest.mark.parametrize(
    ("url", "is_here"),
    [("http://127.0.0.1:8080/v1", True), ("http://127.8.8.8", True), ("http://[::1]:1/v1", True),
     ("http://LOCALHOST:1", True), ("http://127.0.0.1.nip.io/v1", False), ("https://127.example.com", False),
     ("http://10.0.0.1", False)],
)  # fmt: skip
def test_only_addresses_of_this_machine_are_free(url: str, is_here: bool) -> None:
    assert names.is_loopback(url) is is_here


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("url", ["http://localhost:99999/v1", "http://localhost:eighty/v1"])
def test_a_port_that_is_none_is_refused(kind: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address"):
        KINDS[kind][1]("m", base_url=url)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_password_in_an_address_is_told_nowhere(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model = KINDS[kind][1]("m", base_url=f"http://me:s3cret@127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(ProviderUnavailable, match=r"at http://127\.0\.0\.1") as caught:
            await model.complete(ask())
        await model.aclose()
    assert "s3cret" not in f"{caught.value}{model!r}{model.base_url}"


def test_a_password_in_what_is_no_address_is_not_told_either() -> None:
    with pytest.raises(ConfigurationError) as caught:
        KINDS["openai"][1]("m", base_url="http://me:s3cret@localhost:99999/v1")
    assert "s3cret" not in str(caught.value)
