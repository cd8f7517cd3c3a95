"""Makes tests/vectors/zeronode out of the reference.

`python -m tests.protocols.zeronode_vectors` writes the files; a test says when they are stale.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.protocols import zeronode_reference as ref
from tests.protocols.compute_vectors import Case, write
from tests.protocols.zeronode_gossip_vectors import DEPARTURES, GOSSIP, MESSAGES
from tests.vectors.builders.actors import NETWORK, OTHER_NETWORK, node, secret

SERVICE = bytes(node("service").verify_key)
KEY = bytes(node("client").verify_key)
SID = secret("session")[:16]
BOOT = secret("boot")[:16]
START = 20_000 * 86_400_000
"""The beginning of a day."""

STATEMENT: dict[str, Any] = {
    "service": SERVICE,
    "key": KEY,
    "sid": SID,
    "boot": BOOT,
    "seq": 7,
    "nonce": secret("nonce"),
}

SIGNERS = {
    "hello": "client",
    "challenge": "service",
    "beat": "client",
    "token": "client",
    "consent": "client",
}


def show(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Byte strings as hexadecimal."""
    return {name: v.hex() if isinstance(v, bytes) else v for name, v in fields.items()}


def signatures() -> list[Case]:
    """Statements with their signed bytes and signatures, then signatures that do not hold."""
    cases = []
    for name, signer in SIGNERS.items():
        key, fields = node(signer), {each: STATEMENT[each] for each in ref.FIELDS[name]}
        largest = {**fields, "seq": (1 << 32) - 1} if "seq" in fields else fields
        for label, said in (("usual", fields), ("largest", largest)):
            cases.append(_signature(f"{name}, {label}", name, NETWORK, said, key, signer))
        good = ref.sign(key, name, NETWORK, fields)
        for other in ref.FIELDS[name]:
            spoilt = fields[other] + 1 if other == "seq" else bytes(len(fields[other]))
            signature = ref.sign(key, name, NETWORK, {**fields, other: spoilt})
            cases.append(_refused(f"{name} with another {other}", name, fields, signer, signature))
        for tag in ref.TAGS:
            if tag != name:
                signature = key.sign(
                    ref.TAGS[tag] + ref.signed_bytes(name, NETWORK, fields)[len(ref.TAGS[name]) :]
                ).signature
                cases.append(_refused(f"{name} tagged as {tag}", name, fields, signer, signature))
        elsewhere = ref.sign(key, name, OTHER_NETWORK, fields)
        foreign = ref.sign(node("somebody"), name, NETWORK, fields)
        for label, signature in (
            ("of another network", elsewhere),
            ("by another key", foreign),
            ("with a bit changed", bytes([good[0] ^ 1]) + good[1:]),
            ("cut short", good[:-1]),
        ):
            cases.append(_refused(f"{name} {label}", name, fields, signer, signature))
    return cases


def _signature(
    label: str, name: str, network: bytes, fields: Mapping[str, Any], key: Any, signer: str
) -> Case:
    return {
        "name": label,
        "statement": name,
        "network": network.hex(),
        "fields": show(fields),
        "private_seed": bytes(key).hex(),
        "signer": bytes(node(signer).verify_key).hex(),
        "signed_bytes": ref.signed_bytes(name, network, fields).hex(),
        "signature": ref.sign(key, name, network, fields).hex(),
        "valid": True,
    }


def _refused(
    label: str, name: str, fields: Mapping[str, Any], signer: str, signature: bytes
) -> Case:
    return {
        "name": label,
        "statement": name,
        "network": NETWORK.hex(),
        "fields": show(fields),
        "signer": bytes(node(signer).verify_key).hex(),
        "signature": signature.hex(),
        "valid": False,
    }


SIG = bytes(range(64))
FRAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "greet": ("service", {"v": 1, "service": SERVICE, "nonce": secret("greeting")}),
    "welcome": ("service", {"sid": SID, "bound": True, "earning": True, "reason": ""}),
    "refuse": ("service", {"reason": "too many sessions of an address", "retry_ms": 60_000}),
    "challenge": (
        "service",
        {"sid": SID, "seq": 1, "nonce": secret("nonce"), "answer_ms": 5_000, "sig": SIG},
    ),
    "credit": (
        "service",
        {"seq": 1, "paid_ms": 17_250, "earning": True, "reason": "", "account": None},
    ),
    "bye": ("service", {"reason": "replaced", "retry_ms": 0}),
    "hello": (
        "client",
        {"v": 1, "key": KEY, "boot": BOOT, "agent": "kaisar-zeronode/1.0.0", "sig": SIG},
    ),
    "beat": ("client", {"sid": SID, "seq": (1 << 32) - 1, "sig": SIG}),
}


def frames() -> list[Case]:
    """Frames and what they say, then texts that are none."""
    cases: list[Case] = []
    for kind, (sender, fields) in FRAMES.items():
        text = ref.frame(kind, **fields)
        cases.append(
            {"name": kind, "from": sender, "text": text, "t": kind, "fields": show(fields)}
        )
    told = {**FRAMES["credit"][1], "account": {"points_units": 864_000}}
    text = ref.frame("credit", **told)
    cases.append(
        {
            "name": "credit, with an account",
            "from": "service",
            "text": text,
            "t": "credit",
            "fields": told,
        }
    )
    beat = ref.frame("beat", **FRAMES["beat"][1])
    hello = ref.frame("hello", **FRAMES["hello"][1])
    credit = ref.frame("credit", **FRAMES["credit"][1])
    sid = f'"{SID.hex()}"'
    spaced = beat.replace(":", " : ").replace(",", " , ")
    cases.append(
        {
            "name": "beat, written otherwise",
            "from": "client",
            "text": spaced,
            "t": "beat",
            "fields": show(FRAMES["beat"][1]),
        }
    )
    invalid = [
        ("nothing", "client", "", "not JSON"),
        ("not JSON", "client", beat[:-1], "not JSON"),
        ("two objects", "client", beat + beat, "not JSON"),
        ("a name twice", "client", beat.replace("{", '{"seq":1,', 1), "not JSON"),
        ("no number", "client", beat.replace("4294967295", "NaN"), "not JSON"),
        ("a very long number", "client", '{"t":"beat","seq":' + "9" * 900 + "}", "wrong fields"),
        ("deep", "client", "[" * 513, "too many brackets"),
        ("deep objects", "client", '{"t":' * 170 + "[" * 100, "not JSON"),
        ("deep, of a service", "service", "[" * 32_768, "too many brackets"),
        ("many objects", "service", "[" + "{}," * 512 + "]", "too many brackets"),
        ("a list", "client", "[]", "not an object"),
        ("null", "client", "null", "not an object"),
        ("no kind", "client", beat.replace('"t":"beat",', ""), "unknown frame"),
        ("kind of another type", "client", beat.replace('"beat"', "[]"), "unknown frame"),
        ("another kind", "client", beat.replace('"beat"', '"Beat"'), "unknown frame"),
        ("of the other side", "client", credit, "unknown frame"),
        ("of the other side, too", "service", beat, "unknown frame"),
        ("a field missing", "client", beat.replace(f'"sid":{sid},', ""), "wrong fields"),
        ("a field more", "client", beat.replace("{", '{"time":1,', 1), "wrong fields"),
        ("upper case", "client", beat.replace(SID.hex(), SID.hex().upper()), "bad field"),
        ("short", "client", beat.replace(SID.hex(), SID.hex()[2:]), "bad field"),
        ("not hexadecimal", "client", beat.replace(SID.hex(), "g" * 32), "bad field"),
        ("bytes as a number", "client", beat.replace(sid, "1"), "bad field"),
        ("sequence above", "client", beat.replace("4294967295", "4294967296"), "bad field"),
        ("sequence below", "client", beat.replace("4294967295", "-1"), "bad field"),
        ("sequence with a point", "client", beat.replace("4294967295", "1.0"), "bad field"),
        ("sequence as text", "client", beat.replace("4294967295", '"1"'), "bad field"),
        ("sequence as a truth", "client", beat.replace("4294967295", "true"), "bad field"),
        ("another version", "client", hello.replace('"v":1', '"v":2'), "bad field"),
        ("version as a truth", "client", hello.replace('"v":1', '"v":true'), "bad field"),
        ("version with a point", "client", hello.replace('"v":1', '"v":1.0'), "bad field"),
        ("agent too long", "client", hello.replace("kaisar-zeronode", "k" * 60), "bad field"),
        ("agent with a control", "client", hello.replace("kaisar-z", "k\\u0007z"), "bad field"),
        ("agent not ASCII", "client", hello.replace("kaisar-z", "k\\u00e4z"), "bad field"),
        ("agent as a number", "client", hello.replace('"kaisar-zeronode/1.0.0"', "1"), "bad field"),
        ("too long", "client", " " * (1_025 - len(beat)) + beat, "oversized"),
        ("too long, of a service", "service", " " * (32_769 - len(credit)) + credit, "oversized"),
        ("a truth as a number", "service", credit.replace("true", "1"), "bad field"),
        ("account as a list", "service", credit.replace("null", "[]"), "bad field"),
    ]
    cases += [
        {"name": name, "from": sender, "text": text, "reason": reason}
        for name, sender, text, reason in invalid
    ]
    return cases


Step = tuple[Any, ...]


def sessions() -> list[Case]:
    """Sessions, step by step: challenges of the service, beats of the client, deadlines."""
    c, b = 12_000, 3
    ok = [("challenge", 0), ("beat", b, 1, {}, None)]
    second: list[Step] = [("challenge", c), ("beat", c + b, 2, {}, (b, c + b))]
    return [
        _session("two beats", "mainnet", [*ok, *second]),
        _session(
            "answered at the last moment",
            "mainnet",
            [*ok, ("challenge", c), ("beat", c + 5_000, 2, {}, (b, c + 5_000))],
        ),
        _session(
            "late",
            "mainnet",
            [*ok, ("challenge", c), ("beat", c + 5_001, 2, {}, "late"), *_again(3, 2 * c)],
        ),
        _session(
            "late after its deadline was seen",
            "mainnet",
            [
                *ok,
                ("challenge", c),
                ("expire", c + 5_000, False),
                ("expire", c + 5_001, True),
                ("expire", c + 5_002, False),
                ("beat", c + 5_003, 2, {}, "late"),
                *_again(3, 2 * c),
            ],
        ),
        _session(
            "never answered",
            "mainnet",
            [*ok, ("challenge", c), ("challenge", 2 * c), ("beat", 2 * c + 1, 3, {}, None)],
        ),
        _session(
            "replayed at once",
            "mainnet",
            [*ok, *second, ("beat", c + b + 1, 2, {}, "replayed"), *_again(3, 2 * c)],
        ),
        _session(
            "replayed in the place of the next",
            "mainnet",
            [*ok, *second, ("challenge", 2 * c), ("beat", 2 * c + 1, 2, {}, "replayed")],
        ),
        _session(
            "in another order",
            "mainnet",
            [
                *ok,
                ("challenge", c),
                ("challenge", 2 * c),
                ("beat", 2 * c + 1, 2, {}, "late"),
                ("beat", 2 * c + 2, 3, {}, None),
                ("beat", 2 * c + 3, 2, {}, "replayed"),
            ],
        ),
        *(
            _session(name, "mainnet", [*ok, ("challenge", c), ("beat", c + b, seq, {}, reason)])
            for name, seq, reason in (
                ("never sent", 3, "wrong sequence"),
                ("before the first", 0, "wrong sequence"),
            )
        ),
        *(
            _session(
                f"another {name}",
                "mainnet",
                [
                    *ok,
                    ("challenge", c),
                    ("beat", c + b, 2, {name: value}, reason),
                    *_again(3, 2 * c),
                ],
            )
            for name, value, reason in (
                ("sid", bytes(16), "wrong session"),
                ("key", "somebody", "forged"),
                ("signed nonce", bytes(32), "forged"),
                ("signed boot", bytes(16), "forged"),
                ("signed service", bytes(32), "forged"),
                ("signed seq", 3, "forged"),
                ("signed sid", bytes(16), "forged"),
            )
        ),
        _session(
            "the right answer after a forged one",
            "mainnet",
            [
                *ok,
                ("challenge", c),
                ("beat", c + 1, 2, {"key": "somebody"}, "forged"),
                ("beat", c + 2, 2, {}, None),
                *_earning(3, 2 * c, c + 2),
            ],
        ),
        _session(
            "a stalled service pays 30 seconds at most",
            "mainnet",
            [*ok, ("challenge", 100_000), ("beat", 100_001, 2, {}, (70_001, 100_001))],
        ),
        _session(
            "the clock goes back",
            "mainnet",
            [*ok, ("challenge", -c), ("beat", -c + 1, 2, {}, None), *_earning(3, 0, -c + 1)],
        ),
        _session(
            "hung up after three misses",
            "minimal",
            [
                *ok,
                ("challenge", 2_000),
                ("challenge", 4_000),
                ("beat", 4_001, 9, {}, "wrong sequence"),
                ("over", 4_001, False),
                ("beat", 4_002, 9, {}, "wrong sequence"),
                ("over", 4_002, True),
            ],
        ),
    ]


def _again(seq: int, at: int) -> list[Step]:
    """The next beat begins anew, the one after it earns."""
    return [
        ("challenge", at),
        ("beat", at + 1, seq, {}, None),
        *_earning(seq + 1, at + 12_000, at + 1),
    ]


def _earning(seq: int, at: int, since: int) -> list[Step]:
    return [("challenge", at), ("beat", at + 1, seq, {}, (since, at + 1))]


def _session(name: str, rules: str, steps: Sequence[Step]) -> Case:
    shown: list[Case] = []
    sent = 0
    nonce = b""
    for kind, at, *rest in steps:
        step: Case = {"do": kind, "at_ms": START + at}
        if kind == "challenge":
            sent += 1
            nonce = secret(f"{name} {sent}")
            fields = {"sid": SID, "seq": sent, "nonce": nonce, "key": KEY}
            signature = ref.sign(node("service"), "challenge", NETWORK, fields)
            step |= {"seq": sent, "nonce": nonce.hex(), "sig": signature.hex()}
        elif kind == "beat":
            step |= _beat(rest, nonce, name)
        else:
            step["expected"] = rest[0]
        shown.append(step)
    return {
        "name": name,
        "rules": rules,
        "network": NETWORK.hex(),
        "service": SERVICE.hex(),
        "service_private_seed": bytes(node("service")).hex(),
        "sid": SID.hex(),
        "key": KEY.hex(),
        "boot": BOOT.hex(),
        "steps": shown,
    }


def _beat(rest: Sequence[Any], newest: bytes, name: str) -> Case:
    seq, change, expected = rest
    # Whoever answers an older challenge signs that one's nonce.
    nonce = newest if seq == 0 else secret(f"{name} {seq}")
    said = {"service": SERVICE, "sid": SID, "seq": seq, "nonce": nonce, "boot": BOOT}
    shown = {"sid": SID, "seq": seq}
    for what, value in change.items():
        if what.startswith("signed "):
            said[what.removeprefix("signed ")] = value
        elif what == "sid":
            said["sid"] = shown["sid"] = value
    signature = ref.sign(node(change.get("key", "client")), "beat", NETWORK, said)
    step: Case = {"text": ref.frame("beat", **shown, sig=signature)}
    if isinstance(expected, str):
        return step | {"reason": expected}
    paid = None if expected is None else [START + each for each in expected]
    return step | {"expected": paid}


HOUR = 3_600_000


def uptime() -> list[Case]:
    """Days: stretches in any order → seconds and units."""
    day = 20_000
    whole = [(START, START + 86_400_000)]
    halves = [(START + 43_200_000, START + 86_400_000), (START, START + 43_200_001)]
    over = [(START - HOUR, START + HOUR), (START + 23 * HOUR, START + 25 * HOUR)]
    ragged = [
        (START + 1, START + 999),
        (START + 2_000, START + 3_003),
        (START + 3_003, START + 4_000),
    ]
    small = 20_000 * 60_000
    cases: list[tuple[str, str, int, list[tuple[int, int]], int | None, int | None]] = [
        ("nothing", "mainnet", day, [], None, None),
        ("a whole day", "mainnet", day, whole, None, None),
        ("a whole day with an NFT and a referrer", "mainnet", day, whole, 0, 0),
        ("a whole day twice", "mainnet", day, whole * 2, 0, 0),
        ("overlapping halves, the later one first", "mainnet", day, halves, 0, None),
        ("over both ends", "mainnet", day, over, None, 0),
        ("parts of seconds add up", "mainnet", day, ragged, START + 500, START + 2_500),
        ("linked at noon", "mainnet", day, whole, START + 12 * HOUR, None),
        ("gate at six", "mainnet", day, whole, None, START + 6 * HOUR),
        ("gate at six, linked at noon", "mainnet", day, whole, START + 12 * HOUR, START + 6 * HOUR),
        (
            "linked at noon, gate at one",
            "mainnet",
            day,
            whole,
            START + 12 * HOUR,
            START + 13 * HOUR,
        ),
        ("linked on the next day", "mainnet", day, whole, START + 25 * HOUR, START + 25 * HOUR),
        ("in the gap", "mainnet", day, over, START + 2 * HOUR, START + 3 * HOUR),
        ("another day's", "mainnet", day + 1, whole, 0, 0),
        ("a short day", "minimal", 20_000, [(small, small + 59_999)], 0, small + 20_000),
    ]
    return [
        {
            "name": name,
            "rules": rules,
            "day": number,
            "stretches": stretches,
            "linked_ms": linked,
            "gate_ms": gate,
            **ref.day(stretches, number, rules, linked, gate),
        }
        for name, rules, number, stretches, linked, gate in cases
    ]


def gates() -> list[Case]:
    """Stretches → the moment at which a run had its uptime, or null."""
    six, gap = 6 * HOUR, 90_000
    cases: list[tuple[str, list[tuple[int, int]]]] = [
        ("nothing", []),
        ("exactly six hours", [(START, START + six)]),
        ("a millisecond short", [(START, START + six - 1)]),
        ("more", [(START, START + 3 * six)]),
        ("a gap that joins", [(START, START + HOUR), (START + HOUR + gap, START + 7 * HOUR)]),
        ("a gap too long", [(START, START + HOUR), (START + HOUR + gap + 1, START + 7 * HOUR)]),
        ("gaps are not counted", [(START, START + six - 10), (START + six, START + six + 20)]),
        (
            "the second run",
            [(START, START + 5 * HOUR), (START + 7 * HOUR, START + 20 * HOUR)],
        ),
        ("told twice", [(START, START + 4 * HOUR), (START + HOUR, START + 5 * HOUR)]),
        (
            "told twice, and enough",
            [(START + HOUR, START + 7 * HOUR), (START, START + 4 * HOUR)],
        ),
    ]
    return [
        {
            "name": name,
            "rules": "mainnet",
            "stretches": stretches,
            "gate_ms": ref.gate(stretches, "mainnet"),
        }
        for name, stretches in cases
    ]


FILES: dict[str, Callable[[], list[Case]]] = {
    "zeronode/signatures.json": signatures,
    "zeronode/frames.json": frames,
    "zeronode/sessions.json": sessions,
    "zeronode/uptime.json": uptime,
    "zeronode/gates.json": gates,
    "zeronode/messages.json": lambda: MESSAGES,
    "zeronode/gossip.json": lambda: GOSSIP,
    "zeronode/departures.json": lambda: DEPARTURES,
}


if __name__ == "__main__":
    write(FILES)
