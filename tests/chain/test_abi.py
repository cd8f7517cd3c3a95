"""Interfaces, call data and revert reasons."""

import pytest
from eth_abi.abi import encode
from eth_utils import function_signature_to_4byte_selector as selector_of

from chain.abi import (
    CONTRACTS,
    canonical_type,
    decode_revert_reason,
    get_interface,
    parse_interface,
)
from chain.errors import MalformedAnswerError
from protocols.errors import LocalError

WALLET = b"\xaa" * 20


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_has_an_interface(name: str) -> None:
    interface = get_interface(name)
    assert interface.bytecode
    assert interface.functions
    assert interface.events


def test_tuples_are_spelt_out() -> None:
    point = {"type": "tuple[3]", "components": [{"type": "uint256"}, {"type": "bytes32"}]}
    assert canonical_type(point) == "(uint256,bytes32)[3]"
    nested = {"type": "tuple[]", "components": [point, {"type": "bool"}]}
    assert canonical_type(nested) == "((uint256,bytes32)[3],bool)[]"


def test_selectors_are_the_ones_everybody_computes() -> None:
    transfer = get_interface("Token").functions["transfer"]
    assert transfer.selector == selector_of("transfer(address,uint256)")
    data = transfer.encode([WALLET, 5])
    assert data == transfer.selector + encode(["address", "uint256"], [WALLET, 5])


def test_what_does_not_fit_the_types_is_our_own_mistake() -> None:
    transfer = get_interface("Token").functions["transfer"]
    for arguments in ([WALLET], [WALLET, -1], [WALLET, 2**256], [b"\xaa" * 19, 1], [WALLET, "x"]):
        with pytest.raises(LocalError, match=r"Token\.transfer"):
            transfer.encode(arguments)
    with pytest.raises(LocalError, match="Beacon: constructor"):
        get_interface("Beacon").encode_deployment([])


def test_an_answer_that_does_not_decode_is_malformed() -> None:
    balance = get_interface("Token").functions["balanceOf"]
    assert balance.decode((5).to_bytes(32, "big")) == (5,)
    for output in (b"", bytes(31)):
        with pytest.raises(MalformedAnswerError, match=r"Token\.balanceOf"):
            balance.decode(output)
    pages = get_interface("Registry").functions["providers"]
    with pytest.raises(MalformedAnswerError):
        pages.decode((32).to_bytes(32, "big") + (2**200).to_bytes(32, "big"))


def test_call_data_decodes_to_the_arguments() -> None:
    transfer = get_interface("Token").functions["transfer"]
    address, amount = transfer.decode_call(transfer.encode([WALLET, 5]))
    assert (bytes.fromhex(address[2:]), amount) == (WALLET, 5)
    approve = get_interface("Token").functions["approve"]
    for data in (b"", transfer.selector, transfer.encode([WALLET, 5])[:-1]):
        with pytest.raises(MalformedAnswerError, match=r"Token\.transfer"):
            transfer.decode_call(data)
    with pytest.raises(MalformedAnswerError, match="another function"):
        approve.decode_call(transfer.encode([WALLET, 5]))


def test_a_missing_artefact_names_the_remedy() -> None:
    with pytest.raises(LocalError, match=r"chain\.compile"):
        get_interface("Nonsense")


def test_what_an_interface_is_parsed_from() -> None:
    abi = [
        {"type": "constructor", "inputs": [{"type": "address", "name": "owner"}]},
        {"type": "function", "name": "f", "inputs": [], "outputs": [{"type": "bool"}]},
        {
            "type": "event",
            "name": "E",
            "inputs": [{"name": "x", "type": "uint256", "indexed": True}],
        },
        {"type": "fallback"},
    ]
    interface = parse_interface("Thing", abi, "0x6001")
    assert interface.constructor == ("address",)
    assert interface.encode_deployment([WALLET]) == b"\x60\x01" + bytes(12) + WALLET
    assert interface.functions["f"].decode((1).to_bytes(32, "big")) == (True,)
    assert interface.events["E"].inputs == (("x", "uint256", True),)
    assert interface.events["E"].decode([b"", (9).to_bytes(32, "big")], b"") == {"x": 9}


ERROR = selector_of("Error(string)")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", None),
        (b"\x08\xc3", None),
        (b"\x01\x02\x03\x04", None),
        (ERROR, None),
        (ERROR + encode(["string"], ["rewards: nothing to claim"]), "rewards: nothing to claim"),
        (ERROR + encode(["string"], ["a\x1b[31mb\n"]), "a[31mb"),
        (ERROR + encode(["string"], ["x" * 5_000]), "x" * 200),
        (ERROR + encode(["bytes"], [b"\xff\xfe"]), None),
        (ERROR + (2**255).to_bytes(32, "big"), None),
        (selector_of("Panic(uint256)") + encode(["uint256"], [0x11]), "panic 0x11"),
        (selector_of("Panic(uint256)"), None),
    ],
)
def test_revert_reasons(data: bytes, reason: str | None) -> None:
    assert decode_revert_reason(data) == reason
