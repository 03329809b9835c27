# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux drivers whose server is killed and started again.

The server is a second QEMU, which is killed without warning.  The environment is
described in vfio_user_machine.py.  In addition, VFIO_USER_SOAK is the number of
seconds for which test_soak kills servers, by default only a few times, and
VFIO_USER_SEED repeats its choices.
"""

import os
import random
import time
from unittest import TestCase

from vfio_user_disk import CHUNK, WORK
from vfio_user_export import MIB, WITH_PORT, Card, Disk, Exported
from vfio_user_machine import (Guest, PeerError, Scene, compile_program,
                               wait_until)
from vfio_user_models import CARDS, DISKS, NVME_RESETS

SOAK = float(os.environ.get("VFIO_USER_SOAK", 0))
SEED = int(os.environ.get("VFIO_USER_SEED", time.time_ns() % 10 ** 6))
KILLS = 3
# First chunks of the works, and their number of chunks (see WORK)
WORKS = range(0, 128, 32)
CHUNKS = 32
# How much more memory QEMU may have at the end, most of it translated code
GROWTH = 16 * MIB

# Reads wait for as long as a server may take to start on a busy machine.
RECONNECT = {"reconnect-ms": 100, "reconnect-wait-ms": 10000}

# Seconds after which the driver of an NVMe device takes a request for lost.  It
# waits as long again for the abort of the request before it resets the device.
IO_TIMEOUT = 3

# Longer than any test
NO_TIMEOUT = 3600

# For the recovery of a driver on a busy machine
RECOVERY = 120.0


class Storage:
    """The work "storage" in the guest, on its own chunks of the disk."""

    def __init__(self, disk: Disk, first: int) -> None:
        self.disk = disk
        self.first = first
        self.out = f"/tmp/storage.{first}"
        disk.guest.sh(f"{WORK.stem} storage {disk.node} {first} >{self.out} 2>&1 &"
                      f" echo $! >{self.out}.pid")

    def rounds(self) -> list[int]:
        """Return the round in which each chunk was written last, from the file."""
        with open(self.disk.image, "rb") as file:
            return [int.from_bytes(
                os.pread(file.fileno(), 8, (self.first + chunk) * CHUNK),
                "little") >> 32 for chunk in range(CHUNKS)]

    def written(self) -> int:
        return sum(self.rounds())

    def wait(self, count: int) -> None:
        """Wait until it has written a number of chunks more."""
        until = self.written() + count
        wait_until(f"written by {self.out}: {count} chunks",
                   lambda: self.written() >= until, RECOVERY)

    def finish(self) -> None:
        """End it; check its chunks in the file."""
        text = self.disk.guest.sh(
            f"pid=$(cat {self.out}.pid); kill $pid; while [ -d /proc/$pid ]; do"
            f" usleep 10000; done; cat {self.out}", RECOVERY)
        if not text.startswith("storage"):
            raise PeerError(f"guest: {text}")
        last = int(text.split()[1]) - 1
        with open(self.disk.image, "rb") as file:
            for chunk in range(self.first, self.first + CHUNKS):
                words = memoryview(
                    os.pread(file.fileno(), CHUNK, chunk * CHUNK)).cast("Q")
                word = last << 32 | chunk << 16
                if list(words) != list(range(word, word + len(words))):
                    raise PeerError(f"chunk {chunk} is not that of round {last}")


class Returns(TestCase):
    def start(self, scene: Scene, *devices: Exported, **options) -> Guest:
        for device in devices:
            device.options |= RECONNECT
        modules = {name for device in devices for name in device.model.modules}
        guest = scene.guest(*(device.option for device in devices),
                            modules=sorted(modules),
                            **{"args": ["-smp", "2"], **options})
        for device in devices:
            device.guest = guest
        guest.boot()
        return guest

    def start_nvme(self, scene: Scene, told: bool = False,
                   **options) -> Disk:
        disk = Disk(scene, "disk", "01:00.0" if told else "00:04.0",
                    NVME_RESETS)
        if told:
            disk.report_errors()
            options |= WITH_PORT
        guest = self.start(scene, disk, **options)
        guest.sh("modprobe nvme_core io_timeout="
                 f"{NO_TIMEOUT if told else IO_TIMEOUT}")
        self.assertEqual(disk.bind(), "nvme")
        disk.appear()
        return disk

    def lose(self, device: Exported) -> None:
        """Kill the server, start it again, wait until the client uses it."""
        returns = len(device.returns())
        device.lose()
        device.restart()
        wait_until("connected again", lambda: len(device.returns()) > returns)

    def check_counts(self, device: Exported, before: tuple[int, int]) -> None:
        """Check that the client has no more descriptors and threads than before,
        once RCU has freed what the lost connection used."""
        def check() -> bool:
            return device.guest.count() == before
        try:
            wait_until("back to the same descriptors and threads", check)
        except PeerError as error:
            self.fail(f"{error}: {device.guest.count()}, before: {before}")

    def end(self, *devices: Exported) -> None:
        """The kernel did not complain of a processor; the servers exit with their
        client."""
        guest = devices[0].guest
        self.assertEqual(guest.sh("dmesg | grep -E 'lockup|stall|blocked for'"
                                  " || true"), "")
        self.assertEqual(guest.quit(), 0)
        for device in devices:
            self.assertEqual(device.server.wait(), 0)
            self.assertEqual(device.server.complaints, [])

    def test_nvme(self):
        """Killed during writes: all of them arrive."""
        with Scene() as scene:
            disk = self.start_nvme(scene)
            before = disk.guest.count()
            disk.begin(4)
            disk.wait_for_write(2 * MIB)
            self.lose(disk)
            for sums in disk.finish():
                self.assertEqual(sums, sums[:1] * 4)
            self.check_counts(disk, before)
            self.assertRegex(disk.guest.sh("dmesg"), "reset controller")
            self.end(disk)

    def test_nvme_told(self):
        """Told of the error, the driver does not wait for a time-out."""
        with Scene() as scene:
            disk = self.start_nvme(scene, told=True)
            for _ in range(2):
                disk.begin(4)
                disk.wait_for_write(2 * MIB)
                self.lose(disk)
                for sums in disk.finish(RECOVERY):
                    self.assertEqual(sums, sums[:1] * 4)
            said = disk.guest.sh("dmesg")
            self.assertEqual(said.count("device recovery successful"), 2)
            self.end(disk)

    def test_soak(self):
        """Killed again and again: each write that was acknowledged can be read.

        The work in the guest does that for the previous round of its writes; the
        file has those of the last round.  The client has what it had after the
        first times.
        """
        number = random.Random(SEED)
        with Scene() as scene:
            work = compile_program(WORK, scene.folder)
            disk = self.start_nvme(scene, programs=[work])
            works = [Storage(disk, first) for first in WORKS]
            before = disk.guest.count()
            end, kills, memory = time.monotonic() + SOAK, 0, 0
            while kills < KILLS or time.monotonic() < end:
                for each in works:
                    each.wait(1)
                number.choice(works).wait(number.randrange(64))
                self.lose(disk)
                kills += 1
                if kills == KILLS:
                    memory = disk.guest.resident()
            for each in works:
                each.wait(1)
            for each in works:
                each.finish()
            self.check_counts(disk, before)
            grown = disk.guest.resident() - memory
            print(f"seed {SEED}: {kills} kills, {max(disk.returns())} ms without a"
                  f" server at most, {sum(each.written() for each in works)}"
                  f" writes, {grown // 1024} KiB more memory")
            self.assertLess(grown, GROWTH)
            self.end(disk)

    def test_e1000e(self):
        """The driver notices when its transmit ring is full: until then, it does
        not know that nothing is sent."""
        with Scene() as scene:
            card = Card(scene, "card", "00:05.0", size=2 * MIB)
            guest = self.start(scene, card)
            self.assertEqual(card.bind(), "e1000e")
            card.up()
            card.begin()
            sums = card.finish()
            self.assertEqual(sums, sums[:1] * 3)
            before = guest.count()
            self.lose(card)
            card.fill_ring()
            guest.sh("until dmesg | grep -q 'Reset adapter unexpectedly'; do"
                     " usleep 10000; done", RECOVERY)
            guest.sh(f"until [ $(cat /sys/class/net/{card.name}/carrier) = 1 ];"
                     " do usleep 10000; done", RECOVERY)
            card.begin(RECOVERY)
            sums = card.finish()
            self.assertEqual(sums, sums[:1] * 3)
            self.check_counts(card, before)
            card.down()
            self.end(card)

    def test_virtio(self):
        """The drivers do not look for a reset that they did not ask for.  They
        work again when they are bound again.

        Without IPv6: a processor spins forever if virtio_net changes a filter,
        which is a request, while nobody answers.
        """
        with Scene() as scene:
            disk = Disk(scene, "disk", "00:04.0", DISKS["virtio-blk"], 8 * MIB)
            card = Card(scene, "card", "00:05.0", CARDS["virtio-net"], MIB)
            self.start(scene, disk, card, append="ipv6.disable=1")
            for device in (disk, card):
                self.assertEqual(device.bind(), "virtio-pci")
            disk.appear()
            card.up()
            before = disk.guest.count()
            for device in (disk, card):
                self.lose(device)
                self.assertEqual(device.guest.sh(
                    f"cat {device.folder}/virtio*/status"), "0x00000000")
                device.bind_again()
            disk.appear()
            card.up()
            disk.begin(1)
            card.begin()
            for sums in [*disk.finish(), card.finish()]:
                self.assertEqual(sums, sums[:1] * len(sums))
            self.check_counts(disk, before)
            card.down()
            self.end(disk, card)
