import re

import numpy as np
import pytest

from astec.loadtest.report.machine_speed import (
    MachineSpeed,
    measure_speed,
    multiply_float32,
    multiply_int8,
    vector_instructions,
)

pytestmark = pytest.mark.slow


def test_the_products_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    x_BD, weights_RD = (rng.integers(-127, 128, (count, 77)).astype(np.int8) for count in (3, 5))
    expected_BR = x_BD.astype(np.int64) @ weights_RD.astype(np.int64).T
    assert (multiply_int8(x_BD, weights_RD) == expected_BR).all()
    products_BR = multiply_float32(x_BD.astype(np.float32), weights_RD.astype(np.float32))
    assert products_BR == pytest.approx(expected_BR)


def test_a_machine_is_described_in_one_line_with_all_yardsticks() -> None:
    speed = measure_speed()
    assert speed.instructions == vector_instructions()
    assert min(speed.memory_ns, speed.float32_gflops, speed.int8_gops) > 0
    line = speed.describe()
    assert re.fullmatch(r"- speed: .+ read from memory \d+ ns; .+ float32 [\d.]+ GFLOP/s, int8 [\d.]+ GOP/s\n", line)
    assert "echo" not in line


def test_the_echo_is_said_where_it_was_measured() -> None:
    line = MachineSpeed([], 100.0, 50.0, 70.0, 12345.6).describe()
    assert line.startswith("- speed: no vector instructions known here; echo 12,346 answers/s (one process, 400 bytes)")
