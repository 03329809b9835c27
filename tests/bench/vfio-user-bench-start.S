/*
 * How the bare guest of the register benchmark starts
 *
 * The image is 64 KiB in place of the BIOS, at the top of the first 4 GiB. The
 * processor begins 16 bytes below their end in real mode, goes to flat 32-bit
 * protected mode here, and from there to main, in ROM, with its stack and
 * variables in RAM. No interrupt is ever taken and no firmware is there.
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
         * Bit 0 of the access byte says "accessed" already: the processor
         * would write it to a table that is in ROM, which under KVM is a write
         * that nobody completes.
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
