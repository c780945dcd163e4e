//! The findings that hold now, as a metric. It is made of the status at each scrape, so a finding that is over has no series.

use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::shared::SharedStatus;

/// Makes a metric of the findings.
#[derive(Debug)]
pub struct FindingMetrics(SharedStatus);

impl FindingMetrics {
    /// Shows the findings of `status` with the other metrics.
    pub fn register(registry: &mut Registry, status: SharedStatus) {
        registry.sub_registry_with_prefix("redis_log_shipper").register_collector(Box::new(Self(status)));
    }
}

impl Collector for FindingMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(FINDING.name, FINDING.help, None, MetricType::Gauge)?;
        for finding in self.0.findings(Instant::now()) {
            let labels = FindingLabels { code: finding.code.as_str(), severity: finding.severity().as_str() };
            ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The metric's name and help.
struct FindingGauge {
    name: &'static str,
    help: &'static str,
}

const FINDING: FindingGauge =
    FindingGauge { name: "finding", help: "1 while the finding of this code holds; it has no series when it is over" };

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    code: &'static str,
    severity: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_series_only_while_a_finding_holds() {
        let (mut registry, status) = (Registry::default(), SharedStatus::default());
        FindingMetrics::register(&mut registry, status.clone());
        let series = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(series(), [""; 0]);
        status.faults(&["--max-age old".to_owned()]);
        assert_eq!(series(), [r#"redis_log_shipper_finding{code="RLS506",severity="error"} 1"#]);
        status.faults(&[]);
        assert_eq!(series(), [""; 0]);
    }
}
