//! LimitRanges: changes the sidecar's resources to what its namespace allows, or reports that there is no room.
//!
//! Requests and limits stay equal, so a Guaranteed pod stays Guaranteed, and every `maxLimitRequestRatio`, which is at
//! least 1, is met. The defaults of a LimitRange never apply, because the sidecar sets its own resources.

use serde_json::Value;

use super::pod::{SIDECAR, name, spec_items};
use crate::config::{Quantity, Resources};

/// The smallest CPU and memory, in thousandths, with which a shipper works. If a LimitRange leaves less, the pod gets no
/// sidecar.
const LEAST: [(&str, u128); 2] = [("cpu", 10), ("memory", (16 << 20) * 1000)];

/// The limits of a LimitRange for one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The LimitRange's name.
    pub range: String,
    /// Whether they apply to all containers of a pod together, and not to each container.
    pub is_of_pod: bool,
    /// The resource's name, such as `cpu`.
    pub resource: String,
    /// The minimum.
    pub min: Option<Quantity>,
    /// The maximum.
    pub max: Option<Quantity>,
}

/// Fits the sidecar's resources into `limits`. An error names the LimitRange that leaves no room, and the fix.
pub fn fit(limits: &[Limit], pod: &Value, resources: &Resources) -> Result<Resources, String> {
    let mut fitted = resources.clone();
    fitted.cpu = fit_one(limits, pod, "cpu", &resources.cpu)?;
    fitted.memory = fit_one(limits, pod, "memory", &resources.memory)?;
    if let Some(storage) = &resources.ephemeral_storage {
        fitted.ephemeral_storage = Some(fit_one(limits, pod, "ephemeral-storage", storage)?);
    }
    Ok(fitted)
}

fn fit_one(limits: &[Limit], pod: &Value, resource: &str, wanted: &Quantity) -> Result<Quantity, String> {
    let ours = || limits.iter().filter(|limit| limit.resource == resource);
    let of_container = || ours().filter(|limit| !limit.is_of_pod);
    let least = of_container().filter_map(|limit| limit.min.as_ref()).max();
    let mut amount = least.map_or(wanted, |least| least.max(wanted)).clone();
    for limit in of_container() {
        if let Some(max) = limit.max.as_ref().filter(|max| **max < amount) {
            amount = max.clone();
            refuse_below(least, &amount, resource, wanted, limit)?;
        }
    }
    // For a pod with pod-level resources, a LimitRange counts these, and not the sum of the containers.
    let has_budget = ["requests", "limits"].iter().any(|kind| amount_of(pod.get("spec"), kind, resource).is_some());
    for limit in ours().filter(|limit| limit.is_of_pod && !has_budget) {
        let Some(max) = &limit.max else { continue };
        let room = match used(pod, resource) {
            Some(used) => max.minus(&used).ok_or_else(|| no_room(limit, resource))?,
            None => max.clone(),
        };
        if room < amount {
            amount = room;
            refuse_below(least, &amount, resource, wanted, limit)?;
        }
    }
    Ok(amount)
}

/// Refuses an amount that `limit` made too small.
fn refuse_below(
    least: Option<&Quantity>,
    amount: &Quantity,
    resource: &str,
    wanted: &Quantity,
    limit: &Limit,
) -> Result<(), String> {
    let floor = LEAST.iter().find(|(name, _)| *name == resource).map_or(0, |(_, floor)| *floor);
    let is_too_small = amount.millis() < floor && amount < wanted;
    if is_too_small || least.is_some_and(|least| amount < least) { Err(no_room(limit, resource)) } else { Ok(()) }
}

fn no_room(limit: &Limit, resource: &str) -> String {
    let (range, whose) = (&limit.range, if limit.is_of_pod { "Pod" } else { "Container" });
    format!("the LimitRange {range} leaves no {resource} for the log shipper; raise its max of type {whose}")
}

/// The sum of what the other containers may use. Native sidecars count; other init containers end before.
fn used(pod: &Value, resource: &str) -> Option<Quantity> {
    let is_native = |container: &&Value| container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    let all = spec_items(pod, "containers").chain(spec_items(pod, "initContainers").filter(is_native));
    let others = all.filter(|container| name(container) != Some(SIDECAR));
    let most = |container| {
        let of = |kind| amount_of(Some(container), kind, resource);
        of("limits").max(of("requests"))
    };
    others.filter_map(most).reduce(|sum, more| sum + more)
}

fn amount_of(holder: Option<&Value>, kind: &str, resource: &str) -> Option<Quantity> {
    Quantity::parse(holder?.get("resources")?.get(kind)?.get(resource)?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn limit(is_of_pod: bool, resource: &str, min: Option<&str>, max: Option<&str>) -> Limit {
        let amount = |text: Option<&str>| text.map(|text| Quantity::parse(text).unwrap());
        let (min, max) = (amount(min), amount(max));
        Limit { range: "bounds".to_owned(), is_of_pod, resource: resource.to_owned(), min, max }
    }

    fn pod(cpu: &str) -> Value {
        let node = json!({"name": "node", "resources": {"limits": {"cpu": cpu}, "requests": {"cpu": "1m"}}});
        // In a second review the pod has our own container, which takes no room from itself.
        let ours = json!({"name": SIDECAR, "resources": {"limits": {"cpu": "100m"}}});
        json!({"spec": {"containers": [node, ours]}})
    }

    fn fitted(limits: &[Limit], cpu: &str) -> Result<(String, String), String> {
        let resources = fit(limits, &pod(cpu), &Config::default().resources)?;
        Ok((resources.cpu.as_str().to_owned(), resources.memory.as_str().to_owned()))
    }

    #[test]
    fn fits_resources_into_the_range_of_a_container() {
        let expected = |cpu: &str, memory: &str| Ok((cpu.to_owned(), memory.to_owned()));
        assert_eq!(fitted(&[], "2"), expected("100m", "64Mi"));
        assert_eq!(fitted(&[limit(false, "memory", Some("128Mi"), None)], "2"), expected("100m", "128Mi"));
        assert_eq!(fitted(&[limit(false, "cpu", None, Some("50m"))], "2"), expected("50m", "64Mi"));
        assert_eq!(fitted(&[limit(true, "cpu", Some("4"), Some("2050m"))], "2"), expected("50m", "64Mi"));
    }

    #[test]
    fn names_the_limit_range_that_leaves_no_room() {
        let said = fitted(&[limit(true, "cpu", None, Some("2"))], "2").unwrap_err();
        assert_eq!(said, "the LimitRange bounds leaves no cpu for the log shipper; raise its max of type Pod");
        let too_little = [limit(false, "memory", None, Some("15Mi"))];
        assert!(fitted(&too_little, "2").unwrap_err().contains("no memory"));
        let min_of_a_container = [limit(false, "cpu", Some("80m"), None), limit(true, "cpu", None, Some("2050m"))];
        assert!(fitted(&min_of_a_container, "2").unwrap_err().contains("no cpu"));
    }

    #[test]
    fn pod_level_resources_count_for_a_range_of_pods() {
        let mut pod = pod("2");
        pod["spec"]["resources"] = json!({"limits": {"cpu": "2"}});
        let limits = [limit(true, "cpu", None, Some("2"))];
        assert_eq!(fit(&limits, &pod, &Config::default().resources), Ok(Config::default().resources));
    }

    proptest! {
        #[test]
        fn fitted_resources_are_in_every_range(
            bounds in proptest::collection::vec((any::<bool>(), 1..300_u32, 0..3000_u32), 0..4), used in 1..2500_u32,
        ) {
            let text = |millis: u32| format!("{millis}m");
            let limits: Vec<_> = bounds
                .iter()
                .map(|(of_pod, min, more)| limit(*of_pod, "cpu", Some(&text(*min)), Some(&text(min + more))))
                .collect();
            let pod = pod(&text(used));
            if let Ok(fitted) = fit(&limits, &pod, &Config::default().resources) {
                for limit in limits {
                    let (min, max) = (limit.min.unwrap(), limit.max.unwrap());
                    if limit.is_of_pod {
                        prop_assert!(fitted.cpu.clone() + Quantity::parse(&text(used)).unwrap() <= max);
                    } else {
                        prop_assert!(fitted.cpu >= min && fitted.cpu <= max);
                    }
                }
            }
        }
    }
}
