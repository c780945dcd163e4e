//! The parts of a pod that admission reads. Everything else is skipped while parsing, which costs almost nothing.
//!
//! Most of a pod does not concern us: environments, probes, affinities. The outline keeps every item of a list and every
//! map, so a patch for the outline also fits the pod. Two rare kinds of pods are read completely, because a decision about
//! them needs more: pods with a `subPathExpr`, and pods with a volume or container of our name.
//!
//! A value of two bytes, such as `1,` in a list, takes more than thirty bytes in memory. So the kept values are counted,
//! and an object with too many is refused. This limits the memory and the work of all later stages.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::pod::{SIDECAR, items, mounts, name};

/// The limit for the kept values of one object. A pod with a thousand containers of ten mounts each has fewer.
pub const MOST_VALUES: usize = 50_000;

/// Which parts of a value are kept. A scalar is kept completely.
#[derive(Debug, Clone, Copy)]
enum Keep {
    All,
    /// These members of a map.
    Members(&'static [(&'static str, Keep)]),
    /// This part of every item of a list.
    Items(&'static Keep),
}

use Keep::{All, Items, Members};

static POD: Keep = Members(&[
    (
        "metadata",
        Members(&[
            ("name", All),
            ("generateName", All),
            ("namespace", All),
            ("labels", All),
            ("annotations", All),
            ("deletionTimestamp", All),
            ("ownerReferences", All),
        ]),
    ),
    (
        "spec",
        Members(&[
            ("automountServiceAccountToken", All),
            ("containers", Items(&CONTAINER)),
            ("hostNetwork", All),
            ("imagePullSecrets", Items(&Members(&[("name", All)]))),
            ("initContainers", Items(&Members(&[("name", All), ("resources", All), ("restartPolicy", All)]))),
            ("nodeSelector", All),
            ("os", All),
            ("resources", All),
            ("securityContext", All),
            ("serviceAccountName", All),
            ("volumes", Items(&Members(&[("name", All), ("persistentVolumeClaim", All)]))),
        ]),
    ),
]);

static CONTAINER: Keep = Members(&[("name", All), ("resources", All), ("securityContext", All), ("volumeMounts", All)]);

/// Reads a pod, or any other value in its place, as its outline.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Kept { keep: POD, left: &Cell::new(MOST_VALUES) }.deserialize(deserializer)
}

/// Reads a pod, or any other value in its place, completely.
pub fn read_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Kept { keep: All, left: &Cell::new(MOST_VALUES) }.deserialize(deserializer)
}

/// Whether the outline is enough for a decision about `pod`.
pub fn is_enough(pod: &Value) -> bool {
    let Some(spec) = pod.get("spec") else { return true };
    let of_our_name = |item: &Value| name(item).is_some_and(|name| name.starts_with(SIDECAR));
    let has_expression = |container: &Value| mounts(container).any(|it| it.get("subPathExpr").is_some());
    !["containers", "initContainers", "volumes"].iter().any(|list| items(spec, list).any(of_our_name))
        && !items(spec, "containers").any(has_expression)
}

impl Keep {
    /// The part of the member `key` that is kept; `None` if it is skipped.
    fn member(self, key: &str) -> Option<Self> {
        match self {
            Members(members) => members.iter().find(|(known, _)| *known == key).map(|(_, keep)| *keep),
            All | Items(_) => Some(All),
        }
    }

    fn item(self) -> Self {
        if let Items(keep) = self { *keep } else { All }
    }
}

/// The part of one value that is kept, and how many more values may be kept.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    keep: Keep,
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Kept<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("the object has more than {MOST_VALUES} values")));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Kept { keep: self.keep.item(), ..self })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<Key<'de>>()? {
            match self.keep.member(&key.0) {
                Some(keep) => {
                    map.insert(key.0.into_owned(), members.next_value_seed(Kept { keep, ..self })?);
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// A key, borrowed if it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
