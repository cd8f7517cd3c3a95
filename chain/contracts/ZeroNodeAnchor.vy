#pragma version 0.4.3
#pragma evm-version london
"""
@title Anchor of ZeroNode's ledgers and draws
@license Apache-2.0
@notice A ZeroNode service keeps a ledger of points outside the chain. Here it says, once and for
        ever, what that ledger was at the end of each day: the root of a Merkle tree, from which
        everybody can prove an own entry or balance. And here it says what a draw will be decided
        by, before the randomness that decides it is known. Neither can be taken back or replaced,
        by the service or by anybody else.

        The owner lists the services and retires them. It has no way to a root or a commitment, and
        nothing here holds money. Whether a root is that of an honest ledger is not known here: it
        can be shown that a service said two things, not that it said the truth.

        Days are counted from the Unix epoch: day d lasts from d * day_seconds to the same of d + 1.
@dev The Ed25519 key of a service is stored, not checked: the EVM cannot afford it, and the owner
     vouches for what it lists.
"""

event ServiceAdded:
    service: indexed(uint256)
    wallet: indexed(address)
    node_key: indexed(bytes32)

event ServiceRetired:
    service: indexed(uint256)

event RootAnchored:
    service: indexed(uint256)
    day: indexed(uint256)
    root: bytes32

event DrawCommitted:
    service: indexed(uint256)
    draw: indexed(bytes32)
    commitment: bytes32

event OwnershipOffered:
    owner: indexed(address)
    heir: indexed(address)

event OwnershipTransferred:
    before: indexed(address)
    owner: indexed(address)

struct Service:
    wallet: address  # who sends its roots and commitments
    node_key: bytes32  # Ed25519, by which its nodes and extensions know it
    added_at: uint256  # Unix seconds
    retired_at: uint256  # Unix seconds; 0 while it is active

struct Draw:
    commitment: bytes32
    committed_at: uint256  # Unix seconds; 0 if there is none

MAX_PAGE: constant(uint256) = 64
# What a reader has to go through at most.
MAX_SERVICES: public(constant(uint256)) = 1_024
MAX_DAY_SECONDS: public(constant(uint256)) = 86_400

nft: public(immutable(address))
day_seconds: public(immutable(uint256))

owner: public(address)
heir: public(address)  # whom ownership is offered to
service_count: public(uint256)  # services ever listed
_services: HashMap[uint256, Service]
# Of active services only.
_index_plus_one: HashMap[address, uint256]
_is_key_taken: HashMap[bytes32, bool]

_roots: HashMap[uint256, HashMap[uint256, bytes32]]  # service -> day -> root
_draws: HashMap[uint256, HashMap[bytes32, Draw]]  # service -> draw -> commitment


@deploy
def __init__(owner_: address, nft_: address, day_seconds_: uint256):
    """
    @notice Fixes the collection and the length of a day for ever.
    @param owner_ Who lists services; not the zero address.
    @param nft_ The ERC-721 collection whose holders' uptime counts twice.
    @param day_seconds_ Length of a day, 1 to 86,400 seconds; shorter ones are for tests.
    """
    assert owner_ != empty(address), "anchor: owner is the zero address"
    assert nft_.is_contract, "anchor: nft is not a contract"
    assert (
        day_seconds_ > 0 and day_seconds_ <= MAX_DAY_SECONDS
    ), "anchor: length of a day out of range"
    nft = nft_
    day_seconds = day_seconds_
    self.owner = owner_
    log OwnershipTransferred(before=empty(address), owner=owner_)


@external
def add_service(wallet: address, node_key: bytes32) -> uint256:
    """
    @notice Lists a service. Only the owner may.
    @param wallet Who will send its roots and commitments; not that of another active service.
    @param node_key Its Ed25519 key; not that of another active service.
    @return uint256 The service's index, for ever.
    """
    self._check_owner()
    assert wallet != empty(address), "anchor: wallet is the zero address"
    assert node_key != empty(bytes32), "anchor: node key is zero"
    assert self._index_plus_one[wallet] == 0, "anchor: wallet is listed already"
    assert not self._is_key_taken[node_key], "anchor: node key is listed already"
    service: uint256 = self.service_count
    assert service < MAX_SERVICES, "anchor: too many services"
    self.service_count = unsafe_add(service, 1)
    self._services[service] = Service(
        wallet=wallet, node_key=node_key, added_at=block.timestamp, retired_at=0
    )
    self._index_plus_one[wallet] = unsafe_add(service, 1)
    self._is_key_taken[node_key] = True
    log ServiceAdded(service=service, wallet=wallet, node_key=node_key)
    return service


@external
def retire_service(service: uint256):
    """
    @notice Lets a service send nothing more. Only the owner may. What it sent stays; wallet and key
            may be listed again, under another index.
    @param service The service's index.
    """
    self._check_owner()
    assert service < self.service_count, "anchor: no such service"
    found: Service = self._services[service]
    assert found.retired_at == 0, "anchor: service is retired"
    self._services[service].retired_at = block.timestamp
    self._index_plus_one[found.wallet] = 0
    self._is_key_taken[found.node_key] = False
    log ServiceRetired(service=service)


@external
def anchor(day: uint256, root: bytes32):
    """
    @notice Says what the caller's ledger was at the end of a day. Only active services may, once
            per day.
    @param day A day that is over.
    @param root Root of the day's Merkle tree; not zero.
    """
    service: uint256 = self._caller()
    assert root != empty(bytes32), "anchor: root is zero"
    assert day < block.timestamp // day_seconds, "anchor: day is not over"
    assert self._roots[service][day] == empty(bytes32), "anchor: day has its root"
    self._roots[service][day] = root
    log RootAnchored(service=service, day=day, root=root)


@external
def commit_draw(draw: bytes32, commitment: bytes32):
    """
    @notice Says what a draw of the caller's will be decided by, and keeps the block's time. Only
            active services may, once per draw.
    @param draw The draw's identity; other services' draws of the same identity are others.
    @param commitment What the service will be held to; not zero.
    """
    service: uint256 = self._caller()
    assert commitment != empty(bytes32), "anchor: commitment is zero"
    assert self._draws[service][draw].committed_at == 0, "anchor: draw has its commitment"
    self._draws[service][draw] = Draw(commitment=commitment, committed_at=block.timestamp)
    log DrawCommitted(service=service, draw=draw, commitment=commitment)


@external
def offer_ownership(heir: address):
    """
    @notice Offers ownership, in place of an earlier offer. Only the owner may.
    @param heir Who may accept it; the zero address for nobody.
    """
    self._check_owner()
    self.heir = heir
    log OwnershipOffered(owner=msg.sender, heir=heir)


@external
def accept_ownership():
    """
    @notice Takes over ownership that was offered to the caller.
    """
    assert msg.sender == self.heir, "anchor: ownership was not offered"
    before: address = self.owner
    self.owner = msg.sender
    self.heir = empty(address)
    log OwnershipTransferred(before=before, owner=msg.sender)


@external
@view
def services(first: uint256, count: uint256) -> DynArray[Service, MAX_PAGE]:
    """
    @notice A page of services, in order of their index.
    @param first First index.
    @param count Number of services wanted; fewer come back at the end, and never more than 64.
    """
    page: DynArray[Service, MAX_PAGE] = []
    end: uint256 = self.service_count
    if first < end:
        length: uint256 = min(min(count, MAX_PAGE), end - first)
        for offset: uint256 in range(length, bound=MAX_PAGE):
            page.append(self._services[first + offset])
    return page


@external
@view
def service_index(wallet: address) -> (bool, uint256):
    """
    @notice Whether `wallet` is that of an active service, and its index (0 if not).
    """
    place: uint256 = self._index_plus_one[wallet]
    if place == 0:
        return False, 0
    return True, unsafe_sub(place, 1)


@external
@view
def root_of(service: uint256, day: uint256) -> bytes32:
    """
    @notice The root that a service anchored for a day; zero if it has not.
    """
    return self._roots[service][day]


@external
@view
def draw_of(service: uint256, draw: bytes32) -> Draw:
    """
    @notice What a service committed to for a draw, and when; zeros if it has not.
    """
    return self._draws[service][draw]


@internal
@view
def _check_owner():
    assert msg.sender == self.owner, "anchor: caller is not the owner"


@internal
@view
def _caller() -> uint256:
    """
    @notice The caller's service.
    """
    place: uint256 = self._index_plus_one[msg.sender]
    assert place != 0, "anchor: caller is no active service"
    return unsafe_sub(place, 1)
