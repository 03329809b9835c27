/*
 * An option ROM that firmware accepts and calls
 *
 * It writes a mark to RAM.  The test adds the last byte, the checksum, which
 * makes the sum of all bytes 0.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "vfio-user-option-rom.h"

        .section .start, "ax"
        .code16
        .globl  start
start:
        .byte   0x55, 0xaa              /* signature */
        .byte   VFIO_USER_OPTION_ROM_SIZE / 512

        /* initialization, in real mode */
        pushw   %ds
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $VFIO_USER_OPTION_ROM_MARK, VFIO_USER_OPTION_ROM_MARK_AT
        popw    %ds
        lretw

        .org    0x18
        .word   data - start

        /* PCI Firmware Specification, 5.1.2: PCI data structure */
        .balign 4
data:   .ascii  "PCIR"
        .word   VFIO_USER_OPTION_ROM_VENDOR
        .word   VFIO_USER_OPTION_ROM_DEVICE
        .word   0                       /* no vital product data */
        .word   end - data
        .byte   0                       /* revision of this structure */
        .byte   0, 0, 0xff              /* class: none of the known ones */
        .word   1                       /* size in units of 512 bytes */
        .word   0                       /* revision of the code */
        .byte   0                       /* for PC-AT compatible machines */
        .byte   0x80                    /* the last image */
        .word   0
end:
        .org    VFIO_USER_OPTION_ROM_SIZE

        .section .note.GNU-stack, "", @progbits
