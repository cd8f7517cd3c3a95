"""docs/spec/zeronode-ledger.md and zeronode-accounts.md say what the code does."""

import hashlib
import re

from protocols import account_facts, ledger_records, sign_in, zeronode_referrals
from tests.protocols.test_spec import ROOT, read, rows, section, shown
from tests.protocols.zeronode_world import wallet_of

LEDGER, ACCOUNTS, REWARDS = map(
    read, ("zeronode-ledger.md", "zeronode-accounts.md", "zeronode-rewards.md")
)


def raised(name: str) -> set[str]:
    """The reasons that a module refuses with."""
    source = (ROOT / "protocols" / f"{name}.py").read_text(encoding="utf-8")
    return set(re.findall(r'(?:Malformed|Forged)Error\(\s*"([^"]+)"', source))


def stated(page: str, heading: str) -> set[str]:
    """The reasons of a table."""
    return {cells[-1].strip("`") for cells in rows(section(page, heading))}


def test_reasons_of_proofs_are_stated() -> None:
    found = raised("ledger_records") | raised("ledger_json")
    assert len(found) == 6
    assert stated(LEDGER, "## Proofs") == found


def test_reasons_of_sign_ins_are_stated() -> None:
    found = raised("sign_in")
    assert len(found) == 9
    assert stated(ACCOUNTS, "## Signing in") == found


def test_what_is_signed_is_on_the_page() -> None:
    text = section(ACCOUNTS, "## Signing in")
    assert f"    {sign_in.STATEMENT}\n" in text
    for value in (
        f"at most {shown(sign_in.MAX_MESSAGE_BYTES)} characters",
        f"issued + {shown(sign_in.MAX_LIFETIME_MS)} ms",
        f"now + {shown(sign_in.MAX_EARLY_MS)} ms",
        sign_in.KEY_RESOURCE,
        sign_in.REFERRAL_RESOURCE,
    ):
        assert value in text


def test_units_and_numbers_of_entries_are_stated() -> None:
    units = {cells[1]: int(cells[0]) for cells in rows(section(LEDGER, "## Entries"))[:2]}
    assert units == {unit.name.lower(): unit.value for unit in ledger_records.Unit}
    assert f"1 … {ledger_records.MAX_KEY} characters" in LEDGER
    assert f"0 … {ledger_records.MAX_NOTE} characters" in LEDGER
    assert f"2 … {ledger_records.MAX_LINES} of" in LEDGER
    assert ledger_records.MAX_AMOUNT == (1 << 53) - 1


def test_keys_of_entries_are_those_that_are_made() -> None:
    made = {
        found
        for path in (ROOT / "p2p_node" / "zeronode").glob("*.py")
        for found in re.findall(
            r'f"([a-z-]+):\{(?:wallet_text|name|digest|draw|referral|campaign)[^"]*"',
            path.read_text(encoding="utf-8"),
        )
    }
    # Texts that are no keys of entries.
    made -= {"draws", "http"}
    keys = re.findall(r"^\| `([a-z-]+):[^`]*` \| `[a-z-]+` \|", LEDGER, re.MULTILINE)
    assert len(made) > 6
    assert made <= set(keys)


def test_limits_of_facts_are_stated() -> None:
    text = section(ACCOUNTS, "## Facts of a departure")
    for value in (
        f"at most {shown(account_facts.MAX_FACTS_BYTES)} bytes",
        f"at most {account_facts.MAX_CLAIMS} of [mission",
        f"at most {account_facts.MAX_REVOKED} keys",
        f"at most {account_facts.MAX_TASKS} of [campaign",
        f"1 … {account_facts.MAX_NAME} of",
    ):
        assert value in text
    facts = account_facts.AccountFacts().encode().decode()
    assert re.findall(r'"([a-z]+)":', facts) == [cells[0].strip("`") for cells in rows(text)]


def test_codes_are_made_as_the_page_says() -> None:
    wallet = wallet_of("somebody")
    tag = b"kaisar zeronode referral code 1"
    assert tag.decode() in REWARDS
    digest = hashlib.sha256(tag + wallet + bytes(4)).digest()
    number = int.from_bytes(digest[:8], "big")
    code = ""
    for _ in range(10):
        number, symbol = divmod(number, 32)
        code += "0123456789abcdefghjkmnpqrstvwxyz"[symbol]
    assert zeronode_referrals.make_code(wallet) == code
    assert f"within {zeronode_referrals.INVITED_WITHIN_DAYS} days" in REWARDS
