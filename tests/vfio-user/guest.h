/*
 * What the bare guest's assembly and its C know of each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VFIO_USER_GUEST_H
#define TESTS_VFIO_USER_GUEST_H

/* A function, up to the label behind it: returns the number before that */
extern const unsigned char constant[], constant_value[], constant_end[];

/* Interrupts: what a gate leads to, and what that calls */
void msi_entry(void);
void intx_entry(void);
void take_msi(void);
void take_intx(void);

#endif /* TESTS_VFIO_USER_GUEST_H */
