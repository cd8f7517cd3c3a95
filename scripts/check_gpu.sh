#!/usr/bin/env bash
# Everything that needs a GPU, in one command: the equality tests, then the benchmark of the whole
# proof. Needs python3 with NumPy, CuPy, pytest, pytest-timeout and hypothesis, and nothing else of
# this project's requirements. The figures go to the file named, popw-gpu.json without one.
set -euo pipefail
cd "$(dirname "$0")/.."

export KAISAR_REQUIRE=gpu PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
status=0
"$python" -m pytest -c scripts/gpu_pytest.ini --rootdir . tests/p2p_node/workloads/gpu || status=$?
"$python" -m bench.popw --backend cupy --json "${1:-popw-gpu.json}" || status=$?
exit "$status"
