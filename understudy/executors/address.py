"""Which addresses a definition may reach: public ones, and what an operator allows."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# Tables of our own: `is_global` differs between patch releases of Python, and calls multicast and 6to4 global.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "168.63.129.16/32",  # Azure's host agent, routed inside although the address is public
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# What a host name on the allow list does not open: such an address must itself be on the list.
_NAMED_BY_ADDRESS_ONLY: tuple[_Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.192/32",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "fe80::/10",
        "ff00::/8",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressPolicy:
    """Default deny for addresses that are not public, opened by hosts and networks of an allow list.

    An allowed host matches exactly, on any port; `*.example.com` and `.example.com` match its subdomains, not itself.
    An allowed network opens its addresses for every name that resolves to them.
    """

    def __init__(self, hosts: frozenset[str], suffixes: tuple[str, ...], networks: tuple[_Network, ...]) -> None:
        self._hosts = hosts
        self._suffixes = suffixes
        self._networks = networks

    @classmethod
    def parse(cls, entries: Sequence[str]) -> "AddressPolicy":
        """Read an allow list; raises ValueError naming the entry that is neither host nor network."""
        hosts: set[str] = set()
        suffixes: list[str] = []
        networks: list[_Network] = []
        for entry in entries:
            text = entry.strip().lower()
            network = _network(text)
            if network is not None:
                networks.append(network)
                continue
            name = text.removeprefix("*").removeprefix(".") if text.startswith(("*.", ".")) else text
            host = _allowed_name(name)
            if host is None:
                raise ValueError(
                    f"{entry!r} is neither a host, a '*.' pattern nor a network (no port, scheme or host bits)"
                )
            if name == text:
                hosts.add(host)
            else:
                suffixes.append("." + host)
        return cls(frozenset(hosts), tuple(suffixes), tuple(networks))

    def allows_host(self, host: str) -> bool:
        """Whether the allow list names this host, itself or by a pattern."""
        literal = parse_literal(host)
        if literal is not None:
            return self._is_in_networks(literal)
        name = normal_name(host)
        return name in self._hosts or name.endswith(self._suffixes)

    def refuses_name(self, host: str) -> bool:
        """Whether a name is refused before it is resolved: of a metadata service or this machine, and not allowed."""
        name = normal_name(host)
        if name == "localhost" or name.endswith(".localhost"):
            return not (self.permits("127.0.0.1", name) or self.permits("::1", name))
        return name in _METADATA_NAMES and not self.allows_host(name)

    def permits(self, address: str, host: str) -> bool:
        """Whether a connection to this final address may be opened for this host."""
        final = parse_literal(address)
        if final is None:
            return False
        if isinstance(final, IPv6Address) and final.ipv4_mapped is not None:
            final = final.ipv4_mapped
        if self._is_in_networks(final):
            return True
        is_named = parse_literal(host) is None and self.allows_host(host)
        return all(self._permits_judged(judged, is_named=is_named) for judged in _embedded(final) or (final,))

    def _permits_judged(self, address: _Address, *, is_named: bool) -> bool:
        if self._is_in_networks(address) or is_public(address):
            return True
        return is_named and not any(address in network for network in _NAMED_BY_ADDRESS_ONLY)

    def _is_in_networks(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def is_public(address: _Address) -> bool:
    """Whether an address is plain global unicast; transition forms such as 6to4 are not."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_V6)


@lru_cache(maxsize=4096)
def parse_literal(host: str) -> _Address | None:
    """The address that a canonical literal denotes, or None; zones are refused with the rest."""
    if "%" in host:
        return None
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_odd_number(host: str) -> bool:
    """Whether a host looks like an IPv4 address that only `inet_aton` would read: 2130706433, 127.1, 0x7f.1."""
    last_label = host.lower().rstrip(".").rpartition(".")[2]
    return _NUMERIC_LABEL.fullmatch(last_label) is not None and parse_literal(host) is None


def is_name(host: str) -> bool:
    """Whether a host is a well-formed name in ASCII."""
    name = normal_name(host)
    return len(name) <= 253 and _NAME.fullmatch(name) is not None


def normal_name(host: str) -> str:
    """A name as the policy compares it."""
    return host.lower().removesuffix(".")


def _embedded(address: _Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 transition form leads to."""
    if not isinstance(address, IPv6Address):
        return ()
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return () if address.teredo is None else address.teredo


def _network(text: str) -> _Network | None:
    address, slash, length = text.partition("/")
    try:
        network = ip_network(address.removeprefix("[").removesuffix("]") + slash + length)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - 96))
    return network


def _allowed_name(name: str) -> str | None:
    if "%" in name or "/" in name or "@" in name or ":" in name or is_odd_number(name):
        return None
    try:
        host = URL.build(scheme="http", host=name).raw_host
    except ValueError:
        return None
    return normal_name(host) if host and is_name(host) else None
