from ipaddress import ip_address

import pytest

from app.core.errors import InvalidParameterError
from app.media.fetch_guard import FetchParameters, checked, is_public, target_of

OPEN = FetchParameters(allowed_hosts=("images.example.com", "*.cdn.example.net", "192.0.2.7:8080", "[2001:db8::5]"))

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  the point of it
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c:0:0:80ff:fffe",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused_alone_and_among_others(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(InvalidParameterError) as caught:
        checked(["93.184.216.34", address], OPEN)
    assert address not in caught.value.detail


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_taken(address: str) -> None:
    assert checked([address], OPEN) == [ip_address(address)]


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%1", "localhost", "1.2.3", "", "0177.0.0.1"])
def test_what_a_resolver_should_not_say_is_refused(address: str) -> None:
    with pytest.raises(InvalidParameterError):
        checked([address], OPEN)


def test_a_host_without_addresses_is_refused() -> None:
    with pytest.raises(InvalidParameterError):
        checked([], OPEN)


def test_private_networks_are_open_only_where_the_configuration_says_so_and_metadata_never() -> None:
    inside = FetchParameters(allowed_hosts=("nas",), allow_private=True)
    private = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
    assert len(checked(private, inside)) == len(private)
    never = ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "fe80::1"]  # noqa: S104
    for address in never:
        with pytest.raises(InvalidParameterError):
            checked([address], inside)


def test_without_a_list_nothing_is_fetched_and_the_sentence_says_what_to_do() -> None:
    with pytest.raises(InvalidParameterError, match="send the image itself"):
        target_of("https://images.example.com/a.jpg", FetchParameters())


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://images.example.com/a.jpg?size=2", "images.example.com", 443, "/a.jpg?size=2"),
        ("http://images.example.com", "images.example.com", 80, "/"),
        ("HTTPS://Images.Example.COM./a", "images.example.com", 443, "/a"),
        ("https://images.example.com:443/a#fragment", "images.example.com", 443, "/a"),
        ("https://a.b.cdn.example.net/x", "a.b.cdn.example.net", 443, "/x"),
        ("http://192.0.2.7:8080/x", "192.0.2.7", 8080, "/x"),
        ("https://[2001:DB8:0::5]/x", "2001:db8::5", 443, "/x"),
    ],
)
def test_a_listed_host_is_a_target(url: str, host: str, port: int, path: str) -> None:
    target = target_of(url, OPEN)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "images.example.com/a.jpg",
        "//images.example.com/a.jpg",
        "ftp://images.example.com/a.jpg",
        "file:///etc/passwd",
        "gopher://images.example.com/",
        "data:image/png;base64,AAAA",
        "https://",
        "https:///a.jpg",
        "https://example.com/a.jpg",
        "https://images.example.com.evil.com/",
        "https://evil.com/images.example.com",
        "https://evilimages.example.com/",
        "https://cdn.example.net/",
        "https://evilcdn.example.net/",
        "https://.cdn.example.net/",
        "https://user@images.example.com/",
        "https://user:pass@images.example.com/",
        "https://images.example.com@evil.com/",
        "https://evil.com\\@images.example.com/",
        "https://images.example.com\\.evil.com/",
        "https://evil.com#@images.example.com/",
        "https://evil.com?@images.example.com/",
        "https://images.example.com:22/",
        "https://images.example.com:80/",
        "http://images.example.com:443/",
        "https://images.example.com:99999/",
        "https://images.example.com:x/",
        "http://192.0.2.7/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1.cdn.example.net:80@evil.com/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "https://images.example.com/a b",
        "https://images.example.com/\r\nHost: evil.com",
        "https://images.example.com/\x00",
        " https://images.example.com/",
        "https://images.example.com\t.evil.com/",
        "https://im\u0430ges.example.com/",
        "https://images\u3002example\u3002com/",
        "https://images%2eexample%2ecom/",
        "https://images.example.com/" + "a" * 2048,
        "\ud800",
    ],
)
def test_a_url_that_is_malformed_or_not_listed_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameterError, match="url: "):
        target_of(url, OPEN)


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "1.0x"])
def test_an_odd_spelling_of_an_address_is_refused_even_if_listed(spelling: str) -> None:
    with pytest.raises(InvalidParameterError, match="usual spelling"):
        target_of(f"http://{spelling}/", FetchParameters(allowed_hosts=(spelling,), allow_private=True))


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b.jpg", "https://images.example.com/b.jpg"),
        ("c.jpg?x=1", "https://images.example.com/dir/c.jpg?x=1"),
        ("//x.cdn.example.net/b", "https://x.cdn.example.net/b"),
        ("https://x.cdn.example.net/b", "https://x.cdn.example.net/b"),
    ],
)
def test_a_redirect_is_followed_to_what_is_listed(location: str, expected: str) -> None:
    target = target_of("https://images.example.com/dir/a.jpg", OPEN).redirected(location, OPEN)
    assert f"{target.scheme}://{target.authority}{target.path}" == expected


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://images.example.com/a.jpg",
        "https://169.254.169.254/latest/meta-data",
        "//localhost/",
        "file:///etc/passwd",
        "https://user@images.example.com/",
        "https://[::1]/",
        "/a\r\nx: y",
        "https://[",
    ],
)
def test_a_redirect_elsewhere_or_down_to_http_is_refused(location: str) -> None:
    with pytest.raises(InvalidParameterError):
        target_of("https://images.example.com/dir/a.jpg", OPEN).redirected(location, OPEN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_hosts": ("*",)},
        {"allowed_hosts": ("https://example.com",)},
        {"allowed_hosts": ("Example.com",)},
        {"allowed_hosts": ("example.com/",)},
        {"allowed_hosts": ("a b",)},
        {"allowed_hosts": ("",)},
        {"allowed_hosts": ("[::1::2]",)},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"max_redirects": -1},
        {"max_concurrent": 0},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"allowed_hosts|must be|permitted"):
        FetchParameters(**wrong)  # type: ignore[arg-type]  # what YAML may hold
