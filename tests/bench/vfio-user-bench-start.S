/*
 * Startup code of the bare guest of the register benchmark
 *
 * The image has 64 KiB and replaces the BIOS at the top of the first 4 GiB.
 * The processor starts in real mode, 16 bytes below the end of the image. It
 * switches to flat 32-bit protected mode and calls main, which is in ROM;
 * stack and variables are in RAM. There are no interrupts and there is no
 * firmware.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

        .section .start, "ax"
        .code16
        .globl  start
start:
        cli
        cld
        lgdtl   %cs:(gdtr - start)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $flat

        /*
         * Bit 0 of the access bytes, "accessed", is already set. Otherwise the
         * processor would write it to this table in ROM, and under KVM this
         * write would never complete.
         */
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      /* code, 4 GiB */
        .quad   0x00cf93000000ffff      /* data, 4 GiB */
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        .code32
flat:
        movl    $16, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $stack_top, %esp
        movl    $bss_begin, %edi
        movl    $bss_end, %ecx
        subl    %edi, %ecx
        xorl    %eax, %eax
        rep stosb
        call    main
1:      hlt
        jmp     1b

        .section .reset, "ax"
        .code16
        jmp     start

        .section .note.GNU-stack, "", @progbits
