from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from blemish.runtime import environment
from blemish.runtime.environment import prepare_environment

NAMES = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 8 processors of which a control group allows 3; PyTorch is not loaded."""
    monkeypatch.setattr(environment, "affine_processors", lambda: 8)
    monkeypatch.setattr(environment, "available_processors", lambda: 3)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("processors")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, PASSIVE | {"OMP_NUM_THREADS": "3"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3"}),
        ({"GOMP_SPINCOUNT": "9"}, {"GOMP_SPINCOUNT": "9", "OMP_NUM_THREADS": "3"}),
        ({"OMP_NUM_THREADS": "8"}, PASSIVE | {"OMP_NUM_THREADS": "8"}),
        ({"MKL_NUM_THREADS": "1"}, PASSIVE | {"MKL_NUM_THREADS": "1"}),
    ],
)
def test_a_users_own_setting_stays(given: dict[str, str], expected: dict[str, str]) -> None:
    values = dict(given)
    prepare_environment(values)
    assert values == expected


@pytest.mark.usefixtures("processors")
def test_the_libraries_choose_the_number_of_threads_where_no_quota_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "available_processors", lambda: 8)
    values: dict[str, str] = {}
    prepare_environment(values)
    assert values == PASSIVE


def variables(code: str, **given: str) -> dict[str, str]:
    """The variables in question after some code in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if key not in NAMES}
    code += f"; import json, os; print(json.dumps({{key: os.environ[key] for key in {NAMES} if key in os.environ}}))"
    done = subprocess.run([sys.executable, "-c", code], env=clean | given, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_importing_the_package_sets_passive_waiting_before_any_library_loads() -> None:
    check = "import sys; assert not {'torch', 'numpy', 'sklearn', 'numba'} & set(sys.modules)"
    assert PASSIVE.items() <= variables(f"import blemish; {check}").items()
    assert PASSIVE.items() <= variables(f"import blemish.cli.app; {check}").items()
    assert "GOMP_SPINCOUNT" not in variables("import blemish", OMP_WAIT_POLICY="ACTIVE")


def test_nothing_is_set_once_torch_is_loaded() -> None:
    assert variables("import torch, blemish") == {}


def test_passive_waiting_leaves_the_number_of_threads_to_torch() -> None:
    ask = "import torch, os; os.environ['MKL_NUM_THREADS'] = str(torch.get_num_threads())"
    assert variables(ask)["MKL_NUM_THREADS"] == variables(f"import blemish; {ask}")["MKL_NUM_THREADS"]
