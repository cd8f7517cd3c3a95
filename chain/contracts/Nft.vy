#pragma version 0.4.3
#pragma evm-version london
"""
@title Kaisar test collection
@license Apache-2.0
@notice An ERC-721 with ERC721Enumerable for local networks and testnets, whose minter gives out as
        many tokens as it likes. On a real network an existing collection's address takes its place.
@dev snekmate's ERC-721 was left out for the reason that Token.vy names: it is AGPL-3.0-only. The
     standard's functions are payable; these are not, so that no money can get lost here.
"""

from ethereum.ercs import IERC165
from ethereum.ercs import IERC721

implements: IERC165

# Somebody else's contract that is asked whether it takes a token.
interface IERC721Receiver:
    def onERC721Received(
        operator: address, sender: address, token_id: uint256, data: Bytes[1_024]
    ) -> bytes4: nonpayable

_ERC165: constant(bytes4) = 0x01ffc9a7
_ERC721: constant(bytes4) = 0x80ac58cd
_ENUMERABLE: constant(bytes4) = 0x780e9d63
_METADATA: constant(bytes4) = 0x5b5e139f
_RECEIVED: constant(bytes4) = 0x150b7a02

# Public state in lower case: the getters' names are given by ERC-721.
name: public(immutable(String[32]))
symbol: public(immutable(String[8]))
minter: public(immutable(address))

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
isApprovedForAll: public(HashMap[address, HashMap[address, bool]])

_owners: HashMap[uint256, address]
_approved: HashMap[uint256, address]
_held: HashMap[address, HashMap[uint256, uint256]]  # owner -> place -> token
_places: HashMap[uint256, uint256]  # token -> its place among its owner's


@deploy
def __init__(name_: String[32], symbol_: String[8], minter_: address):
    """
    @notice Creates the collection, without any token.
    @param name_ Name shown by wallets.
    @param symbol_ Ticker shown by wallets.
    @param minter_ Who makes tokens, for ever.
    """
    name = name_
    symbol = symbol_
    minter = minter_


@external
def mint(to: address) -> uint256:
    """
    @notice Makes a token. Only the minter may. Tokens are numbered from 1.
    @param to Who owns it; not the zero address.
    @return uint256 The token.
    """
    assert msg.sender == minter, "nft: caller is not the minter"
    assert to != empty(address), "nft: receiver is the zero address"
    token_id: uint256 = self.totalSupply + 1
    self.totalSupply = token_id
    self._give(to, token_id)
    log IERC721.Transfer(sender=empty(address), receiver=to, token_id=token_id)
    return token_id


@external
def transferFrom(sender: address, to: address, token_id: uint256):
    """
    @notice Moves a token from its owner. The owner, whom it approved for the token, and its
            operators may.
    @param sender Who owns it.
    @param to Receiver; not the zero address.
    @param token_id The token.
    """
    self._transfer(sender, to, token_id)


@external
def safeTransferFrom(
    sender: address, to: address, token_id: uint256, data: Bytes[1_024] = b""
):
    """
    @notice Does the same as transferFrom, and asks a receiver that is a contract whether it takes
            the token.
    @param sender Who owns it.
    @param to Receiver; not the zero address.
    @param token_id The token.
    @param data Handed to the receiver.
    """
    self._transfer(sender, to, token_id)
    if to.is_contract:
        answer: bytes4 = extcall IERC721Receiver(to).onERC721Received(
            msg.sender, sender, token_id, data
        )
        assert answer == _RECEIVED, "nft: receiver refuses"


@external
def approve(approved: address, token_id: uint256):
    """
    @notice Lets `approved` move one token, in place of whoever might before. Its owner and the
            owner's operators may.
    @param approved Who may move it; the zero address for nobody.
    @param token_id The token.
    """
    owner: address = self._owner(token_id)
    assert (
        msg.sender == owner or self.isApprovedForAll[owner][msg.sender]
    ), "nft: caller may not"
    self._approved[token_id] = approved
    log IERC721.Approval(owner=owner, approved=approved, token_id=token_id)


@external
def setApprovalForAll(operator: address, approved: bool):
    """
    @notice Lets `operator` move all tokens of the caller's, or no more.
    @param operator Who may move them.
    @param approved Whether it may.
    """
    self.isApprovedForAll[msg.sender][operator] = approved
    log IERC721.ApprovalForAll(owner=msg.sender, operator=operator, approved=approved)


@external
@view
def ownerOf(token_id: uint256) -> address:
    """
    @notice Who owns a token; reverts if there is none of that number.
    """
    return self._owner(token_id)


@external
@view
def getApproved(token_id: uint256) -> address:
    """
    @notice Who may move a token beside its owner and the owner's operators; reverts if there is
            none of that number.
    """
    self._owner(token_id)
    return self._approved[token_id]


@external
@view
def tokenByIndex(index: uint256) -> uint256:
    """
    @notice The token at a place among all, from 0; reverts beyond the last.
    """
    assert index < self.totalSupply, "nft: no such place"
    return index + 1


@external
@view
def tokenOfOwnerByIndex(owner: address, index: uint256) -> uint256:
    """
    @notice The token at a place among an owner's, from 0; reverts beyond the last. Places change
            when tokens leave.
    """
    assert index < self.balanceOf[owner], "nft: no such place"
    return self._held[owner][index]


@external
@view
def tokenURI(token_id: uint256) -> String[1]:
    """
    @notice Nothing: test tokens have no description. Reverts if there is none of that number.
    """
    self._owner(token_id)
    return ""


@external
@view
def supportsInterface(interface_id: bytes4) -> bool:
    """
    @notice Whether an interface of ERC-165 is here.
    """
    return interface_id in [_ERC165, _ERC721, _ENUMERABLE, _METADATA]


@internal
@view
def _owner(token_id: uint256) -> address:
    owner: address = self._owners[token_id]
    assert owner != empty(address), "nft: no such token"
    return owner


@internal
def _transfer(sender: address, to: address, token_id: uint256):
    owner: address = self._owner(token_id)
    assert owner == sender, "nft: sender does not own it"
    assert to != empty(address), "nft: receiver is the zero address"
    assert (
        msg.sender == owner
        or msg.sender == self._approved[token_id]
        or self.isApprovedForAll[owner][msg.sender]
    ), "nft: caller may not"
    self._approved[token_id] = empty(address)
    self._take(owner, token_id)
    self._give(to, token_id)
    log IERC721.Transfer(sender=owner, receiver=to, token_id=token_id)


@internal
def _give(to: address, token_id: uint256):
    place: uint256 = self.balanceOf[to]
    self._owners[token_id] = to
    self._held[to][place] = token_id
    self._places[token_id] = place
    self.balanceOf[to] = place + 1


@internal
def _take(owner: address, token_id: uint256):
    """
    @notice Takes a token out of its owner's; the last of them moves to its place.
    """
    place: uint256 = self._places[token_id]
    last: uint256 = self.balanceOf[owner] - 1
    moved: uint256 = self._held[owner][last]
    self._held[owner][place] = moved
    self._places[moved] = place
    self._held[owner][last] = 0
    self.balanceOf[owner] = last
