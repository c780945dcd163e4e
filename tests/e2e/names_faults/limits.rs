//! Faults of limits on a real Loki, and of files that cannot be read.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::loki::{Loki, Setup};
use harness::programs::program;
use harness::receiver::Receiver;
use harness::servers::loki;

use super::Made;
use super::sidecar::Sidecar;

async fn loki_with(binary: &std::path::Path, limits: &'static str) -> Loki {
    Loki::start_with(binary, Setup { limits, ..Setup::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_each_of_its_three_limits_is_named() {
    let Some(binary) = loki() else { return };
    for (fault, code, limits) in [
        ("too many streams", "RLS401", "max_global_streams_per_user: 1"),
        ("rate of one stream", "RLS402", "per_stream_rate_limit: 1KB\n  per_stream_rate_limit_burst: 1KB"),
        ("rate of the tenant", "RLS403", "ingestion_rate_mb: 0.001\n  ingestion_burst_size_mb: 0.001"),
    ] {
        let loki = loki_with(&binary, limits).await;
        let sidecar = Sidecar::new(&loki.push_url());
        for name in ["dmcproxy.log", "supervisord.log", "cnm_http.log"] {
            sidecar.log(name, 1000);
        }
        sidecar.names(fault, code).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_lines_that_are_too_old_are_named() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start(&binary).await.unwrap();
    let mut sidecar = Sidecar::new(&loki.push_url());
    // Without the flag the shipper skips them itself, and says so.
    sidecar.flags.push("--max-age=100000h".to_owned());
    sidecar.write("logs/dmcproxy.log", "2020-02-20 22:32:39,415 INFO MainThread: an old line\n");
    let command = sidecar.command(&program("redis-log-shipper").unwrap());
    let made = Made::now("lines too old");
    let running = sidecar.start_command(command);
    running.logs(&made, "RLS404").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_files_that_the_user_may_not_read_are_named() {
    if !is_root() {
        harness::say("SKIPPED names_faults: only root may become another user");
        return;
    }
    let receiver = Receiver::start().await.unwrap();
    let sidecar = Sidecar::new(&format!("{}/loki/api/v1/push", receiver.url()));
    sidecar.log("dmcproxy.log", 10);
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&sidecar.path("logs/dmcproxy.log"), 0o600);
    open(sidecar.dir.path(), 0o777);
    // The directory with the built programs may be closed to others.
    let shipper = sidecar.path("redis-log-shipper");
    std::fs::copy(program("redis-log-shipper").unwrap(), &shipper).unwrap();
    open(&shipper, 0o755);
    let run = sidecar.command(&shipper);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1001", "--regid=1001", "--clear-groups"]).arg(run.get_program()).args(run.get_args());
    let made = Made::now("log files not readable");
    let running = sidecar.start_command(command);
    running.names(&made, "RLS501").await;
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
