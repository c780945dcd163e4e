//! Both programs run as any user, in a root that the user cannot write to and that has no shell, no passwd file and no
//! temporary directory. The image promises this, and OpenShift's random users need it.
//!
//! One thing differs from the image: these programs use the system's C library, so its files are in the root as well.
//! `PROGRAM_DIR` names a directory with static programs, as in the image.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use certs::{Authority, CERT_FILE, KEY_FILE};
use harness::process::Process;
use harness::programs::program;
use harness::writer::LogFile;
use harness::{free_port, http, say};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// A user of OpenShift, whose group is root's; the user of the database; the user of the image.
const USERS: [(u32, u32); 3] = [(1_000_680_000, 0), (1001, 1001), (65_532, 65_532)];

/// Whether this test may become another user. If not, prints that it is skipped.
fn may_become_others(test: &str) -> bool {
    let may = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !may {
        say(&format!("SKIPPED {test}: only root may become another user"));
    }
    may
}

/// One of our programs, freshly built or from `PROGRAM_DIR`.
fn built(name: &str) -> PathBuf {
    std::env::var_os("PROGRAM_DIR").map_or_else(|| program(name).unwrap(), |dir| PathBuf::from(dir).join(name))
}

/// A root with one program and its libraries. It has no time zones: the default zone needs none.
struct Root {
    dir: TempDir,
    program: String,
}

impl Root {
    fn with(program: &Path) -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap(), program: String::new() };
        let name = program.file_name().unwrap().to_str().unwrap();
        root.folder("/", 0o755);
        std::fs::copy(program, root.path(&format!("/{name}"))).unwrap();
        let linked = Command::new("ldd").arg(program).output().unwrap().stdout;
        let linked = String::from_utf8(linked).unwrap();
        for word in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            root.folder(Path::new(word).parent().unwrap().to_str().unwrap(), 0o755);
            std::fs::copy(word, root.path(word)).unwrap();
        }
        Self { program: format!("/{name}"), ..root }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join("root").join(inside.trim_start_matches('/'))
    }

    /// Creates a directory with this mode.
    fn folder(&self, inside: &str, mode: u32) -> PathBuf {
        let path = self.path(inside);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    /// The program as `user`, with an almost empty environment.
    fn command(&self, (user, group): (u32, u32)) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command
            .args([
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "chroot",
                &format!("--userspec=+{user}:+{group}"),
                "--groups=",
            ])
            .arg(self.path("/"))
            .arg(&self.program);
        command
    }

    /// Every file with its owner.
    fn files(&self) -> BTreeSet<(PathBuf, u32)> {
        fn collect(dir: &Path, files: &mut BTreeSet<(PathBuf, u32)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let (path, metadata) = (entry.as_ref().unwrap().path(), entry.unwrap().metadata().unwrap());
                if metadata.is_dir() {
                    collect(&path, files);
                }
                files.insert((path, metadata.uid()));
            }
        }
        let mut files = BTreeSet::new();
        collect(&self.path("/"), &mut files);
        files
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipper_ships_as_any_user_and_writes_only_its_positions() {
    if !may_become_others("the_shipper_ships_as_any_user") {
        return;
    }
    let pushes = Arc::new(AtomicUsize::new(0));
    let counted = pushes.clone();
    let push = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/loki/api/v1/push", post(push))).await });
    let shipper = built("redis-log-shipper");
    for user in USERS {
        let root = Root::with(&shipper);
        let logs = root.folder("/logs", 0o755);
        for mut file in LogFile::open_all(&logs).unwrap() {
            file.write(10).unwrap();
        }
        root.folder("/state", 0o777);
        let before = root.files();
        let mut command = root.command(user);
        command.args(["run", "--once", "--log-dir=/logs", "--state-dir=/state"]).arg(format!("--loki-url={url}"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{user:?}: {}", String::from_utf8_lossy(&output.stderr));
        let after = root.files();
        assert!(before.is_subset(&after), "{user:?}");
        let new: Vec<_> = after.difference(&before).collect();
        let state = root.path("/state");
        assert!(!new.is_empty(), "{user:?}: no positions");
        assert!(new.iter().all(|(path, owner)| path.starts_with(&state) && *owner == user.0), "{user:?}: {new:?}");
    }
    assert!(pushes.load(Ordering::Relaxed) >= USERS.len() * 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_files_that_the_user_may_not_read_and_the_state_that_it_may_not_write() {
    if !may_become_others("check_names_the_files") {
        return;
    }
    let root = Root::with(&built("redis-log-shipper"));
    let (logs, _) = (root.folder("/logs", 0o755), root.folder("/state", 0o755));
    for (name, mode) in [("dmcproxy.log", 0o640), ("redis-1.log", 0o644)] {
        std::fs::write(logs.join(name), "2026-02-20 22:32:39,415 INFO x: y\n").unwrap();
        std::fs::set_permissions(logs.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(logs.join("dmcproxy.log"), None, Some(4321)).unwrap();
    let mut command = root.command(USERS[2]);
    command.args(["check", "--log-dir=/logs", "--state-dir=/state", "--loki-url=http://127.0.0.1:9/loki/api/v1/push"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "RLS501: user 65532 cannot open 1 of 2 log files (dmcproxy.log): Permission denied",
        "supplementalGroups: [4321]",
        "RLS503: user 65532 cannot write to /state: Permission denied",
    ] {
        assert!(text.contains(part), "{part} missing in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_serves_as_any_user_and_writes_nothing() {
    if !may_become_others("the_webhook_serves_as_any_user") {
        return;
    }
    let ca = Authority::new("test", Duration::from_hours(1)).unwrap();
    let pair = ca.serving(&["localhost"], Duration::from_hours(1)).unwrap();
    let webhook = built("redis-log-webhook");
    for user in USERS {
        let root = Root::with(&webhook);
        let mounted = root.folder("/mounted", 0o755);
        // The kubelet sets these permissions on a Secret's files.
        for (name, text) in
            [(CERT_FILE, &pair.cert), (KEY_FILE, &pair.key), ("config.yaml", &"tenant: audit\n".to_owned())]
        {
            std::fs::write(mounted.join(name), text).unwrap();
            std::fs::set_permissions(mounted.join(name), PermissionsExt::from_mode(0o644)).unwrap();
        }
        let (port, before) = (free_port().unwrap(), root.files());
        let mut command = root.command(user);
        command
            .args(["serve", "--config=/mounted/config.yaml", "--cert-dir=/mounted", "--listen=127.0.0.1:0"])
            .arg(format!("--admin-listen=127.0.0.1:{port}"));
        let log = tempfile::tempdir().unwrap();
        let mut process = Process::start("redis-log-webhook", &command, log.path()).unwrap();
        let (client, ready) = (http::client(None).unwrap(), format!("http://127.0.0.1:{port}/ready"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &ready).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await
            .unwrap();
        assert_eq!(root.files(), before, "{user:?}");
    }
}
