"""The machine around a measurement, from files as Linux writes them."""

from pathlib import Path

import pytest

from hwbench.core.record import MachineState
from hwbench.run import state


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine: two CPUs, cpufreq, pressure."""
    files = {
        "proc/stat": "cpu  100 0 50 800 10 0 5 35 20 0\ncpu0 50 0 25 400 5 0 2 17 10 0\nintr 1\n",
        "proc/pressure/cpu": "some avg10=1.00 avg60=0.50 avg300=0.10 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        "proc/loadavg": "3.25 2.00 1.00 2/300 4242\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "2000000\n",
        "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq": "3000000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_machine_tells(root: Path) -> None:
    after = state.read(root)
    assert (after.cpu_waited_s, after.stolen_ticks, after.all_ticks) == (2.0, 35, 1000)
    before = state.Reading(at_s=after.at_s - 4.0, cpu_waited_s=1.0, stolen_ticks=25, all_ticks=800)
    found = state.between(before, after, root)
    assert found.load_1min == 3.25
    assert found.cpu_pressure_fraction == pytest.approx(0.25)
    assert found.steal_fraction == pytest.approx(0.05)
    assert found.governor == "performance+powersave"
    assert found.frequency_hz == 2.5e9


def test_what_a_machine_does_not_tell_stays_unknown(tmp_path: Path) -> None:
    before, after = state.read(tmp_path), state.read(tmp_path)
    assert state.between(before, after, tmp_path) == MachineState()
    assert state.warnings_of(MachineState(), 2) == ()


def test_this_machine() -> None:
    before = state.read()
    found = state.between(before, state.read())
    assert found.steal_fraction is None or 0 <= found.steal_fraction <= 1
    assert found.cpu_pressure_fraction is None or 0 <= found.cpu_pressure_fraction <= 1
    assert state.usable_cpus() >= 1


def test_noise_is_said() -> None:
    noisy = MachineState(load_1min=8.0, steal_fraction=0.05, governor="powersave")
    assert state.warnings_of(noisy, 2) == (
        "load 8.0 on 2 CPUs: others were running",
        "the hypervisor gave 5.0 % of the CPU time to others",
        "the CPU frequency governor is powersave: the clock may be low or vary",
    )
    assert state.warnings_of(MachineState(load_1min=2.0, steal_fraction=0.0, governor="performance"), 2) == ()
