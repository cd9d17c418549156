import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["speechshap.data", "speechshap.data.catalogue"])
def test_the_data_room_loads_no_lightning(name: str) -> None:
    code = f"import sys, {name}; print([m for m in sys.modules if 'lightning' in m.split('.')[0]])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
