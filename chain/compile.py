"""Compiles the contracts into artefacts that are checked in, so that running a node needs no Vyper.

``python -m chain.compile`` rewrites ``chain/artefacts/<Name>.json``; with ``--check`` it writes
nothing and exits with status 1 if an artefact is missing, stale or left over. The compiler is the
version that the sources' pragma names; Vyper refuses any other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

CONTRACTS_DIR = Path(__file__).parent / "contracts"
ARTEFACTS_DIR = Path(__file__).parent / "artefacts"

DEPLOYED = (
    "Token",
    "Registry",
    "Steward",
    "Beacon",
    "Consensus",
    "Rewards",
    "Delegation",
    "Penalties",
    "Rental",
    "Nft",
    "ZeroNodeAnchor",
)
"""Contracts that get an address, in the order in which they are deployed."""

EVM_VERSION = "london"
"""What peaq's documentation says to pin (facts of 2026-10); every source repeats it in a pragma."""

MAX_DEPLOYED_BYTES = 12_000
"""Bound on deployed code. peaq charges for proof size, so the whole code weighs on every call:
24 KB would cost at least 98k gas per transaction."""

FORBIDDEN_OPCODES: Mapping[int, str] = {
    0x1E: "CLZ",
    0x49: "BLOBHASH",
    0x4A: "BLOBBASEFEE",
    0x5C: "TLOAD",
    0x5D: "TSTORE",
    0x5E: "MCOPY",
    0x5F: "PUSH0",
}
"""Opcodes that came after london."""

_PUSH1, _PUSH32, _JUMPDEST = 0x60, 0x7F, 0x5B

_LAST_OF_BLOCK = frozenset({0x00, 0x56, 0xF3, 0xFD, 0xFE, 0xFF})
"""STOP, JUMP, RETURN, REVERT, INVALID and SELFDESTRUCT: what follows is only reached by a jump."""


def opcodes(code: bytes) -> Iterable[int]:
    """Yields the opcodes of EVM ``code`` that can be reached.

    The EVM jumps to a JUMPDEST only, and finds them by going through the code from its start, over
    the data of PUSH instructions. What comes after the end of a block and before the next JUMPDEST
    is data, such as the tables that Vyper looks functions up in.
    """
    position = 0
    is_live = True
    while position < len(code):
        opcode = code[position]
        is_live = is_live or opcode == _JUMPDEST
        if is_live:
            yield opcode
        is_live = is_live and opcode not in _LAST_OF_BLOCK
        position += 1 + (opcode - _PUSH1 + 1 if _PUSH1 <= opcode <= _PUSH32 else 0)


def compile_contract(name: str) -> dict[str, object]:
    """Compiles ``contracts/<name>.vy`` and returns its artefact.

    Keys: ``name``, ``compiler``, ``evm_version``, ``deployed_size`` (bytes of code at the address,
    immutables included), ``abi``, ``bytecode`` (creation code, 0x-prefixed hex, without constructor
    arguments).
    """
    from vyper import __version__

    output = _compile(name)
    return {
        "name": name,
        "compiler": f"vyper {__version__}",
        "evm_version": EVM_VERSION,
        "deployed_size": _hex_bytes(output["bytecode_runtime"])
        + _immutable_bytes(output["layout"]),
        "abi": output["abi"],
        "bytecode": output["bytecode"],
    }


def compile_runtime(name: str) -> bytes:
    """Compiles ``contracts/<name>.vy`` and returns the code it deploys, without immutables."""
    return bytes.fromhex(_compile(name)["bytecode_runtime"].removeprefix("0x"))


@cache
def _compile(name: str) -> Mapping[str, Any]:
    # Imported here: with the artefacts in place nothing but this function needs the compiler.
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle

    # The contracts' own folder is the whole search path, and no metadata is appended to the code:
    # the output depends on nothing but the sources and the compiler.
    bundle = FilesystemInputBundle([CONTRACTS_DIR])
    output: Mapping[str, Any] = compile_from_file_input(
        bundle.load_file(f"{name}.vy"),
        input_bundle=bundle,
        output_formats=["abi", "bytecode", "bytecode_runtime", "layout"],
        no_bytecode_metadata=True,
    )
    return output


def artefact_path(name: str) -> Path:
    """Where the artefact of contract ``name`` is checked in."""
    return ARTEFACTS_DIR / f"{name}.json"


def stale_artefacts() -> list[str]:
    """Names of files in the artefacts' folder that differ from what the sources compile to."""
    expected = {artefact_path(name): _render(compile_contract(name)) for name in DEPLOYED}
    found = {path: path.read_text("utf-8") for path in ARTEFACTS_DIR.glob("*.json")}
    return sorted(
        path.name
        for path in expected.keys() | found.keys()
        if expected.get(path) != found.get(path)
    )


def write_artefacts() -> list[dict[str, object]]:
    """Compiles every contract, rewrites its artefact and returns them."""
    ARTEFACTS_DIR.mkdir(exist_ok=True)
    artefacts = [compile_contract(name) for name in DEPLOYED]
    for artefact in artefacts:
        artefact_path(str(artefact["name"])).write_text(_render(artefact), "utf-8")
    return artefacts


def _render(artefact: Mapping[str, object]) -> str:
    return json.dumps(artefact, indent=1) + "\n"


def _hex_bytes(code: str) -> int:
    return len(bytes.fromhex(code.removeprefix("0x")))


def _immutable_bytes(layout: Mapping[str, Any]) -> int:
    """Bytes of immutables, which Vyper appends to the code when it deploys."""
    sections = [layout.get("code_layout", {})]
    total = 0
    while sections:
        for entry in sections.pop().values():
            if "length" in entry:
                total += entry["length"]
            else:  # the immutables of an imported module
                sections.append(entry)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chain.compile", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail on stale artefacts"
    )
    options = parser.parse_args(arguments)
    if options.check:
        stale = stale_artefacts()
        for name in stale:
            sys.stderr.write(f"stale artefact: {name}; run python -m chain.compile\n")
        return 1 if stale else 0
    for artefact in write_artefacts():
        sys.stdout.write(f"{artefact['name']:<10} {artefact['deployed_size']:>6} bytes deployed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
