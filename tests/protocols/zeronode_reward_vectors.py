"""Makes tests/vectors/zeronode-rewards out of docs/spec/zeronode-rewards.md, read a second time.

`python -m tests.protocols.zeronode_reward_vectors` writes them; a test says when they are stale.
"""

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from math import isqrt

from tests.protocols.compute_vectors import Case, write
from tests.vectors.builders.actors import secret

SYMBOLS = "0123456789abcdefghjkmnpqrstvwxyz"
REWARDS = [5, 10, 15, 20, 25, 30, 50]
LONG = {"RU": 7_600, "US": 9_000, "IN": 3_300}


def codes() -> list[Case]:
    """Wallets and attempts with their codes, then texts that are read as codes or refused."""
    made: list[Case] = []
    for name in ("first", "second", "third"):
        for attempt in (0, 1, 256):
            wallet = secret(name)[:20]
            hashed = hashlib.sha256(
                b"kaisar zeronode referral code 1" + wallet + attempt.to_bytes(4, "big")
            ).digest()
            bits = f"{int.from_bytes(hashed[:8], 'big'):064b}"
            groups = [bits[64 - 5 * place - 5 : 64 - 5 * place] for place in range(10)]
            code = "".join(SYMBOLS[int(group, 2)] for group in groups)
            made.append(
                {
                    "name": f"{name} wallet, attempt {attempt}",
                    "wallet": wallet.hex(),
                    "attempt": attempt,
                    "code": code,
                }
            )
    plain = made[0]["code"]
    for name, text, code in (
        ("as it is", plain, plain),
        ("in capitals, with a blank and a hyphen", f"{plain[:4]}-{plain[4:]} ".upper(), plain),
        ("letters that look like digits", "OoIiLl0123", "0011110123"),
        ("too short", plain[:9], None),
        ("too long", plain + "0", None),
        ("with a letter that is none", "u" + plain[1:], None),
        ("far too long", "0" * 65, None),
        ("nothing", "", None),
    ):
        reason = "not a referral code" if code is None else None
        made.append({"name": name, "text": text, "code": code, "reason": reason})
    return made


def streaks() -> list[Case]:
    """Days of check-ins, in the order in which they come, and what each makes and pays."""
    series = {
        "a week and a day": range(100, 108),
        "twice on a day": [100, 100, 101, 101],
        "a day was missed": [100, 101, 103, 104],
        "a clock set back": [100, 101, 100, 102],
        "from day 0": [0, 1, 2],
        "two weeks and a break": [*range(100, 115), 200],
    }
    made: list[Case] = []
    for name, days in series.items():
        row: list[int] = []
        steps = []
        for day in days:
            is_new = not row or day > row[-1]
            if is_new:
                row = [*row, day] if row and day == row[-1] + 1 else [day]
            paid = REWARDS[(len(row) - 1) % 7] if is_new else 0
            steps.append({"day": day, "days": len(row), "points": paid})
        made.append({"name": name, "steps": steps})
    return made


def windows() -> list[Case]:
    """Days with the windows that they lie in."""
    made: list[Case] = []
    for day in (0, 3, 4, 10, 11, 20_423, 20_429, 20_430):
        on = date(1970, 1, 1) + timedelta(days=day)
        mondays = (on - timedelta(days=on.weekday()) - date(1969, 12, 29)).days // 7
        made.append(
            {
                "name": f"{on:%A} {on}",
                "day": day,
                "daily": day,
                "weekly": mondays,
                "once": 0,
                "days_of_week_left": 7 - on.weekday(),
            }
        )
    return made


def counted_days() -> list[Case]:
    """Days on which referrals count, after how many others on which day."""
    made: list[Case] = []
    for name, gate, today, others, expected in (
        ("room at once", 5, 5, {}, 5),
        ("the tenth", 5, 5, {5: 9}, 5),
        ("the eleventh waits", 5, 5, {5: 10}, None),
        ("and counts on the next day", 5, 6, {5: 10}, 6),
        ("or on the one after it", 5, 9, {5: 10, 6: 12, 8: 1}, 7),
        ("asked late, it counts on the day of its gate", 5, 9, {6: 10}, 5),
        ("nothing counts before its gate", 5, 4, {}, None),
    ):
        made.append(
            {
                "name": name,
                "gate_day": gate,
                "today": today,
                "others": [[day, count] for day, count in others.items()],
                "day": expected,
            }
        )
    return made


def sine(tenths: int) -> int:
    """Of any angle, by the formula for half a turn."""
    if tenths < 0:
        return sine(tenths + 3_600)
    if tenths >= 1_800:
        return -sine(tenths - 1_800) if tenths > 1_800 else 0
    product = tenths * (1_800 - tenths)
    return 16 * product * 10**6 // (16_200_000 - 4 * product)


def point(lat: int, lon: int) -> list[int]:
    """On a sphere of a million."""
    flat = sine(lat + 900)
    east = sine((lon + 900) % 3_600)
    north = sine(lon % 3_600)
    return [flat * east // 10**6, flat * north // 10**6, sine(lat % 3_600)]


def distances() -> list[Case]:
    """Two positions, their distance, and whether the first can be in the second one's country."""
    made: list[Case] = []
    for name, own, derived, radius, country in (
        ("one place", (210, 1_058), (210, 1_058), 0, "VN"),
        ("Hanoi and Saigon", (210, 1_058), (108, 1_067), 0, "VN"),
        ("Hanoi and Berlin", (210, 1_058), (525, 134), 100, "VN"),
        ("a database that knows little", (210, 1_058), (525, 134), 6_000, "VN"),
        ("New York and Los Angeles", (407, -740), (341, -1_182), 50, "US"),
        ("the poles", (900, 0), (-900, 0), 0, "RU"),
        ("across the date line", (-180, 1_795), (-180, -1_795), 0, "FJ"),
        ("a country without a name", (0, 0), (0, 900), 0, "unknown"),
    ):
        gap = sum(
            (one - other) ** 2 for one, other in zip(point(*own), point(*derived), strict=True)
        )
        away = 6_371 * isqrt(gap) // 10**6
        made.append(
            {
                "name": name,
                "own": list(own),
                "derived": list(derived),
                "radius_km": radius,
                "country": country,
                "km": away,
                "mismatch": away > radius + LONG.get(country, 2_000),
            }
        )
    return made


FILES: dict[str, Callable[[], list[Case]]] = {
    "zeronode-rewards/codes.json": codes,
    "zeronode-rewards/streaks.json": streaks,
    "zeronode-rewards/windows.json": windows,
    "zeronode-rewards/counted_days.json": counted_days,
    "zeronode-rewards/distances.json": distances,
}


if __name__ == "__main__":
    write(FILES)
