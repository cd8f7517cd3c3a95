"""What a run consists of, and how each of its processes is started."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2p_node.keystore import LIGHT_KDF, PASSWORD_VARIABLE, Keystore
from p2p_node.testnet.outcome import Participant
from p2p_node.testnet.processes import Child, kaisar_command
from p2p_node.testnet.rental_outcome import Rental, RentalKind
from p2p_node.testnet.rentals import FUNDED, make_rentals, plan_kinds
from protocols.errors import LocalError
from protocols.params import Preset

LISTEN = "/ip4/127.0.0.1/tcp/0"
"""Loopback only, on a port that the system chooses."""

SMALL_HOST = ("--devices", "cpu", "--cores", "1", "--cpu-memory", "64")
"""A dozen nodes share this machine: each offers a core of it, and memory for tiles and some kept
rounds."""


@dataclass(frozen=True, slots=True)
class TestnetPlan:
    """How many of each; adversaries come in addition to the honest."""

    __test__ = False  # its name would make pytest take it for a test

    preset: Preset
    checkers: int = 4
    providers: int = 4
    cheating_providers: int = 0
    absent_providers: int = 0
    lying_checkers: int = 0
    copying_checkers: int = 0
    equivocating_checkers: int = 0
    rentals: int = 0
    zeronodes: int = 0
    """Extensions of a ZeroNode service, which is there if there are any."""
    epochs: int = 3

    @property
    def all_checkers(self) -> int:
        """Checkers of every kind."""
        return (
            self.checkers + self.lying_checkers + self.copying_checkers + self.equivocating_checkers
        )

    @property
    def all_providers(self) -> int:
        """Providers of every kind."""
        return (
            self.providers + self.cheating_providers + self.absent_providers + self.doomed_providers
        )

    @property
    def doomed_providers(self) -> int:
        """Providers that are killed in the middle of a lease."""
        return plan_kinds(self.rentals).count(RentalKind.KILLED)


@dataclass(frozen=True, slots=True)
class Member:
    """A participant with the role it runs and the directory of its keys and data."""

    participant: Participant
    role: str
    data_dir: Path


def list_members(plan: TestnetPlan, directory: Path, password: str) -> list[Member]:
    """Create everybody's keys under `directory`; wallets are new and hold nothing yet."""
    groups = (
        ("checker", plan.checkers, "honest", "checker"),
        ("liar", plan.lying_checkers, "lying", "lying-checker"),
        ("copier", plan.copying_checkers, "copying", "copying-checker"),
        ("traitor", plan.equivocating_checkers, "equivocating", "equivocating-checker"),
        ("provider", plan.providers, "honest", "provider"),
        ("doomed", plan.doomed_providers, "doomed", "provider"),
        ("cheat", plan.cheating_providers, "cheating", "cheating-provider"),
        ("ghost", plan.absent_providers, "absent", "absent-provider"),
    )
    members = []
    for name, count, kind, role in groups:
        for number in range(1, count + 1):
            data_dir = directory / f"{name}-{number}"
            keystore = Keystore.create(data_dir, password, kdf=LIGHT_KDF)
            is_provider = role.endswith("provider")
            stake = plan.preset.min_provider_stake if is_provider else plan.preset.min_checker_stake
            for_bonds = FUNDED if is_provider and plan.rentals else 0
            participant = Participant(
                name=data_dir.name,
                kind=kind,
                is_provider=is_provider,
                wallet=keystore.wallet_address,
                funded=stake + for_bonds,
            )
            members.append(Member(participant, role, data_dir))
    return members


def list_rentals(plan: TestnetPlan, directory: Path, password: str) -> list[Rental]:
    """Create the renters of the plan, each with a provider of its own; honest ones in their order.

    LocalError when there are fewer providers than leases that are not to lose theirs.
    """
    kinds = plan_kinds(plan.rentals)
    honest = iter(range(1, plan.providers + 1))
    doomed = iter(range(1, plan.doomed_providers + 1))
    lasting = len(kinds) - plan.doomed_providers
    if lasting > plan.providers:
        raise LocalError(
            f"rentals: {lasting} of them need a provider each, found {plan.providers} providers"
        )

    def choose(kind: RentalKind) -> str:
        is_doomed = kind is RentalKind.KILLED
        return f"doomed-{next(doomed)}" if is_doomed else f"provider-{next(honest)}"

    return make_rentals(kinds, directory, password, plan.preset, choose)


def node_child(
    name: str,
    role: str,
    data_dir: Path,
    *,
    deployment: Path,
    rpc_url: str,
    bootstrap: str | None,
    password: str,
    flags: Sequence[str] = (),
) -> Child:
    """Describe the process of one node; its password travels in the environment."""
    command = kaisar_command(
        "node",
        "--role",
        role,
        "--data-dir",
        str(data_dir),
        "--deployment",
        str(deployment),
        "--rpc",
        rpc_url,
        "--listen",
        LISTEN,
        "--exit-with-parent",
        *SMALL_HOST,
        *flags,
    )
    if bootstrap is not None:
        command += ["--bootstrap", bootstrap]
    return Child(
        name=name,
        command=command,
        log=data_dir / "node.log",
        environment={PASSWORD_VARIABLE: password, "OPENBLAS_NUM_THREADS": "1"},
        expected_exit=role == "absent-provider",
    )


def draw_password() -> str:
    """Make up the password of this run's wallets."""
    return secrets.token_hex(16)
