"""Positions in tenths of a degree (about 11 km), and how far two of them are apart.

Nothing finer is ever kept. Distances are measured in whole kilometres, straight through the earth,
and without floating point: Bhaskara's approximation of the sine is right to 0.2 %, which is far
less than a tenth of a degree and the databases of addresses leave open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Final

from protocols.errors import MalformedError

EARTH_RADIUS_KM: Final = 6_371

USUAL_EXTENT_KM: Final = 2_000
"""No country is longer, except these."""

EXTENTS_KM: Final[Mapping[str, int]] = {
    "AR": 3_700,
    "AU": 4_500,
    "BR": 4_400,
    "CA": 5_600,
    "CD": 2_500,
    "CL": 5_000,
    "CN": 5_300,
    "DZ": 2_500,
    "ES": 2_400,
    "FM": 3_000,
    "GL": 2_700,
    "ID": 5_300,
    "IN": 3_300,
    "IR": 2_400,
    "JP": 3_200,
    "KI": 4_700,
    "KZ": 3_100,
    "MM": 2_200,
    "MN": 2_500,
    "MX": 3_400,
    "NO": 2_700,
    "PE": 2_200,
    "PT": 2_400,
    "RU": 7_600,
    "SA": 2_400,
    "US": 9_000,
}
"""Kilometres between the farthest points of long countries, rounded up, islands included."""

_HALF_TURN: Final = 1_800
_SCALE: Final = 1_000_000


@dataclass(frozen=True)
class Position:
    """Latitude and longitude in tenths of a degree; MalformedError outside the globe."""

    lat_tenths: int
    lon_tenths: int

    def __post_init__(self) -> None:
        if not -900 <= self.lat_tenths <= 900 or not -1_800 <= self.lon_tenths <= 1_800:
            raise MalformedError(
                "not a position",
                f"found {self.lat_tenths}, {self.lon_tenths}, expected tenths of a degree within "
                "±900, ±1800",
            )


def measure_km(first: Position, second: Position) -> int:
    """Return how far two positions are apart in a straight line, in whole kilometres."""
    gap = sum((one - other) ** 2 for one, other in zip(_point(first), _point(second), strict=True))
    return EARTH_RADIUS_KM * isqrt(gap) // _SCALE


def is_mismatch(
    own: Position, derived: Position | None, radius_km: int, country: str
) -> bool | None:
    """Return whether what the browser says cannot be in the country that the address says.

    `derived` is where a database puts the address, off by `radius_km`, and `country` its ISO code.
    Addresses are often registered at the other end of their country, so that only a distance
    tells which is longer than that country. None where the database gives no position.
    """
    if derived is None:
        return None
    return measure_km(own, derived) > radius_km + EXTENTS_KM.get(country, USUAL_EXTENT_KM)


def _point(position: Position) -> tuple[int, int, int]:
    """Return the point on the unit sphere, in millionths."""
    flat = _cosine(position.lat_tenths)
    return (
        flat * _cosine(position.lon_tenths) // _SCALE,
        flat * _sine(position.lon_tenths) // _SCALE,
        _sine(position.lat_tenths),
    )


def _sine(tenths: int) -> int:
    """Return the sine of an angle within a turn either way, in millionths."""
    turned = tenths % (2 * _HALF_TURN)
    sign, angle = (1, turned) if turned <= _HALF_TURN else (-1, turned - _HALF_TURN)
    product = angle * (_HALF_TURN - angle)
    return sign * _SCALE * 16 * product // (5 * _HALF_TURN**2 - 4 * product)


def _cosine(tenths: int) -> int:
    return _sine(tenths + _HALF_TURN // 2)
