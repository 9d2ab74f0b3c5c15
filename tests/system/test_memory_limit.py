"""The memory limit of a control group, in the layouts of both versions."""

from __future__ import annotations

import pytest

from euclidesdb_server.system.memory_limit import memory_limit

MIB = 1 << 20


def layout(root, cgroup, files):
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": f"{512 * MIB}\n"}, 512 * MIB),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/memory.max": f"{64 * MIB}\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            64 * MIB,
        ),
        ("0::/../outside\n", {"sys/fs/cgroup/memory.max": f"{MIB}\n"}, MIB),
        (
            "4:cpu:/x\n3:memory:/docker/7f\n",
            {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n"},
            512 * MIB,
        ),
        (
            "4:memory:/\n0::/\n",
            {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            None,
        ),
        ("", {}, None),
    ],
)
def test_the_lowest_limit_counts(tmp_path, cgroup, files, limit):
    layout(tmp_path, cgroup, files)
    assert memory_limit(tmp_path) == limit


def test_a_system_without_control_groups_has_no_limit(tmp_path):
    assert memory_limit(tmp_path) is None
