/*
 * Startup code of the bare guest's processors
 *
 * The first processor starts at the reset vector, 16 bytes below 4 GiB; it
 * starts the others at F000:0000, which is the same code.  Each processor
 * switches from real mode to flat 32-bit protected mode and calls main with
 * the ID of its local APIC, on its own stack.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define APIC_ID 0xfee00020      /* its upper 8 bits */
#define STACKS 0x10000
#define STACK_BITS 12           /* log2 of the size of a stack */

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
         * The "accessed" bits are already set.  Otherwise the processor would
         * write them to this table in ROM, which KVM does not complete.
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
         * Interrupts.  On some machines KVM must emulate instructions, and it
         * cannot emulate iret in protected mode.  The far return does not
         * restore the flags, so interrupts must be enabled again before each
         * halt.
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

        /* Returns a constant; guests copy this code and change the constant. */
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
