"""Where an account seems to be: what databases of addresses say, and what the browser may add.

The databases are the operator's own files in MaxMind's format (City and ASN, of any publisher);
without them everything is "unknown". A position from the browser is given with consent, in tenths
of a degree, and is deleted on request.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import maxminddb
from sqlalchemy import Connection, insert, select, update

from p2p_node.zeronode.account_tables import locations
from p2p_node.zeronode.accounts import require_account, wallet_text
from p2p_node.zeronode.address_hashes import parse_address
from protocols.coarse_places import Position, is_mismatch
from protocols.errors import LocalError, MalformedError
from protocols.types import Wallet

UNKNOWN: Final = "unknown"

_MAX_TEXT: Final = 64
_MAX_RADIUS_KM: Final = 20_038
_MAX_ASN: Final = (1 << 32) - 1

_logger: Final = logging.getLogger(__name__)


class LocationDatabaseError(LocalError):
    """A database of addresses cannot be used; names the setting."""


@dataclass(frozen=True)
class Place:
    """What an address says: ISO code of the country, region, network, each "unknown" without.

    `asn` is the number of the autonomous system; `position` the database's own guess, off by
    `radius_km` or so.
    """

    country: str = UNKNOWN
    region: str = UNKNOWN
    network: str = UNKNOWN
    asn: int | None = None
    position: Position | None = None
    radius_km: int = 0


@dataclass(frozen=True)
class Location:
    """What is stored about an account; `mismatch` is None where it cannot be told."""

    country: str = UNKNOWN
    region: str = UNKNOWN
    network: str = UNKNOWN
    coarse: Position | None = None
    mismatch: bool | None = None


class Locator:
    """Looks addresses up. Whatever a database holds, the answer is a `Place`."""

    def __init__(self, city: maxminddb.Reader | None, asn: maxminddb.Reader | None) -> None:
        self._city = city
        self._asn = asn

    @classmethod
    def open(cls, city: Path | None = None, asn: Path | None = None) -> Self:
        """Open the files that there are; LocationDatabaseError names the setting."""
        return cls(_open("city_database", city), _open("asn_database", asn))

    def close(self) -> None:
        """Let the files go."""
        for reader in (self._city, self._asn):
            if reader is not None:
                reader.close()

    def locate(self, address: str) -> Place:
        """Return what the databases say of an address; MalformedError for what is none."""
        text = str(parse_address(address))
        city, network = _look_up(self._city, text), _look_up(self._asn, text)
        regions = city.get("subdivisions")
        first = regions[0] if isinstance(regions, list) and regions else None
        where = _table(city.get("location"))
        number = network.get("autonomous_system_number")
        asn = number if type(number) is int and 0 <= number <= _MAX_ASN else None
        return Place(
            country=_text(_table(city.get("country")).get("iso_code")),
            region=_text(_table(_table(first).get("names")).get("en")),
            network=_text(network.get("autonomous_system_organization")),
            asn=asn,
            position=_position(where),
            radius_km=_radius(where),
        )


def store_place(connection: Connection, wallet: Wallet, place: Place, now_ms: int) -> None:
    """Remember what an account's address says now; a position from the browser stays."""
    position = place.position
    _write(
        connection,
        wallet,
        country=place.country,
        region=place.region,
        network=place.network,
        derived_lat=None if position is None else position.lat_tenths,
        derived_lon=None if position is None else position.lon_tenths,
        derived_radius_km=place.radius_km,
        updated_ms=now_ms,
    )


def put_position(connection: Connection, wallet: Wallet, position: Position, now_ms: int) -> None:
    """Remember what the browser said; NotFound without an account."""
    require_account(connection, wallet)
    _write(
        connection,
        wallet,
        lat_tenths=position.lat_tenths,
        lon_tenths=position.lon_tenths,
        updated_ms=now_ms,
    )


def delete_position(connection: Connection, wallet: Wallet, now_ms: int) -> None:
    """Forget what the browser said; it is not an error if it said nothing."""
    connection.execute(
        update(locations)
        .where(locations.c.wallet == wallet_text(wallet))
        .values(lat_tenths=None, lon_tenths=None, updated_ms=now_ms)
    )


def read_location(connection: Connection, wallet: Wallet) -> Location:
    """Return what is stored of an account."""
    query = select(locations).where(locations.c.wallet == wallet_text(wallet))
    row = connection.execute(query).one_or_none()
    if row is None:
        return Location()
    derived = None if row.derived_lat is None else Position(row.derived_lat, row.derived_lon)
    coarse = None if row.lat_tenths is None else Position(row.lat_tenths, row.lon_tenths)
    mismatch = (
        None
        if coarse is None
        else is_mismatch(coarse, derived, row.derived_radius_km or 0, row.country)
    )
    return Location(row.country, row.region, row.network, coarse, mismatch)


def _write(connection: Connection, wallet: Wallet, **values: str | int | None) -> None:
    owner = wallet_text(wallet)
    changed = connection.execute(
        update(locations).where(locations.c.wallet == owner).values(**values)
    )
    if not changed.rowcount:
        unknown = dict.fromkeys(("country", "region", "network"), UNKNOWN)
        connection.execute(insert(locations).values({"wallet": owner, **unknown, **values}))


def _open(setting: str, path: Path | None) -> maxminddb.Reader | None:
    if path is None:
        return None
    try:
        return maxminddb.open_database(path)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise LocationDatabaseError(
            f"{setting}: found {path}, expected a database in MaxMind's format: "
            f"{type(error).__name__}"
        ) from error


def _look_up(reader: maxminddb.Reader | None, address: str) -> Mapping[str, Any]:
    if reader is None:
        return {}
    try:
        return _table(reader.get(address))
    except maxminddb.InvalidDatabaseError:
        # The message would name the address.
        _logger.warning("a database of addresses is damaged")
        return {}
    except ValueError:
        # A database of IPv4 addresses that is asked for one of IPv6.
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        return UNKNOWN
    return value[:_MAX_TEXT]


def _position(where: Mapping[str, Any]) -> Position | None:
    lat, lon = _tenths(where.get("latitude")), _tenths(where.get("longitude"))
    if lat is None or lon is None:
        return None
    try:
        return Position(lat, lon)
    except MalformedError:
        return None


def _tenths(degrees: object) -> int | None:
    # Not a number is not between these either.
    if isinstance(degrees, int | float) and -180 <= degrees <= 180:
        return round(degrees * 10)
    return None


def _radius(where: Mapping[str, Any]) -> int:
    radius = where.get("accuracy_radius")
    return radius if type(radius) is int and 0 <= radius <= _MAX_RADIUS_KM else 0
