# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest migrates with the disk that it works on.

The work in the guest judges each word that it reads; here its sums are compared
with what they must be, and what the guest got with what the servers gave.
"""

from unittest import TestCase, skipUnless

from vfio_user_disk import (CHUNK, DISK, STORAGE, WORDS, DiskServer, Sides,
                            Told)
from vfio_user_machine import NEWEST, QEMU, Scene
from vfio_user_state import StateSides

# A file of every guest, copied to the disk behind its first chunk.
COPIED = 16
COPY = (f"dd if=/bin/busybox of={DISK} bs={CHUNK} seek=1 count={COPIED} "
        "conv=fsync 2>/dev/null")
ORIGINAL_SUM = (f"dd if=/bin/busybox bs={CHUNK} count={COPIED} 2>/dev/null |"
                " sha256sum")
COPY_SUM = (f"dd if={DISK} bs={CHUNK} skip=1 count={COPIED} 2>/dev/null |"
            " sha256sum")
DROP = "echo 3 >/proc/sys/vm/drop_caches"
MASK = (1 << 64) - 1


class Migration(TestCase):
    def start(self, sides: Sides) -> None:
        """Have the disk appear, with a copy that the guest remembers."""
        guest = sides.guest
        guest.sh("modprobe virtio_pci; modprobe virtio_blk")
        guest.sh(f"until [ -b {DISK} ]; do usleep 10000; done")
        guest.sh(COPY)
        self.copy = guest.sh(ORIGINAL_SUM)
        self.check_copy(sides)

    def check_copy(self, sides: Sides) -> None:
        """In the guest's memory, and on the disk; it is in both then."""
        self.assertEqual(sides.guest.sh(COPY_SUM), self.copy)
        sides.guest.sh(DROP)
        self.assertEqual(sides.guest.sh(COPY_SUM), self.copy)

    def check_numbers(self, sides: Sides) -> int:
        """Every number came once, and in order; return the one to come."""
        first, end, total = sides.finish("numbers")
        self.assertEqual(total, (first + end - 1) * (end - first) // 2 & MASK)
        return end

    def check_storage(self, sides: Sides) -> None:
        """The disk has what was written in the last round."""
        rounds, total = sides.finish("storage")
        words = sum((rounds - 1 << 32) + (chunk << 16) for chunk in STORAGE)
        rest = len(STORAGE) * sum(range(WORDS))
        self.assertEqual(total, (WORDS * words + rest) & MASK)

    def check_way(self, servers: list[DiskServer], end: int) -> None:
        """Each server gave out numbers while the migration went on, and the
        next one went on where it stopped."""
        goes_on = 0
        for number, server in enumerate(servers):
            told = server.told()
            if number:
                self.assertEqual(told[:2], [Told("resuming", 0),
                                            Told("running", goes_on)])
            if server is not servers[-1]:
                begin, stop = (next(t.numbers for t in told if t.state == s)
                               for s in ("pre-copy", "stop-and-copy"))
                self.assertGreater(stop, begin + WORDS)
            self.assertGreater(told[-1].numbers, goes_on)
            goes_on = told[-1].numbers
        self.assertEqual(goes_on, end)

    def end(self, sides: Sides) -> None:
        """Nobody had anything to complain of."""
        self.assertEqual(sides.guest.sh(
            "dmesg | grep -E 'I/O error|BUG:|Oops|lockup' || true"), "")
        self.assertEqual(sides.guest.log.lines, [])
        self.assertEqual(sides.end(sides.here), 0)

    def migrate(self, stopping: str, *works: str) -> None:
        """Away, and back to where the guest was before."""
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
            self.check_way([*servers, sides.here.server], end)

    def test_there_and_back(self):
        """Requests that are under way are done by the one who goes on."""
        self.migrate("leaves", "numbers", "storage", "memory")

    def test_finished_requests(self):
        """The last interrupt of the source is served at the destination."""
        self.migrate("finishes", "numbers")

    def test_file(self):
        """All processes end; what comes out of the file is what went in."""
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
            self.check_way([left.server, sides.here.server], end)

    def check_bases(self, machine: str) -> None:
        """To the newest QEMU and back, with a device of migration v1, which
        is the disk, and one of v2.  QEMU itself migrates both ways."""
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
            self.check_way([*servers, sides.here.server], end)

    @skipUnless(NEWEST, "VFIO_USER_QEMU_NEWEST names no QEMU")
    def test_bases_pc(self):
        self.check_bases("pc-i440fx-10.0")

    @skipUnless(NEWEST, "VFIO_USER_QEMU_NEWEST names no QEMU")
    def test_bases_q35(self):
        self.check_bases("pc-q35-10.0")
