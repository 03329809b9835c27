/*
 * A guest with one fence, for test_vfio_user_order.py
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

        .section .start, "ax"
        .code16
        .globl  start
start:
        mfence
        hlt

        .section .reset, "ax"
        .code16
        jmp     start

        .section .note.GNU-stack, "", @progbits
