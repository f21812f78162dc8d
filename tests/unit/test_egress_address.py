import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.executors.address import AddressPolicy, is_name, is_odd_number, parse_literal

PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "2606:2800:220:1::1",
    "2a00::1",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::",
]
PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:101:101:0:0:80ff:fffe",  # Teredo whose client is 127.0.0.1
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted_to_everybody(address: str) -> None:
    assert AddressPolicy.parse([]).permits(address, "any.example")


@pytest.mark.parametrize("address", PRIVATE)
def test_other_addresses_are_refused_by_default(address: str) -> None:
    policy = AddressPolicy.parse([])
    assert not policy.permits(address, "any.example")
    assert not policy.permits(address, address)


@given(st.ip_addresses(v=4))
def test_every_form_of_an_ipv4_address_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    policy = AddressPolicy.parse(["10.1.0.0/16"])
    is_permitted = policy.permits(str(address), "h")
    number = int(address)
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | number)
    nat64 = ipaddress.IPv6Address(0x64FF9B << 96 | number)
    six_to_four = ipaddress.IPv6Address(0x2002 << 112 | number << 80)
    assert [policy.permits(str(form), "h") for form in (mapped, nat64, six_to_four)] == [is_permitted] * 3


def test_an_allowed_network_opens_its_addresses_for_every_name() -> None:
    policy = AddressPolicy.parse(["10.0.0.0/8", "::1", "[fd00::]/16", "192.168.1.0/24", "::ffff:172.16.0.0/108"])
    for address in ("10.9.8.7", "::1", "fd00::5", "192.168.1.77", "::ffff:10.0.0.1", "64:ff9b::a00:1", "172.16.3.4"):
        assert policy.permits(address, "any.example")
    for address in ("11.0.0.1", "127.0.0.1", "fd01::1", "192.168.2.1", "172.32.0.1"):
        assert policy.permits(address, "any.example") is (address in {"11.0.0.1", "172.32.0.1"})


def test_an_allowed_host_matches_exactly_without_case_or_final_dot() -> None:
    policy = AddressPolicy.parse(["Stock.Example", "bücher.example"])
    assert policy.allows_host("STOCK.example.")
    assert policy.allows_host("xn--bcher-kva.example")
    assert policy.permits("10.0.0.1", "stock.example")
    for other in ("a.stock.example", "stock.example.evil", "mystock.example", "example"):
        assert not policy.allows_host(other)
        assert not policy.permits("10.0.0.1", other)


@pytest.mark.parametrize("entry", ["*.svc.example", ".svc.example"])
def test_a_pattern_matches_subdomains_and_not_itself(entry: str) -> None:
    policy = AddressPolicy.parse([entry])
    assert policy.allows_host("a.svc.example")
    assert policy.allows_host("b.a.svc.example")
    assert not policy.allows_host("svc.example")
    assert not policy.allows_host("asvc.example")


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fd00:ec2::254", "fe80::1", "168.63.129.16"]
)
def test_an_allowed_name_does_not_open_metadata_and_link_local_addresses(address: str) -> None:
    assert not AddressPolicy.parse(["stock.example"]).permits(address, "stock.example")
    assert AddressPolicy.parse([address]).permits(address, "stock.example")


def test_a_name_on_the_list_does_not_open_literals() -> None:
    policy = AddressPolicy.parse(["localhost"])
    assert policy.permits("127.0.0.1", "localhost")
    assert not policy.permits("127.0.0.1", "127.0.0.1")
    assert AddressPolicy.parse(["127.0.0.1"]).allows_host("127.0.0.1")


def test_names_of_metadata_services_and_of_this_machine_are_refused_unless_allowed() -> None:
    policy = AddressPolicy.parse(["10.0.0.0/8"])
    for name in ("metadata.google.internal", "METADATA.google.internal.", "localhost", "a.localhost"):
        assert policy.refuses_name(name)
    assert not policy.refuses_name("stock.example")
    assert not AddressPolicy.parse(["localhost"]).refuses_name("LOCALHOST")
    assert not AddressPolicy.parse(["127.0.0.0/8"]).refuses_name("localhost")
    assert not AddressPolicy.parse(["metadata"]).refuses_name("metadata")


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", "*", "*.", ".", "a b", "http://a", "a:80", "127.0.0.1:80", "[::1]:80", "10.0.0.0/33", "10.0.0.1/8"),
        *("10/8", "127.1", "0x7f.1", "a..b", "u@h", "a*.example", "*.*.example", "fe80::1%eth0/64", "a/b"),
        *("x" * 64, "ä" * 70),
    ],
)
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host") as caught:
        AddressPolicy.parse(["good.example", entry])
    assert repr(entry) in str(caught.value)


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "0", "a.1"]
)
def test_odd_forms_of_ipv4_are_recognised(host: str) -> None:
    assert is_odd_number(host)


@given(st.from_regex(r"(0[xX]?)?[0-9a-fA-F]{1,10}(\.(0[xX]?)?[0-9a-fA-F]{1,4}){0,3}", fullmatch=True))
def test_whatever_inet_aton_reads_is_canonical_or_odd(host: str) -> None:
    try:
        socket.inet_aton(host)
    except OSError:
        return
    assert parse_literal(host) is not None or is_odd_number(host)


@pytest.mark.parametrize("host", ["1e100.example", "1.example", "a1", "127.0.0.1.example"])
def test_names_with_digits_are_names(host: str) -> None:
    assert not is_odd_number(host)
    assert is_name(host)


@pytest.mark.parametrize("host", ["a..b", "-a.b", "a-.b", "a%2eb", "a b", "", ".", "a\x00", "x" * 64, "a." * 127 + "a"])
def test_what_is_no_name_is_refused(host: str) -> None:
    assert not is_name(host)
