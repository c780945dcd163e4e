//! The end-to-end tests: one program, a module for each thing that a user does or relies on.
//!
//! `cargo test -p e2e --test e2e steps_aside` runs one module. Each test has its own servers, ports and directories. The
//! scenarios of `runs_on_a_node` share one node and run best with `--test-threads=8`.

mod answers_after_three_commands;
mod answers_the_cookbook;
mod asks_who_may_push;
mod audits_pods;
mod checks_a_cluster;
mod checks_from_the_sidecar;
mod creates_pods_while_the_webhook_fails;
mod dashboards_and_alerts;
mod documentation;
mod image_holds_both_programs;
mod injects_redis_enterprise_pods;
mod keeps_its_certificate;
mod leaves_nothing_behind;
mod manages_permissions;
mod manifests_fit_together;
mod names_faults;
mod proves_what_was_shipped;
mod pushing;
mod reloads_certificates;
mod renders_and_applies_manifests;
mod restarts_pods_for_their_sidecar;
mod rolls_out_without_a_gap;
mod runs_as_any_user;
mod runs_on_a_node;
mod runs_with_the_permissions_of_the_manifests;
mod ships_a_support_package;
mod ships_what_was_written;
mod steps_aside;
mod survives_kills;
mod understands_loki;
mod understands_the_gateway;
