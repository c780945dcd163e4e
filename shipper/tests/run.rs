//! The program itself, as a container runs it: what it survives, how it ends, and what it says.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};
use redis_log_shipper::decode::decode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

/// What takes longer will never come.
const PATIENCE: Duration = Duration::from_mins(1);

/// A Loki that stores whatever it is sent, on a port of its own.
struct Loki {
    url: String,
    lines: watch::Receiver<Vec<String>>,
}

impl Loki {
    async fn start() -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let routes = Router::new().route("/loki/api/v1/push", post(push)).with_state(Arc::new(sender));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, lines }
    }

    /// Waits until so many lines were pushed.
    async fn has(&mut self, count: usize) -> Vec<String> {
        let lines = tokio::time::timeout(PATIENCE, self.lines.wait_for(|lines| lines.len() >= count)).await;
        lines.unwrap().unwrap().clone()
    }
}

async fn push(State(lines): State<Arc<watch::Sender<Vec<String>>>>, body: Bytes) -> StatusCode {
    let pushed = decode(&body).unwrap().into_iter().flat_map(|stream| stream.entries).map(|(_, line)| line);
    lines.send_modify(|lines| lines.extend(pushed));
    StatusCode::NO_CONTENT
}

/// Where the files are.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.logs()).unwrap();
        place
    }

    fn logs(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn write(&self, from: usize, to: usize) {
        let mut text = String::new();
        for number in from..to {
            writeln!(text, "line {number}").unwrap();
        }
        append(&self.logs().join("a.log"), &text);
    }

    /// `run` with what every shipper here has in common.
    fn command(&self, url: &str) -> Command {
        let mut command = shipper();
        command.arg("run").arg(format!("--loki-url={url}")).arg("--batch-wait=10ms");
        command.args(["--log-dir".as_ref(), self.logs().as_os_str(), "--state-dir".as_ref(), self.state().as_os_str()]);
        command
    }
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("line {number}")).collect()
}

fn shipper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-log-shipper"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// A shipper that runs, and its log.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, said: String::new() }
    }

    /// The line of its log that holds `text`, once there is one.
    async fn says(&mut self, text: &str) -> String {
        if let Some(line) = self.said.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        let read = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(text) {
                    return line;
                }
            }
            panic!("it ended and never said {text:?}:\n{}", self.said);
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("it never says {text:?}"))
    }

    /// Where its admin port is.
    async fn admin(&mut self) -> SocketAddr {
        let line: Value = serde_json::from_str(&self.says("the admin port is open").await).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn ends(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    async fn ends_when_told_to(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.ends().await.code(), Some(0), "{}", self.said);
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = runtime::tls::http_client(rustls::RootCertStore::empty());
    let request = hyper::Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn output(command: &mut Command) -> Output {
    tokio::time::timeout(PATIENCE, command.stdout(Stdio::piped()).stderr(Stdio::piped()).output())
        .await
        .unwrap()
        .unwrap()
}

mod with_settings_it_cannot_use {
    use super::*;

    #[tokio::test]
    async fn stays_up_not_ready_and_says_what_is_wrong() {
        let place = Place::new();
        let mut command = place.command("loki:3100");
        command.env("REDIS_LOG_SHIPPER_MAX_AGE", "old").args(["--once=perhaps", "--listen=127.0.0.1:0"]);
        let mut running = Running::start(&mut command);
        let said = running.says("the settings cannot be used").await;
        let admin = running.admin().await;
        let (status, body) = get(admin, "/status").await;
        let faults = serde_json::from_str::<Value>(&body).unwrap()["faults"].clone();
        assert_eq!((status, faults.as_array().unwrap().len()), (200, 3), "{body}");
        for flag in ["--loki-url", "--max-age", "--once"] {
            assert!(said.contains(flag) && body.contains(flag), "{flag} missing in {said} or {body}");
        }
        assert_eq!((get(admin, "/live").await.0, get(admin, "/ready").await.0), (200, 503));
        assert!(get(admin, "/metrics").await.1.contains("redis_log_shipper_unusable_settings 3"));
        running.ends_when_told_to().await;
    }

    #[tokio::test]
    async fn stays_up_where_the_admin_address_is_what_is_wrong() {
        let place = Place::new();
        let mut command = place.command("http://127.0.0.1:9/push");
        let mut running = Running::start(command.env("REDIS_LOG_SHIPPER_LISTEN", "x"));
        assert!(running.says("the settings cannot be used").await.contains("--listen"));
        running.ends_when_told_to().await;
    }

    #[tokio::test]
    async fn fails_at_once_where_somebody_waits_for_the_end() {
        let place = Place::new();
        let output = output(place.command("loki:3100").args(["--once", "--max-age=old"])).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--loki-url") && said.contains("--max-age"), "{said}");
    }

    #[tokio::test]
    async fn takes_an_unknown_flag_for_a_mistake_in_typing() {
        let place = Place::new();
        let output = output(place.command("http://127.0.0.1:9/push").arg("--max-ages=1h")).await;
        assert_eq!(output.status.code(), Some(2));
    }
}

mod without_what_it_needs {
    use super::*;

    #[tokio::test]
    async fn follows_as_many_files_as_there_are_descriptors_for_and_says_so() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        for number in 0..40 {
            append(&place.logs().join(format!("{number}.log")), &format!("line {number}\n"));
        }
        let command = place.command(&loki.url);
        let mut limited = Command::new("bash");
        limited.args(["-c", "ulimit -n 84; exec \"$0\" \"$@\""]).arg(command.as_std().get_program());
        limited.args(command.as_std().get_args()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut running = Running::start(&mut limited);
        running.says("too many log files").await;
        loki.has(10).await;
        running.ends_when_told_to().await;
    }

    #[tokio::test]
    async fn waits_for_the_log_directory_and_ships_once_it_is_there() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        std::fs::remove_dir(place.logs()).unwrap();
        let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
        let said = running.says("nothing is shipped yet").await;
        assert!(said.contains("log directory"), "{said}");
        let admin = running.admin().await;
        assert_eq!(get(admin, "/ready").await.0, 503);
        let (_, status) = get(admin, "/status").await;
        assert!(status.contains("failed to read the log directory"), "{status}");

        std::fs::create_dir(place.logs()).unwrap();
        place.write(0, 3);
        assert_eq!(loki.has(3).await, numbered(0, 3));
        assert_eq!(get(admin, "/ready").await.0, 200);
        assert!(!get(admin, "/status").await.1.contains("waits_for"));
        running.ends_when_told_to().await;
    }

    #[tokio::test]
    async fn ends_when_told_to_while_it_waits_and_fails_where_somebody_waits_for_the_end() {
        let place = Place::new();
        std::fs::remove_dir(place.logs()).unwrap();
        let mut running = Running::start(&mut place.command("http://127.0.0.1:9/push"));
        running.says("nothing is shipped yet").await;
        running.ends_when_told_to().await;
        let output = output(place.command("http://127.0.0.1:9/push").arg("--once")).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("failed to read the log directory"));
    }

    #[tokio::test]
    async fn ships_without_an_admin_port_that_is_taken() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = format!("--listen={}", taken.local_addr().unwrap());
        place.write(0, 3);
        let mut running = Running::start(place.command(&loki.url).arg(listen));
        running.says("no admin port").await;
        loki.has(3).await;
        running.ends_when_told_to().await;
    }

    #[tokio::test]
    async fn ships_without_a_state_directory_it_can_write_to() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        // Not even root can make a directory below a file.
        append(&place.state(), "a file");
        place.write(0, 3);
        let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
        running.says("positions could not be saved").await;
        let admin = running.admin().await;
        loki.has(3).await;
        let (_, metrics) = get(admin, "/metrics").await;
        let errors = metrics.lines().find_map(|line| line.strip_prefix("redis_log_shipper_position_errors_total "));
        assert!(errors.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
        running.ends_when_told_to().await;
    }
}

mod with_a_state_directory {
    use super::*;

    #[tokio::test]
    async fn lets_one_shipper_have_it_at_a_time() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        let mut first = Running::start(&mut place.command(&loki.url));
        place.write(0, 3);
        loki.has(3).await;

        let mut second = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
        let said = second.says("nothing is shipped yet").await;
        assert!(said.contains("in use by another shipper"), "{said}");
        let admin = second.admin().await;
        assert_eq!(get(admin, "/ready").await.0, 503);
        let reset = output(shipper().arg("positions").arg("--state-dir").arg(place.state()).arg("--reset=a.log")).await;
        assert_eq!(reset.status.code(), Some(1));

        first.ends_when_told_to().await;
        place.write(3, 6);
        assert_eq!(loki.has(6).await, numbered(0, 6));
        second.ends_when_told_to().await;
        assert_eq!(loki.has(6).await, numbered(0, 6));
    }

    #[tokio::test]
    async fn shows_the_positions_and_forgets_the_one_it_is_told_to() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        place.write(0, 3);
        let mut once = place.command(&loki.url);
        once.arg("--once");
        assert_eq!(output(&mut once).await.status.code(), Some(0));
        assert_eq!(output(&mut once).await.status.code(), Some(0));
        assert_eq!(loki.has(3).await, numbered(0, 3));

        let mut positions = shipper();
        positions.args(["positions".as_ref(), "--state-dir".as_ref(), place.state().as_os_str()]);
        let shown = output(&mut positions).await;
        assert_eq!(shown.status.code(), Some(0));
        let table = String::from_utf8(shown.stdout).unwrap();
        assert!(table.lines().any(|line| line.starts_with("a.log        21")), "{table}");

        let unknown = output(positions.arg("--reset=b.log")).await;
        assert_eq!(unknown.status.code(), Some(1));
        assert!(String::from_utf8(unknown.stderr).unwrap().contains("a.log"));
        let mut reset = shipper();
        reset.args(["positions".as_ref(), "--state-dir".as_ref(), place.state().as_os_str(), "--reset=a.log".as_ref()]);
        assert_eq!(output(&mut reset).await.status.code(), Some(0));
        assert_eq!(output(&mut once).await.status.code(), Some(0));
        assert_eq!(loki.has(6).await.len(), 6);
    }
}

mod told_to_end_during_an_outage {
    use super::*;

    /// A shipper with unread lines and a Loki that takes connections and never answers.
    async fn stuck(place: &Place, drain: &str) -> (Running, tokio::net::TcpListener) {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        place.write(0, 3);
        let url = format!("http://{}/loki/api/v1/push", silent.local_addr().unwrap());
        let mut running = Running::start(place.command(&url).arg(format!("--drain-timeout={drain}")));
        running.says("shipping").await;
        let _ = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
        (running, silent)
    }

    #[tokio::test]
    async fn is_gone_after_the_drain_timeout_and_ships_the_rest_next_time() {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        let (mut running, _silent) = stuck(&place, "100ms").await;
        running.signal("-TERM");
        running.says("the drain timeout is over").await;
        assert_eq!(running.ends().await.code(), Some(0));
        assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
        assert_eq!(loki.has(3).await, numbered(0, 3));
    }

    #[tokio::test]
    async fn is_gone_at_once_when_told_twice() {
        let place = Place::new();
        let (mut running, _silent) = stuck(&place, "1h").await;
        running.signal("-TERM");
        running.says("shutting down").await;
        running.signal("-TERM");
        assert_eq!(running.ends().await.code(), Some(130));
    }
}
