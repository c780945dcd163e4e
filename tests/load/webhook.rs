//! Sends reviews over TLS at a fixed rate and measures their latency and cost.
//!
//! The loop is open: every request has a due time, and its latency counts from then. So a slow phase of the webhook also counts
//! for the requests that waited. One thread drives one connection and sleeps by the kernel's clock, which wakes it about 50 µs
//! late. tokio's timers are up to a millisecond late.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use harness::pod_fixture;
use harness::review::review_of;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::report::{Durations, print};
use crate::subject::Subject;
use crate::usage::Usage;

/// About the length of a real cluster's review of a Redis Enterprise pod.
const REVIEW_BYTES: usize = 12 << 10;
/// The first requests, for this time, are not counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// The time to open the connections.
const HEAD_START: Duration = Duration::from_millis(200);

/// The flags of `webhook`.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Reviews a second, over all connections together.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds to measure, after a warm-up.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections. Each has one request at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

/// The schedule that all connections share.
#[derive(Clone, Debug)]
struct Plan {
    port: u16,
    ca: String,
    review: Bytes,
    answer: Bytes,
    /// The due time of the first request.
    start: Instant,
    /// The interval between two requests of all connections.
    interval: Duration,
    warm_up: u32,
    requests: u32,
    connections: u32,
}

/// The results of the counted requests.
#[derive(Debug)]
struct Outcome {
    latencies: Durations,
    errors: u64,
    ended: Instant,
}

/// Starts a webhook, sends reviews to it and prints the results.
pub(crate) async fn run(load: &Load) -> anyhow::Result<()> {
    let subject = Subject::start().await?;
    let review = Bytes::from(serde_json::to_vec(&review()?)?);
    let answer = Connection::open(subject.port, &subject.ca).await?.review(review.clone()).await?;
    let parsed: Value = serde_json::from_slice(&answer)?;
    ensure!(parsed.pointer("/response/patch").is_some(), "the pod was not injected: {parsed}");
    let warm_up = load.rate * u32::try_from(WARM_UP.as_secs())?;
    let plan = Plan {
        port: subject.port,
        ca: subject.ca.clone(),
        review,
        answer,
        start: Instant::now() + HEAD_START,
        interval: Duration::from_secs(1) / load.rate,
        warm_up,
        requests: warm_up + load.rate * load.seconds,
        connections: load.connections,
    };
    let counted_from = plan.start + plan.interval * warm_up;
    let threads: Vec<_> = (0..load.connections)
        .map(|first| {
            let plan = plan.clone();
            thread::spawn(move || drive(&plan, first))
        })
        .collect();
    tokio::time::sleep_until(counted_from.into()).await;
    let before = subject.usage()?;
    let outcomes =
        tokio::task::spawn_blocking(|| threads.into_iter().map(thread::JoinHandle::join).collect::<Vec<_>>());
    let mut total = Outcome { latencies: Durations::new()?, errors: 0, ended: counted_from };
    for outcome in outcomes.await? {
        let outcome = outcome.ok().context("a connection's thread panicked")??;
        total.latencies.add(&outcome.latencies)?;
        total.errors += outcome.errors;
        total.ended = total.ended.max(outcome.ended);
    }
    tell(load, &plan, &total, total.ended - counted_from, (before, subject.usage()?));
    Ok(())
}

/// The review of a node pod, filled with environment variables to [`REVIEW_BYTES`].
fn review() -> anyhow::Result<Value> {
    let mut pod = pod_fixture("a-vanilla")?;
    for i in 0.. {
        let review = review_of(&pod);
        if review.to_string().len() >= REVIEW_BYTES {
            return Ok(review);
        }
        let env = pod.pointer_mut("/spec/containers/0/env").and_then(Value::as_array_mut).context("no env")?;
        env.push(json!({"name": format!("VARIABLE_{i}"), "value": format!("the value of variable {i}")}));
    }
    unreachable!("a pod without end")
}

/// Sends the requests of one connection at their due times.
fn drive(plan: &Plan, first: u32) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let open = || runtime.block_on(Connection::open(plan.port, &plan.ca));
    let mut connection = open()?;
    let mut outcome = Outcome { latencies: Durations::new()?, errors: 0, ended: plan.start };
    for request in (first..plan.requests).step_by(plan.connections as usize) {
        let due = plan.start + plan.interval * request;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = runtime.block_on(connection.review(plan.review.clone()));
        outcome.ended = Instant::now();
        if answer.is_err() {
            connection = open()?;
        }
        if request < plan.warm_up {
            continue;
        }
        if answer.is_ok_and(|answer| answer == plan.answer) {
            outcome.latencies.record(outcome.ended - due)?;
        } else {
            outcome.errors += 1;
        }
    }
    Ok(outcome)
}

fn tell(load: &Load, plan: &Plan, outcome: &Outcome, took: Duration, (before, after): (Usage, Usage)) {
    let latencies = &outcome.latencies;
    let count = latencies.count();
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (reviews, peak_kib) = (count as f64, after.peak_kib as f64);
    print(&format!(
        "{} bytes a review, {} a second over {} connections, for {} s",
        plan.review.len(),
        load.rate,
        load.connections,
        load.seconds
    ));
    print(&format!(
        "reviews       {count} answered, {:.1} a second, {} errors",
        reviews / took.as_secs_f64(),
        outcome.errors
    ));
    print(&format!(
        "latency       p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
        latencies.quantile_millis(0.5),
        latencies.quantile_millis(0.99),
        latencies.quantile_millis(0.999),
        latencies.max_millis()
    ));
    print(&format!("peak memory   {:.1} MiB", peak_kib / 1024.0));
    print(&format!(
        "CPU           {:.1} % of a core, {:.0} µs a review",
        100.0 * cpu / took.as_secs_f64(),
        1e6 * cpu / reviews
    ));
}
