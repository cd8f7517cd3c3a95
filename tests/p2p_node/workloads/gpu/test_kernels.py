"""The kernels make the bits that protocols defines, on every runtime."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p_node.workloads.gpu.kernels import PATH_BYTES, Kernels, compute_tree_bytes
from p2p_node.workloads.gpu.runtime import Buffer, Runtime
from protocols.compute import ROW_TAG
from protocols.errors import LocalError
from protocols.expand import expand_rows
from protocols.memory import LEAF_TAG
from protocols.merkle import build_tree
from protocols.mix import MIX_LANES, STATE_BYTES, ZERO_START, hash_states, mix_rows
from tests.fakes.gpu_runtime import HostRuntime, build_kernels

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SEEDS = st.binary(min_size=32, max_size=32)


class Bench:
    """Runs kernels on data that comes from the host and goes back to it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.stream = runtime.create_stream(urgent=False)
        self.kernels = Kernels(runtime, self.stream)
        self.buffers: list[Buffer] = []

    def put(self, data: bytes) -> int:
        address = self.take(len(data))
        self.runtime.write(self.stream, address, data)
        return address

    def take(self, size: int) -> int:
        self.buffers.append(self.runtime.allocate(size))
        return self.buffers[-1].address

    def get(self, address: int, size: int) -> bytes:
        return self.runtime.read(self.stream, address, size)

    def close(self) -> None:
        self.get(self.kernels.zero_start, 1)
        for buffer in self.buffers:
            buffer.free()
        self.buffers = []


@pytest.fixture
def bench(runtime: Runtime) -> Iterator[Bench]:
    bench = Bench(runtime)
    yield bench
    bench.close()
    bench.kernels.close()


def make_rows(seed: int, count: int, n: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(-(2**31), 2**31, (count, n), dtype=np.int32)


@EXAMPLES
@given(seed=SEEDS, rows=st.integers(1, 70), sixteenths=st.integers(1, 70))
def test_expanded_rows_are_those_of_numpy(
    bench: Bench, seed: bytes, rows: int, sixteenths: int
) -> None:
    """Also where the last block of a row is half used."""
    width = 16 * sixteenths
    out = bench.take(rows * width)
    bench.kernels.expand_rows(bench.stream, bench.put(seed), rows, width, out)
    assert bench.get(out, rows * width) == expand_rows(seed, width, 0, rows).tobytes()
    bench.close()


@EXAMPLES
@given(seed=SEEDS, rows=st.integers(1, 70), sixteenths=st.integers(1, 20))
def test_expanded_columns_are_the_transpose(
    bench: Bench, seed: bytes, rows: int, sixteenths: int
) -> None:
    width = 16 * sixteenths
    out = bench.take(rows * width)
    bench.kernels.expand_transposed(bench.stream, bench.put(seed), rows, width, out)
    assert bench.get(out, rows * width) == expand_rows(seed, width, 0, rows).T.tobytes()
    bench.close()


@EXAMPLES
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), sixteenths=st.integers(1, 45))
def test_end_states_are_those_of_numpy(
    bench: Bench, seed: int, count: int, sixteenths: int
) -> None:
    """Also for lanes of different lengths, and for lanes without a word."""
    n = 16 * sixteenths
    rows = make_rows(seed, count, n)
    start = np.random.default_rng(seed).integers(0, 2**64, MIX_LANES, dtype=np.uint64)
    states = bench.take(count * STATE_BYTES)
    bench.kernels.mix_rows(
        bench.stream, bench.put(rows.tobytes()), count, 4 * n, bench.put(start.tobytes()), states
    )
    assert bench.get(states, count * STATE_BYTES) == mix_rows(rows, start).tobytes()
    bench.close()


def test_compute_rows_start_at_zero(bench: Bench) -> None:
    rows = make_rows(1, 3, 48)
    states = bench.take(3 * STATE_BYTES)
    place = bench.put(rows.tobytes())
    bench.kernels.mix_rows(bench.stream, place, 3, 4 * 48, bench.kernels.zero_start, states)
    assert bench.get(states, 3 * STATE_BYTES) == mix_rows(rows, ZERO_START).tobytes()


@pytest.mark.parametrize("blocks", [1, 3])
def test_fewer_blocks_do_the_same(bench: Bench, blocks: int) -> None:
    rows, n = make_rows(2, 100, 80), 80
    states, out = bench.take(100 * STATE_BYTES), bench.take(100 * n)
    place, seed = bench.put(rows.tobytes()), bytes(range(32))
    start = bench.kernels.zero_start
    bench.kernels.mix_rows(bench.stream, place, 100, 4 * n, start, states, blocks=blocks)
    bench.kernels.expand_rows(bench.stream, bench.put(seed), 100, n, out, blocks=blocks)
    assert bench.get(states, 100 * STATE_BYTES) == mix_rows(rows).tobytes()
    assert bench.get(out, 100 * n) == expand_rows(seed, n, 0, 100).tobytes()


@EXAMPLES
@given(
    tag=st.sampled_from([ROW_TAG, LEAF_TAG]),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 70),
    number=st.integers(0, 2**32 - 1),
    first=st.integers(0, 2**32 - 100),
    row_bytes=st.integers(64, 2**17),
)
def test_leaves_are_those_of_hashlib(
    bench: Bench, tag: bytes, seed: int, count: int, number: int, first: int, row_bytes: int
) -> None:
    states = np.random.default_rng(seed).integers(0, 2**64, (count, MIX_LANES), dtype=np.uint64)
    leaves = bench.take(32 * count)
    bench.kernels.hash_leaves(
        bench.stream, tag, bench.put(states.tobytes()), number, first, count, row_bytes, leaves
    )
    names = [(number, first + i) for i in range(count)]
    expected = b"".join(hash_states(tag, states, names, row_bytes))
    assert bench.get(leaves, 32 * count) == expected
    bench.close()


@EXAMPLES
@given(seed=st.integers(0, 2**32), size=st.integers(1, 300), data=st.data())
def test_trees_and_paths_are_those_of_the_protocol(
    bench: Bench, seed: int, size: int, data: st.DataObject
) -> None:
    leaves = np.random.default_rng(seed).bytes(32 * size)
    levels = bench.take(compute_tree_bytes(size))
    bench.runtime.write(bench.stream, levels, leaves)
    root = bench.take(32)
    bench.kernels.build_tree(bench.stream, levels, size, root)
    tree = build_tree(leaves)
    assert bench.get(root, 32) == tree.root
    assert bench.get(levels, compute_tree_bytes(size)) == b"".join(tree.levels)
    picked = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=9))
    paths = bench.take(PATH_BYTES * len(picked))
    indices = bench.put(np.array(picked, "<u8").tobytes())
    bench.kernels.gather_paths(bench.stream, levels, size, indices, len(picked), paths)
    got = bench.get(paths, PATH_BYTES * len(picked))
    for i, index in enumerate(picked):
        path = tree.path(index)
        assert got[i * PATH_BYTES : i * PATH_BYTES + len(path)] == path
    bench.close()


@EXAMPLES
@given(prefix=st.binary(min_size=1, max_size=200), number=st.integers(0, 2**32 - 1), root=SEEDS)
def test_seeds_are_those_of_hashlib(bench: Bench, prefix: bytes, number: int, root: bytes) -> None:
    """At every length of the padding."""
    seed = bench.take(32)
    bench.kernels.derive_seed(
        bench.stream, bench.put(prefix), len(prefix), number, bench.put(root), seed
    )
    expected = hashlib.sha256(prefix + number.to_bytes(4, "little") + root).digest()
    assert bench.get(seed, 32) == expected
    bench.close()


@pytest.mark.parametrize("sizes", [(1, 16, 16), (7, 48, 32), (33, 2064, 16), (130, 80, 272)])
def test_products_are_exact(bench: Bench, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    random = np.random.default_rng(3)
    a = random.integers(-128, 128, (m, k), dtype=np.int8)
    b = random.integers(-128, 128, (k, n), dtype=np.int8)
    c = bench.take(4 * m * n)
    bench.runtime.multiply(
        bench.stream, bench.put(a.tobytes()), bench.put(b.T.tobytes()), c, m, k, n
    )
    expected = a.astype(np.int64) @ b.astype(np.int64)
    assert bench.get(c, 4 * m * n) == expected.astype("<i4").tobytes()


@pytest.mark.parametrize("sizes", [(1, 16, 16), (7, 48, 32), (3, 131_056, 16)])
def test_products_of_few_rows_are_exact(bench: Bench, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    random = np.random.default_rng(4)
    a = random.integers(-128, 128, (m, k), dtype=np.int8)
    b = random.integers(-128, 128, (n, k), dtype=np.int8)
    a[-1], b[-1] = -128, -128
    c = bench.take(4 * m * n)
    places = bench.put(a.tobytes()), bench.put(b.tobytes())
    bench.runtime.launch(bench.stream, "multiply_few", m * n, *places, k, n, c)
    expected = a.astype(np.int64) @ b.T.astype(np.int64)
    assert bench.get(c, 4 * m * n) == expected.astype("<i4").tobytes()


def test_the_largest_sum_is_exact(bench: Bench) -> None:
    """k · 2^14 at the largest k that the protocol allows."""
    m, k, n = 32, 131_056, 16
    a, b = bench.put(b"\x80" * (m * k)), bench.put(b"\x80" * (k * n))
    c = bench.take(4 * m * n)
    bench.runtime.multiply(bench.stream, a, b, c, m, k, n)
    assert set(np.frombuffer(bench.get(c, 4 * m * n), "<i4")) == {k << 14}


def test_tags_have_to_fit(monkeypatch: pytest.MonkeyPatch, host: HostRuntime) -> None:
    monkeypatch.setattr("p2p_node.workloads.gpu.kernels._TAGS", (b"short",))
    with pytest.raises(LocalError, match="tag of 5 bytes"):
        Kernels(host, host.create_stream(urgent=False))


def test_items_do_not_depend_on_their_order(host: HostRuntime) -> None:
    """Two items that met in memory would give other bits when done the other way round."""
    found = []
    for runtime in (host, HostRuntime(flags=("-DKAISAR_REVERSED",))):
        bench = Bench(runtime)
        rows = make_rows(5, 37, 80)
        states, levels = bench.take(37 * STATE_BYTES), bench.take(compute_tree_bytes(37))
        a, b, root = bench.take(37 * 80), bench.take(37 * 80), bench.take(32)
        seed = bench.put(bytes(range(32)))
        place = bench.put(rows.tobytes())
        start = bench.kernels.zero_start
        bench.kernels.expand_rows(bench.stream, seed, 37, 80, a)
        bench.kernels.expand_transposed(bench.stream, seed, 37, 80, b)
        bench.kernels.mix_rows(bench.stream, place, 37, 320, start, states)
        bench.kernels.hash_leaves(bench.stream, ROW_TAG, states, 0, 0, 37, 320, levels)
        bench.kernels.build_tree(bench.stream, levels, 37, root)
        found.append([bench.get(a, 37 * 80), bench.get(b, 37 * 80), bench.get(root, 32)])
        bench.close()
    assert found[0] == found[1]
    assert build_kernels() is not build_kernels("-DKAISAR_REVERSED")
