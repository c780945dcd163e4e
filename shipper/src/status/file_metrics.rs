//! The state of each file, as metrics. A scrape creates them from the status: they cost nothing while shipping, and forgotten
//! files disappear.
//!
//! There may be any number of files, and every series costs the monitoring system memory. So only the first files by name have
//! their own series, and all others share one.

use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::answer::FileStatus;
use super::shared::SharedStatus;

/// This many files have their own series: three times the log files of a Redis Enterprise node.
pub const MOST_FILES: usize = 64;
/// The name of the series for all other files.
const OTHERS: &str = "(others)";

/// Creates metrics from a status.
#[derive(Debug)]
pub struct FileMetrics(SharedStatus);

impl FileMetrics {
    /// Adds the files of `status` to the metrics. All names start with `redis_log_shipper_file`.
    pub fn register(registry: &mut Registry, status: SharedStatus) {
        registry.sub_registry_with_prefix("redis_log_shipper").register_collector(Box::new(Self(status)));
    }
}

impl Collector for FileMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let series = series(&self.0.get(Instant::now()).files);
        for gauge in GAUGES {
            let unit = gauge.unit.as_ref();
            let mut family = encoder.encode_descriptor(gauge.name, gauge.help, unit, MetricType::Gauge)?;
            for one in &series {
                if let Some(value) = (gauge.value)(one) {
                    ConstGauge::new(value).encode(family.encode_family(&one.file)?)?;
                }
            }
        }
        Ok(())
    }
}

/// One metric of every file.
struct FileGauge {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    /// `None` if the file has no value.
    value: fn(&Series) -> Option<u64>,
}

const GAUGES: [FileGauge; 7] = [
    FileGauge {
        name: "file_size",
        help: "Size of the log file",
        unit: Some(Unit::Bytes),
        value: |series| Some(series.size),
    },
    FileGauge {
        name: "file_position",
        help: "Bytes that Loki has acknowledged of the generation that is being shipped",
        unit: Some(Unit::Bytes),
        value: |series| Some(series.position),
    },
    FileGauge {
        name: "file_lag",
        help: "Bytes that Loki has not acknowledged, rotated generations included",
        unit: Some(Unit::Bytes),
        value: |series| Some(series.lag),
    },
    FileGauge {
        name: "file_oldest_unacknowledged",
        help: "How long the oldest of them waits",
        unit: Some(Unit::Seconds),
        value: |series| Some(series.oldest),
    },
    FileGauge {
        name: "file_generations",
        help: "Generations that are to be shipped, the live one included",
        unit: None,
        value: |series| Some(series.generations),
    },
    FileGauge {
        name: "file_error",
        help: "1 while it cannot be read, or its lines cannot be pushed",
        unit: None,
        value: |series| Some(series.error),
    },
    FileGauge {
        name: "seconds_until_loss",
        help: "When log rotation deletes lines of the file that Loki has not acknowledged, if it acknowledges nothing more",
        unit: None,
        value: |series| series.until_loss,
    },
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    file: String,
}

/// The values of one file, or of all files that share a series.
#[derive(Debug)]
struct Series {
    file: File,
    size: u64,
    position: u64,
    lag: u64,
    oldest: u64,
    generations: u64,
    error: u64,
    until_loss: Option<u64>,
}

impl Series {
    fn of(file: &FileStatus) -> Self {
        Self {
            file: File { file: file.file.clone() },
            size: file.size,
            position: file.position,
            lag: file.lag_bytes,
            oldest: file.oldest_unacknowledged_seconds.unwrap_or_default(),
            generations: file.generations as u64,
            error: u64::from(file.error.is_some()),
            until_loss: file.seconds_until_loss,
        }
    }

    /// Adds sizes and counts. Keeps the worst age, deadline and error.
    fn take_in(&mut self, other: &Self) {
        self.size += other.size;
        self.position += other.position;
        self.lag += other.lag;
        self.oldest = self.oldest.max(other.oldest);
        self.generations += other.generations;
        self.error = self.error.max(other.error);
        self.until_loss = self.until_loss.into_iter().chain(other.until_loss).min();
    }
}

/// The first files by name, then all others as one.
fn series(files: &[FileStatus]) -> Vec<Series> {
    // No file may have the name of the shared series: a duplicate series makes a scrape fail.
    let (own, others): (Vec<_>, Vec<_>) =
        files.iter().enumerate().partition(|(at, file)| *at < MOST_FILES && file.file != OTHERS);
    let mut series: Vec<_> = own.into_iter().map(|(_, file)| Series::of(file)).collect();
    let rest = others.into_iter().map(|(_, file)| Series::of(file)).reduce(|mut rest, other| {
        rest.take_in(&other);
        rest
    });
    series.extend(rest.map(|rest| Series { file: File { file: OTHERS.to_owned() }, ..rest }));
    series
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tail::FileState;

    /// All metrics except the deadline.
    const OF_EVERY_FILE: usize = GAUGES.len() - 1;

    fn file(name: &str) -> FileState {
        FileState {
            name: name.into(),
            size: 30,
            position: 20,
            unread: 10,
            unread_since: None,
            front: None,
            generations: 1,
            error: None,
        }
    }

    /// The status of these files, and their metrics.
    struct World(SharedStatus, Registry);

    impl World {
        fn new(files: Vec<FileState>) -> Self {
            let (status, mut registry) = (SharedStatus::default(), Registry::default());
            FileMetrics::register(&mut registry, status.clone());
            status.files(files, Instant::now());
            Self(status, registry)
        }

        fn shown(&self) -> Vec<String> {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.1).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
        }

        fn value(&self, metric: &str, file: &str) -> String {
            let start = format!("redis_log_shipper_{metric}{{file=\"{file}\"}} ");
            let shown = self.shown();
            let values: Vec<_> = shown.iter().filter_map(|line| line.strip_prefix(&start)).collect();
            assert_eq!(values.len(), 1, "{metric} of {file} in {shown:#?}");
            values[0].to_owned()
        }
    }

    #[test]
    fn shows_how_a_file_stands() {
        let start = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
        let broken =
            FileState { error: Some("EIO".to_owned()), generations: 3, unread_since: Some(start), ..file("b.log") };
        let world = World::new(vec![file("a.log"), broken]);
        let values = |file: &str| {
            let metrics = ["size_bytes", "position_bytes", "lag_bytes", "generations", "error"];
            metrics.map(|metric| world.value(&format!("file_{metric}"), file))
        };
        assert_eq!(values("a.log"), ["30", "0", "10", "1", "0"]);
        assert_eq!(values("b.log"), ["30", "0", "10", "3", "1"]);
        assert_eq!(world.value("file_oldest_unacknowledged_seconds", "a.log"), "0");
        assert!(world.value("file_oldest_unacknowledged_seconds", "b.log").parse::<u64>().unwrap() >= 90);
    }

    #[test]
    fn is_bounded_however_many_files_there_are() {
        let files: Vec<_> = (0..1000).map(|number| file(&format!("{number:04}.log"))).collect();
        let mut last = files.clone();
        last[999].error = Some("EIO".to_owned());
        let world = World::new(last);
        assert_eq!(world.shown().len(), OF_EVERY_FILE * (MOST_FILES + 1));
        assert_eq!(world.value("file_size_bytes", "0063.log"), "30");
        assert_eq!(world.value("file_size_bytes", OTHERS), (30 * (1000 - MOST_FILES)).to_string());
        assert_eq!(world.value("file_generations", OTHERS), (1000 - MOST_FILES).to_string());
        assert_eq!(world.value("file_error", OTHERS), "1");
        world.0.files(files, Instant::now());
        assert_eq!(world.value("file_error", OTHERS), "0");
    }

    #[test]
    fn takes_the_worst_age_of_the_others() {
        let waits = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let aged = |number: u64| FileState { unread_since: waits(100 * number), ..file(&format!("{number:02}.log")) };
        let world = World::new((0..70).map(aged).collect());
        assert!(
            (6900..7000).contains(&world.value("file_oldest_unacknowledged_seconds", OTHERS).parse::<u64>().unwrap())
        );
    }

    #[test]
    fn shows_when_lines_are_lost_only_where_some_are_in_danger() {
        let waits = Instant::now().checked_sub(Duration::from_mins(5)).unwrap();
        let in_danger = FileState { unread_since: Some(waits), ..file("b.log") };
        let world = World::new(vec![file("a.log"), in_danger]);
        let shown = world.shown();
        assert_eq!(shown.iter().filter(|line| line.contains("seconds_until_loss")).count(), 1);
        let left: u64 = world.value("seconds_until_loss", "b.log").parse().unwrap();
        assert!((604_000..=604_500).contains(&left), "{left}");
    }

    #[test]
    fn takes_the_least_time_until_loss_of_the_others() {
        let waits = |minutes| Instant::now().checked_sub(Duration::from_mins(minutes));
        let aged = |number: u64| FileState { unread_since: waits(60 * number), ..file(&format!("{number:02}.log")) };
        let world = World::new((0..70).map(aged).collect());
        let (left, least) = (world.value("seconds_until_loss", OTHERS).parse::<u64>().unwrap(), 7 * 86400 - 69 * 3600);
        assert!((least - 500..=least).contains(&left), "{left}");
    }

    #[test]
    fn shows_no_more_of_a_file_that_is_gone() {
        let world = World::new(vec![file("a.log"), file("b.log")]);
        assert_eq!(world.shown().len(), 2 * OF_EVERY_FILE);
        world.0.files(vec![FileState { generations: 0, ..file("a.log") }, file("b.log")], Instant::now());
        assert_eq!(world.shown().len(), OF_EVERY_FILE);
        world.0.files(Vec::new(), Instant::now());
        assert_eq!(world.shown().len(), 0);
    }

    #[test]
    fn shows_any_name_and_none_twice() {
        let mut files: Vec<_> = (0..MOST_FILES).map(|number| file(&format!("{number}.log"))).collect();
        files.extend([file(OTHERS), file("!\"\\\n.log")]);
        let world = World::new(files);
        assert_eq!(world.value("file_size_bytes", r#"!\"\\\n.log"#), "30");
        // The file with this name, and the last two files.
        assert_eq!(world.value("file_size_bytes", OTHERS), "90");
        assert_eq!(world.shown().len(), OF_EVERY_FILE * MOST_FILES);
    }
}
