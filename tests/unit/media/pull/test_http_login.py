import re
from hashlib import md5, sha256

import pytest

from app.media.pull.http_login import authorization
from app.media.pull.source_url import SourceUrl

MUFASA = SourceUrl(
    scheme="http",
    host="cam1",
    port=80,
    path="/dir/index.html",
    user="Mufasa",
    password="Circle%20of%20Life",  # noqa: S106
)
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"


def test_digest_without_qop_is_the_example_of_the_standard() -> None:
    """RFC 2069 section 2.4, with the answer of its erratum 749."""
    source = SourceUrl(scheme="http", path="/dir/index.html", user="Mufasa", password="CircleOfLife")  # noqa: S106
    challenge = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c"'
    answer = authorization(source, [challenge], path=source.path)
    assert answer is not None
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in answer
    assert 'opaque="5ccc069c"' in answer


@pytest.mark.parametrize(("algorithm", "digest"), [("MD5", md5), ("SHA-256", sha256)])
def test_digest_with_qop_answers_what_the_server_computes(algorithm: str, digest: type) -> None:
    """The values of RFC 7616 section 3.9.1; the client's nonce is its own."""
    challenge = f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{NONCE}"'
    answer = authorization(MUFASA, ['Basic realm="x"', challenge], path="/dir/index.html")
    assert answer is not None
    given = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', answer)}

    def hashed(text: str) -> str:
        return str(digest(text.encode()).hexdigest())

    secret, request = hashed("Mufasa:http-auth@example.org:Circle of Life"), hashed("GET:/dir/index.html")
    expected = hashed(f"{secret}:{NONCE}:{given['nc']}:{given['cnonce']}:auth:{request}")
    assert (given["response"], given["qop"], given["algorithm"]) == (expected, "auth", algorithm)


def test_basic_is_answered_where_nothing_better_is_offered() -> None:
    challenges = ['Basic realm="x"', 'Digest realm="y", nonce="z", algorithm=SHA-512-256']
    assert authorization(MUFASA, challenges, path="/") == "Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl"


@pytest.mark.parametrize("challenges", [[], ["Negotiate"], ['Digest realm="no nonce"']])
def test_a_challenge_that_cannot_be_met_is_not_answered(challenges: list[str]) -> None:
    assert authorization(MUFASA, challenges, path="/") is None


def test_who_has_no_login_answers_nobody() -> None:
    assert authorization(SourceUrl(scheme="http", path="/"), ['Basic realm="x"'], path="/") is None
