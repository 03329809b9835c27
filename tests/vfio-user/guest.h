/*
 * What the bare guest's assembly and C code share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VFIO_USER_GUEST_H
#define TESTS_VFIO_USER_GUEST_H

/* A function up to its end; returns the number at constant_value */
extern const unsigned char constant[], constant_value[], constant_end[];

/* Interrupts: entry points for gates, and the functions that these call */
void msi_entry(void);
void intx_entry(void);
void take_msi(void);
void take_intx(void);

#endif /* TESTS_VFIO_USER_GUEST_H */
