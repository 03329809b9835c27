# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest transfers data through devices that a second QEMU exports.

Checksums on both sides compare the data in the guest with the data in the file or
socket on the host.  The environment is described in vfio_user_machine.py.
"""

from collections.abc import Callable
from unittest import TestCase

from vfio_user_export import LONG, MIB, Card, Disk, Exported
from vfio_user_machine import Guest, Scene
from vfio_user_models import CARDS, DISKS, NVME

# In the kernel's log: something was late, was repeated or failed.
COMPLAINTS = "timeout|timed out|polled|reset adapter|I/O error|DMAR:.*fault"
# A driver prints this, the time for which it would wait, without an error.
HARMLESS = "FW provided TM TaskAbort/Reset timeout"

PLUGS = 20
PAGE = 4096


class Exports(TestCase):
    def start(self, scene: Scene, *devices: Exported, **options) -> Guest:
        models = [device.model for device in devices] or [NVME]
        modules = [name for model in models for name in model.modules]
        guest = scene.guest(*(device.option for device in devices),
                            modules=sorted(set(modules)), **options)
        for device in devices:
            device.guest = guest
        guest.boot()
        return guest

    def end(self, guest: Guest, *devices: Exported) -> None:
        """End the guest; check that there were no errors and that the servers
        exit with their client."""
        self.assertEqual(
            guest.sh(f"dmesg | grep -v '{HARMLESS}' | "
                     f"grep -iE '{COMPLAINTS}' || true"), "")
        lines = list(guest.log.lines)
        for device in devices:
            for warning in device.model.warnings:
                said = [line for line in lines if warning in line
                        and str(device.server.path) in line]
                self.assertEqual(len(said), 1, lines)
                lines.remove(said[0])
        self.assertEqual(lines, [])
        self.assertEqual(guest.quit(), 0)
        for device in devices:
            self.assertEqual(device.server.wait(), 0)
            self.assertEqual(device.server.complaints, [])

    def counts(self, guest: Guest, *devices: Exported):
        return [peer.count() for peer
                in (guest, *(device.server for device in devices))]

    def check_disks(self, *disks: Disk, jobs: int = 4) -> None:
        """Check that the copied data are the same everywhere."""
        for disk in disks:
            disk.begin(jobs)
        for disk in disks:
            for sums in disk.finish():
                self.assertEqual(sums, sums[:1] * 4)

    def check_echo(self, card: Card) -> None:
        """Check that the guest received what was sent, and sent it back."""
        sums = card.finish()
        self.assertEqual(sums, sums[:1] * 3)

    def bind(self, *devices: Exported) -> None:
        for device in devices:
            self.assertEqual(device.bind(), device.model.driver)

    def check_interrupts(self, *devices: Exported) -> None:
        """Check that each device raised interrupts; some do not use every
        vector."""
        for device in devices:
            self.assertGreater(max(device.interrupts().values()), 0,
                               device.ident)

    def test_disks(self):
        """Every model of a disk, one at a time and all at once."""
        with Scene() as scene:
            disks = [Disk(scene, name, f"00:{slot:02x}.0", model, 8 * MIB)
                     for slot, (name, model) in enumerate(DISKS.items(), 4)]
            guest = self.start(scene, *disks, args=["-smp", "2"])
            for disk in disks:
                with self.subTest(model=disk.ident):
                    self.bind(disk)
                    disk.appear()
                    self.check_disks(disk, jobs=1)
            before = self.counts(guest, *disks)
            self.check_disks(*disks, jobs=2)
            self.check_interrupts(*disks)
            self.assertEqual(self.counts(guest, *disks), before)
            self.end(guest, *disks)

    def test_cards(self):
        """Every model of a network card, one at a time and all at once."""
        with Scene() as scene:
            cards = [Card(scene, name, f"00:{slot:02x}.0", model, 2 * MIB)
                     for slot, (name, model) in enumerate(CARDS.items(), 4)]
            guest = self.start(scene, *cards, args=["-smp", "2"])
            for card in cards:
                with self.subTest(model=card.ident):
                    self.bind(card)
                    card.up()
                    card.begin()
                    self.check_echo(card)
            before = self.counts(guest, *cards)
            for card in cards:
                card.begin()
            for card in cards:
                self.check_echo(card)
            self.check_interrupts(*cards)
            self.assertEqual(self.counts(guest, *cards), before)
            for card in cards:
                card.down()
            self.end(guest, *cards)

    def test_nvme_and_e1000e(self):
        """Each alone and both at once with two vCPUs, and after a reset."""
        with Scene() as scene:
            disk = Disk(scene, "disk", "00:04.0")
            card = Card(scene, "card", "00:05.0")
            guest = self.start(scene, disk, card, args=["-smp", "2"])
            self.bind(disk, card)
            disk.appear()
            card.up()
            before = self.counts(guest, disk, card)
            card.begin()
            self.check_echo(card)
            card.begin()
            self.check_disks(disk)
            self.check_echo(card)
            self.assertEqual(self.counts(guest, disk, card), before)
            for device in (disk, card):
                self.assertGreater(min(device.interrupts().values()), 0)

            guest.qmp("set-action", reboot="reset")
            guest.qmp("system_reset")
            guest.boot()
            self.bind(disk, card)
            disk.appear()
            card.up()
            self.assertEqual(self.counts(guest, disk, card), before)
            self.check_disks(disk)
            self.end(guest, disk, card)

    def check_reset(self, reset: Callable[[Disk], None]) -> None:
        """The guest resets an NVMe device that is idle or in use."""
        with Scene() as scene:
            disk = Disk(scene, "disk", "00:04.0")
            guest = self.start(scene, disk, args=["-smp", "2"])
            self.bind(disk)
            disk.appear()
            before = self.counts(guest, disk)
            self.check_disks(disk)
            for _ in range(3):
                reset(disk)
                disk.appear()
                self.check_disks(disk)
            disk.begin(4)
            reset(disk)
            for sums in disk.finish():
                self.assertEqual(sums, sums[:1] * 4)
            self.assertEqual(self.counts(guest, disk), before)
            self.end(guest, disk)

    def test_function_level_reset(self):
        """The server resets its registers.  The driver restores those that have
        changed, and the BARs keep their addresses.
        """
        self.check_reset(Disk.reset)

    def test_controller_reset(self):
        """Only the registers in the BARs are reset, and the driver sets up its
        vectors again."""
        self.check_reset(Disk.reset_controller)

    def test_two_nvme(self):
        """Two devices of the same model with separate servers."""
        with Scene() as scene:
            disks = [Disk(scene, "first", "00:04.0"),
                     Disk(scene, "second", "00:05.0")]
            guest = self.start(scene, *disks, args=["-smp", "2"],
                               memory="512M")
            self.bind(*disks)
            for disk in disks:
                disk.appear()
            before = self.counts(guest, *disks)
            self.check_disks(*disks, jobs=2)
            self.assertEqual(self.counts(guest, *disks), before)
            self.end(guest, *disks)

    def test_iommu(self):
        """The server has exactly the maps that the guest currently has.

        The server of QEMU 10.0 accepts 16 maps at a time, each of one page here.
        So the guest uses at most four requests of two pages at a time, in addition
        to two pairs of queues and the pages for their shadow doorbells.
        """
        with Scene() as scene:
            disk = Disk(scene, "disk", "00:04.0")
            guest = self.start(
                scene, disk, machine="q35",
                args=["-device", "intel-iommu,caching-mode=on"],
                append="intel_iommu=on iommu.strict=1 "
                       "intremap=off no_timer_check")
            guest.sh("modprobe nvme io_queue_depth=5")
            disk.appear()
            guest.sh("echo 8 >/sys/block/nvme0n1/queue/max_sectors_kb")
            before = self.counts(guest, disk)
            self.check_disks(disk)
            self.assertEqual(self.counts(guest, disk), before)

            maps, total = disk.server.maps()
            self.assertEqual(set(maps.values()), {PAGE})
            self.assertGreater(total, 3 * Disk.HALF // PAGE)
            guest.sh("modprobe -r nvme")
            self.assertEqual(disk.server.maps()[0], {})
            self.end(guest, disk)

    def test_private_memory(self):
        """Guest memory is not shared, but QEMU's server cannot do DMA by message.

        It ignores maps without a descriptor, so it finds no memory for the queues.
        Registers work, but the driver's first command never completes, and the
        driver gives up.
        """
        with Scene() as scene:
            disk = Disk(scene, "disk", "00:04.0")
            guest = self.start(scene, disk, shared=False)
            before = self.counts(guest, disk)
            guest.sh("modprobe nvme_core admin_timeout=1; modprobe nvme", LONG)
            guest.sh("until dmesg | grep -q 'nvme0: Removing after probe"
                     " failure'; do usleep 10000; done", LONG)
            self.assertIn("nvme0: Identify Controller failed",
                          guest.sh("dmesg | grep nvme0"))
            self.assertEqual(disk.server.maps(), ({}, 0))
            self.assertEqual(disk.counter("requests"), 0)
            self.assertEqual(self.counts(guest, disk), before)
            self.assertNotIn("connection lost", "\n".join(guest.log.lines))
            self.assertEqual(guest.quit(), 0)
            self.assertEqual(disk.server.wait(), 0)

    def check_plugs(self, bus: str, where: str, **options) -> None:
        with Scene() as scene:
            guest = self.start(scene, **options)
            guest.sh("modprobe nvme")
            before = guest.count()
            for number in range(PLUGS):
                disk = Disk(scene, f"disk{number}", where)
                disk.guest = guest
                disk.plug(bus)
                disk.appear()
                disk.begin_until_failure()
                disk.unplug()
                disk.finish_failed()
                self.assertEqual(disk.server.wait(), 0)
                self.assertEqual(disk.server.complaints, [])
                self.assertEqual(guest.count(), before)
            self.end(guest)

    def test_plug_pc(self):
        """Plug and unplug repeatedly, each time during reads and writes."""
        self.check_plugs("pci.0", "00:04.0")

    def test_plug_q35(self):
        """The same in a PCI Express slot."""
        self.check_plugs("root", "01:00.0", machine="q35", args=[
            "-device", "pcie-root-port,id=root,chassis=1,slot=1,addr=4"])
