# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest migrates with a disk that it uses.

The program in the guest checks each word that it reads.  The tests check the sums
that it prints, and compare what the guest received with what the servers provided.
"""

import os
from unittest import TestCase, skipUnless

from vfio_user_disk import (CHUNK, DISK, STORAGE, WORDS, Change, DiskServer,
                            Sides)
from vfio_user_machine import NEWEST, QEMU, Scene
from vfio_user_state import StateSides

# A file of every guest, copied to the disk after its first chunk.
COPIED = 16
COPY = (f"dd if=/bin/busybox of={DISK} bs={CHUNK} seek=1 count={COPIED} "
        "conv=fsync 2>/dev/null")
ORIGINAL_SUM = (f"dd if=/bin/busybox bs={CHUNK} count={COPIED} 2>/dev/null |"
                " sha256sum")
COPY_SUM = (f"dd if={DISK} bs={CHUNK} skip=1 count={COPIED} 2>/dev/null |"
            " sha256sum")
DROP = "echo 3 >/proc/sys/vm/drop_caches"
MASK = (1 << 64) - 1
# How often test_switch replaces the server
SWITCHES = int(os.environ.get("VFIO_USER_SWITCHES", "10"))


class Migration(TestCase):
    def start(self, sides: Sides) -> None:
        """Wait for the disk and copy a file to it."""
        guest = sides.guest
        guest.sh("modprobe virtio_pci; modprobe virtio_blk")
        guest.sh(f"until [ -b {DISK} ]; do usleep 10000; done")
        guest.sh(COPY)
        self.copy = guest.sh(ORIGINAL_SUM)
        self.check_copy(sides)

    def check_copy(self, sides: Sides) -> None:
        """Check the copy in the page cache and on the disk."""
        self.assertEqual(sides.guest.sh(COPY_SUM), self.copy)
        sides.guest.sh(DROP)
        self.assertEqual(sides.guest.sh(COPY_SUM), self.copy)

    def check_numbers(self, sides: Sides) -> int:
        """Check that every number arrived once and in order; return the next."""
        first, end, total = sides.finish("numbers")
        self.assertEqual(total, (first + end - 1) * (end - first) // 2 & MASK)
        return end

    def check_storage(self, sides: Sides) -> None:
        """Check that the disk has the data of the last round."""
        rounds, total = sides.finish("storage")
        words = sum((rounds - 1 << 32) + (chunk << 16) for chunk in STORAGE)
        rest = len(STORAGE) * sum(range(WORDS))
        self.assertEqual(total, (WORDS * words + rest) & MASK)

    def check_servers(self, servers: list[DiskServer], end: int) -> None:
        """Check that each server provided numbers during the migration, and that
        the next server continued at the number where it stopped."""
        next_number = 0
        for number, server in enumerate(servers):
            changes = server.changes()
            if number:
                self.assertEqual(changes[:2], [Change("resuming", 0),
                                               Change("running", next_number)])
            if server is not servers[-1]:
                begin, stop = (next(c.numbers for c in changes if c.state == s)
                               for s in ("pre-copy", "stop-and-copy"))
                self.assertGreater(stop, begin + WORDS)
            self.assertGreater(changes[-1].numbers, next_number)
            next_number = changes[-1].numbers
        self.assertEqual(next_number, end)

    def check_continued(self, servers: list[DiskServer], end: int) -> None:
        """Check that each server continued at the number where the last one
        stopped."""
        next_number = 0
        for server in servers[1:]:
            changes = server.changes()
            self.assertEqual(changes[0], Change("resuming", 0))
            self.assertEqual(changes[1].state, "running")
            self.assertGreaterEqual(changes[1].numbers, next_number)
            next_number = changes[-1].numbers
        self.assertEqual(next_number, end)

    def end(self, sides: Sides) -> None:
        """Check that there were no errors, and end the VM."""
        self.assertEqual(sides.guest.sh(
            "dmesg | grep -E 'I/O error|BUG:|Oops|lockup' || true"), "")
        self.assertEqual(sides.guest.log.lines, [])
        self.assertEqual(sides.end(sides.here), 0)

    def migrate(self, stopping: str, *works: str) -> None:
        """Migrate twice."""
        with Scene() as scene:
            sides = Sides(scene, stopping)
            self.start(sides)
            sides.begin(*works)
            servers = []
            for _ in range(2):
                left = sides.move()
                self.check_copy(sides)
                self.assertEqual(left.guest.log.lines, [])
                self.assertEqual(sides.end(left), 0)
                servers.append(left.server)
            end = self.check_numbers(sides)
            if "storage" in works:
                self.check_storage(sides)
            if "memory" in works:
                self.assertGreater(sides.finish("memory"), [0])
            self.check_copy(sides)
            self.end(sides)
            self.check_servers([*servers, sides.here.server], end)

    def test_there_and_back(self):
        """The destination executes requests that are in flight."""
        self.migrate("leaves", "numbers", "storage", "memory")

    def test_finished_requests(self):
        """The destination gets the last interrupt of the source."""
        self.migrate("finishes", "numbers")

    def test_switch(self):
        """Another server takes over, again and again, while the guest runs."""
        with Scene() as scene:
            sides = Sides(scene, "leaves")
            self.start(sides)
            sides.begin("numbers", "storage", "memory")
            servers, pauses = [], []
            for _ in range(SWITCHES):
                left, pause = sides.switch()
                self.assertEqual(left.wait(), 0)
                servers.append(left)
                pauses.append(pause)
            self.check_copy(sides)
            end = self.check_numbers(sides)
            self.check_storage(sides)
            self.assertGreater(sides.finish("memory"), [0])
            self.end(sides)
            print(f"{SWITCHES} switches, the guest was paused for"
                  f" {sorted(pauses)[SWITCHES // 2]} ms (median), at most"
                  f" {max(pauses)} ms")
            self.check_continued([*servers, sides.here.server], end)

    def test_file(self):
        """The VM is saved to a file, and restored after all processes ended."""
        with Scene() as scene:
            sides = Sides(scene, "leaves")
            self.start(sides)
            sides.begin("numbers", "storage", "memory")
            left, file = sides.save()
            sides.restore(file)
            self.check_copy(sides)
            end = self.check_numbers(sides)
            self.check_storage(sides)
            self.assertGreater(sides.finish("memory"), [0])
            self.end(sides)
            self.check_servers([left.server, sides.here.server], end)

    def check_bases(self, machine: str) -> None:
        """Migrate to the newest QEMU and back, with two devices: the disk with
        migration v1 and one with v2.  QEMU itself supports both directions."""
        with Scene() as scene:
            sides = StateSides(scene, machine)
            self.start(sides)
            sides.begin("numbers", "storage", "memory")
            total = sides.states[0].total()
            servers = []
            for qemu in NEWEST, QEMU:
                sides.qemu = qemu
                left = sides.move()
                self.check_copy(sides)
                self.assertEqual(left.guest.log.lines, [])
                self.assertEqual(sides.end(left), 0)
                servers.append(left.server)
                for moved in sides.states[-2:]:
                    self.assertTrue(moved.took_part())
                self.assertEqual(sides.states[-1].total(), total)
            end = self.check_numbers(sides)
            self.check_storage(sides)
            self.assertGreater(sides.finish("memory"), [0])
            self.end(sides)
            self.check_servers([*servers, sides.here.server], end)

    @skipUnless(NEWEST, "VFIO_USER_QEMU_NEWEST names no QEMU")
    def test_bases_pc(self):
        self.check_bases("pc-i440fx-10.0")

    @skipUnless(NEWEST, "VFIO_USER_QEMU_NEWEST names no QEMU")
    def test_bases_q35(self):
        self.check_bases("pc-q35-10.0")
