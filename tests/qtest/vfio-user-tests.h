/*
 * Tests of the vfio-user client
 *
 * One function per file of tests; vfio-user-test.c calls them all.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_TESTS_H
#define TESTS_QTEST_VFIO_USER_TESTS_H

/* Each adds its tests under /vfio-user/. */
void vfio_user_add_boot_tests(void);
void vfio_user_add_budget_tests(void);
void vfio_user_add_socket_tests(void);
void vfio_user_add_dma_tests(void);
void vfio_user_add_iommu_tests(void);
void vfio_user_add_map_tests(void);
void vfio_user_add_memory_tests(void);
void vfio_user_add_death_tests(void);
void vfio_user_add_reconnect_aer_tests(void);
void vfio_user_add_reconnect_compare_tests(void);
void vfio_user_add_reconnect_fault_tests(void);
void vfio_user_add_reconnect_gap_tests(void);
void vfio_user_add_reconnect_migration_tests(void);
void vfio_user_add_reconnect_order_tests(void);
void vfio_user_add_reconnect_vcpu_tests(void);
void vfio_user_add_reconnect_tests(void);
void vfio_user_add_switch_migration_tests(void);
void vfio_user_add_switch_tests(void);
void vfio_user_add_dirty_size_tests(void);
void vfio_user_add_dirty_tests(void);
void vfio_user_add_dirty_iommu_tests(void);
void vfio_user_add_dirty_fault_tests(void);
void vfio_user_add_layout_tests(void);
void vfio_user_add_library_tests(void);
void vfio_user_add_migration_record_tests(void);
void vfio_user_add_migration_window_tests(void);
void vfio_user_add_migration1_fault_tests(void);
void vfio_user_add_migration1_tests(void);
void vfio_user_add_engine_tests(void);
void vfio_user_add_fault_tests(void);
void vfio_user_add_region_tests(void);
void vfio_user_add_restore_tests(void);
void vfio_user_add_mapping_tests(void);
void vfio_user_add_order_tests(void);
void vfio_user_add_rom_tests(void);
void vfio_user_add_migration_both_tests(void);
void vfio_user_add_migration_eject_tests(void);
void vfio_user_add_migration_fault_tests(void);
void vfio_user_add_migration_fuzz_tests(void);
void vfio_user_add_migration_late_tests(void);
void vfio_user_add_migration_lock_tests(void);
void vfio_user_add_migration_matrix_tests(void);
void vfio_user_add_migration_mode_tests(void);
void vfio_user_add_migration_offer_tests(void);
void vfio_user_add_migration_devices_tests(void);
void vfio_user_add_migration_pace_tests(void);
void vfio_user_add_migration_irq_tests(void);
void vfio_user_add_migration_reset_tests(void);
void vfio_user_add_migration_stream_tests(void);
void vfio_user_add_migration_tests(void);
void vfio_user_add_master_tests(void);
void vfio_user_add_personality_tests(void);
void vfio_user_add_report_tests(void);
void vfio_user_add_twin_tests(void);
void vfio_user_add_ioeventfd_tests(void);
void vfio_user_add_interrupt_tests(void);
void vfio_user_add_interrupt_fault_tests(void);
void vfio_user_add_vcpu_tests(void);
void vfio_user_add_kvm_tests(void);
void vfio_user_add_life_tests(void);
void vfio_user_add_lock_tests(void);
void vfio_user_add_loss_tests(void);
void vfio_user_add_query_tests(void);

#endif /* TESTS_QTEST_VFIO_USER_TESTS_H */
