/*
 * How a processor of the bare guest starts
 *
 * The first one begins at the reset vector, 16 bytes below 4 GiB, the others at
 * F000:0000 when the first has sent them there: the same code, in real mode.
 * Each goes to flat 32-bit protected mode and calls main with the number of its
 * local APIC, on a stack of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define APIC_ID 0xfee00020      /* its upper 8 bits */
#define STACKS 0x10000
#define STACK_BITS 12           /* of the size of one */

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
         * The access bytes say "accessed" already: the processor would write
         * that to a table in ROM, a write that KVM does not complete.
         */
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      /* 8: code, 4 GiB */
        .quad   0x00cf93000000ffff      /* 16: data, 4 GiB */
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        .code32
flat:
        movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    APIC_ID, %eax
        shrl    $24, %eax
        leal    1(%eax), %esp
        shll    $STACK_BITS, %esp
        addl    $STACKS, %esp
        pushl   %eax
        call    main
1:      hlt
        jmp     1b

        /*
         * Interrupts.  KVM cannot emulate an iret in protected mode, which it
         * has to on some machines.  A far return drops the flags, so who halts
         * has to enable interrupts each time.
         */
        .globl  msi_entry
msi_entry:
        pushal
        call    take_msi
        popal
        lretl   $4

        .globl  intx_entry
intx_entry:
        pushal
        call    take_intx
        popal
        lretl   $4

        /* Returns a constant that guests change where they have copied this. */
        .globl  constant, constant_value, constant_end
constant:
        movl    $0, %eax
        .set    constant_value, . - 4
        ret
constant_end:

        .section .reset, "ax"
        .code16
        jmp     start

        .section .note.GNU-stack, "", @progbits
