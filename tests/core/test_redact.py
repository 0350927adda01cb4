"""Redaction: the originals are gone, what they were is still told apart, and everything else stays."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.redact import redact

PRIVATE = {
    "host": "gpu-node07.cluster.example",
    "short": "gpu-node07",
    "serial": "CZ1234XYZ",
    "gpu serial": "1321621000001",
    "uuid": "4C4C4544-0042-3510-8054-B7C04F4E3432",
    "gpu uuid": "5ca1ab1e-0000-4000-8000-000000000001",
    "amd id": "0x1901ead3a2ecd4a6",
    "mac": "b8:59:9f:aa:bb:cc",
    "hardware address": "20:00:55:04:01:fe:80:00:00:00:00:00:00:00:02:c9:02:00:23:13:92",
    "guid": "b859:9f03:00aa:bbcc",
    "ipv4": "10.1.2.3",
    "ipv6": "2001:db8::8a2e:370:7334",
    "user": "alice",
}
STAYS = ["0000:07:00.0", "00000000:c7:00.0", "12.150.54.15", "2.18.3.1", "mlx5_0", "NV18", "127.0.0.1", "12:34:56", "ffff:ff:01.0"]
REASON = f"/home/{PRIVATE['user']}/{PRIVATE['short']}.txt: {PRIVATE['ipv6']} {' '.join(STAYS[6:9])} {PRIVATE['mac'].upper()}"
COMMAND_LINE = f"root=UUID={PRIVATE['uuid'].lower()} ip={PRIVATE['ipv4']} host={PRIVATE['short']}"
INVENTORY = {
    "machine": {"host_name": PRIVATE["host"], "product_serial": PRIVATE["serial"], "product_uuid": PRIVATE["uuid"], "product_name": "DGX"},
    "memory": {"dimms": [{"locator": "DIMM_A1", "serial": "0"}, {"serial": "A1"}]},
    "network": {
        "interfaces": [{"name": "eth0", "mac": PRIVATE["mac"], "pci_address": STAYS[0]}, {"mac": PRIVATE["hardware address"]}],
        "infiniband": [{"name": STAYS[4], "node_guid": PRIVATE["guid"]}],
    },
    "accelerators": {
        "devices": [
            {"uuid": f"GPU-{PRIVATE['gpu uuid']}", "serial": PRIVATE["gpu serial"], "pci_address": STAYS[1], "index": 0},
            {"uuid": PRIVATE["amd id"]},
        ],
        "software": {"management_version": STAYS[2]},
        "cell": STAYS[5],
    },
    "software": {"nccl": STAYS[3], "kernel_command_line": COMMAND_LINE},
    "gaps": [
        {"path": "x", "reason": REASON},
        {"path": "y", "reason": f"board {PRIVATE['serial']} of localhost"},
    ],
    "sources": {f"on {PRIVATE['host']}": "here"},
}  # fmt: skip


@pytest.mark.parametrize("salt", [None, "pepper"])
def test_no_original_is_left(salt: str | None) -> None:
    text = json.dumps(redact(INVENTORY, salt=salt)).lower()
    for what, original in PRIVATE.items():
        assert original.lower() not in text, what
    for stays in STAYS:
        assert stays in text or stays.lower() in text


def test_the_same_original_has_the_same_pseudonym() -> None:
    hidden = redact(INVENTORY)
    assert hidden["machine"]["host_name"] == "host-1"
    assert hidden["gaps"][0]["reason"].startswith("/home/user-1/host-1.txt: ")
    assert hidden["machine"]["product_uuid"] in hidden["software"]["kernel_command_line"]
    assert hidden["network"]["interfaces"][0]["mac"] in hidden["gaps"][0]["reason"]
    assert hidden["machine"]["product_serial"] in hidden["gaps"][1]["reason"]
    assert list(hidden["sources"]) == ["on host-1"]
    uuids = [device["uuid"] for device in hidden["accelerators"]["devices"]]
    assert len(set(uuids)) == 2


def test_numbers_and_names_stay() -> None:
    hidden = redact(INVENTORY)
    assert hidden["machine"]["product_name"] == "DGX"
    assert hidden["memory"]["dimms"][0] == {"locator": "DIMM_A1", "serial": "0"}
    assert hidden["memory"]["dimms"][1]["serial"].startswith("serial-")  # too short to be looked for elsewhere
    assert hidden["accelerators"]["devices"][0]["index"] == 0


def test_it_is_pure_and_repeats_itself() -> None:
    before = copy.deepcopy(INVENTORY)
    assert redact(INVENTORY) == redact(INVENTORY)
    assert before == INVENTORY


def test_a_salt_makes_pseudonyms_that_hold_between_files() -> None:
    one, other = redact({"host": "alpha"}, salt="s"), redact([{"host": "beta"}, {"host": "alpha"}], salt="s")
    assert one["host"] == other[1]["host"]
    assert redact({"host": "alpha"}, salt="t") != one


def test_host_names_from_outside() -> None:
    assert redact(["rank 0 on login01.example"], host_names=["login01.example"]) == ["rank 0 on host-1"]


def test_hosts_in_lists_and_as_words_only() -> None:
    assert redact({"hosts": ["amds", "node1"], "text": "amds2 and amds and node1.log"})["text"] == "amds2 and host-1 and host-2.log"


identifiers = st.one_of(
    st.uuids().map(str),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(st.integers(0, 255), min_size=6, max_size=6).map(lambda octets: ":".join(f"{octet:02x}" for octet in octets)),
)


@given(identifiers, st.sampled_from(["{}", "at {},", "({})", "dev={} up", "GPU-{}", "x\t{}\n"]))
def test_identifiers_are_found_wherever_they_stand(identifier: str, around: str) -> None:
    public = ("127.", "255.", "0.0.0.0")
    if identifier in ("::", "::1") or identifier.startswith(public):
        return
    assert identifier not in json.dumps(redact({"text": around.format(identifier)}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["host", "serial", "uuid", "mac", "name", "version"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(values)
def test_shape_and_numbers_stay(data: object) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return [shape(one) for one in value.values()]
        if isinstance(value, list):
            return [shape(one) for one in value]
        return str if isinstance(value, str) else value

    assert shape(redact(data)) == shape(data)
