//! Whether the next pod may be restarted: every Redis Enterprise pod of the namespace is there and Ready.

use super::member::Member;

/// A StatefulSet and the number of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its name.
    pub(crate) name: String,
    /// The number of pods that it should have.
    pub(crate) replicas: usize,
}

/// The first object that is not healthy, and why.
pub(super) fn unhealthy(members: &[Member], sets: &[Set]) -> Option<(String, String)> {
    let missing = sets.iter().find_map(|set| {
        let pods = members.iter().filter(|member| member.stateful_set() == Some(&set.name)).count();
        (pods < set.replicas)
            .then(|| (format!("StatefulSet {}", set.name), format!("it has {pods} of {} pods", set.replicas)))
    });
    let not_ready =
        || members.iter().find_map(|member| Some((format!("pod {}", member.name), member.not_ready.clone()?)));
    not_ready().or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    fn member(name: &str, ready: &str) -> Member {
        let pod = json!({
            "metadata": {"name": name, "ownerReferences": [{"kind": "StatefulSet", "name": "rec", "controller": true}]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "message": "still starting"}]},
        });
        Member::of(&pod, &Config::default())
    }

    fn set(replicas: usize) -> [Set; 1] {
        [Set { name: "rec".to_owned(), replicas }]
    }

    #[test]
    fn every_pod_must_be_there_and_ready() {
        let ready = [member("rec-0", "True"), member("rec-1", "True")];
        assert_eq!(unhealthy(&ready, &set(2)), None);
        let (what, why) = unhealthy(&ready, &set(3)).unwrap();
        assert_eq!((what.as_str(), why.as_str()), ("StatefulSet rec", "it has 2 of 3 pods"));
        let starting = [member("rec-0", "True"), member("rec-1", "False")];
        let (what, why) = unhealthy(&starting, &set(2)).unwrap();
        assert_eq!((what.as_str(), why.as_str()), ("pod rec-1", "still starting"));
    }
}
