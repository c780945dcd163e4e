//! The variables of the database's container that a `subPathExpr` refers to. The sidecar needs copies of them.
//!
//! The copies get names of ours. Under its own name, a variable such as `REDIS_LOG_SHIPPER_ALLOW_PLAINTEXT_TOKEN` would
//! change a setting of the shipper. References follow the rules of Kubernetes: `$(NAME)` in a value stands for a variable
//! that is defined earlier, `$$` stands for `$`, and a reference to an unknown name stays as it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::pod::{items, name};

/// The prefix of the copies' names.
const PREFIX: &str = "LOG_SHIPPER_SUB_PATH_";

/// An expression for another container.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Copied {
    /// The expression, with the names of the copies.
    pub(super) expression: String,
    /// The variables that it needs, each after those it refers to.
    pub(super) env: Vec<Value>,
}

/// Copies `expression` of `container` and the variables that it needs. The error is a name that cannot be copied.
///
/// A name that is not in `env` may come from `envFrom`, whose values are not known here. If the sidecar lacked a variable
/// of its expression, it would never start, and the pod would never be Ready.
pub(super) fn copied(expression: &str, container: &Value) -> Result<Copied, String> {
    if names(expression).next().is_none() {
        return Ok(Copied { expression: expression.to_owned(), env: Vec::new() });
    }
    let env = Env::of(container);
    let needed = needed(expression, &env)?;
    let has_more = items(container, "envFrom").next().is_some();
    if let Some(unclear) = undefined(&env, &needed).find(|name| has_more || is_ours(name)) {
        return Err(unclear.to_owned());
    }
    let copy_of = |name: &str, before: usize| {
        let at = env.definition(name, before)?;
        let number = needed.binary_search(&at).ok()? + 1;
        Some(format!("{PREFIX}{number}"))
    };
    let copies = needed.iter().zip(1..).filter_map(|(&at, number)| {
        let mut copy = (*env.variables.get(at)?).clone();
        let value = value(&copy).map(|value| rewritten(value, |name| copy_of(name, at)));
        let copy = copy.as_object_mut()?;
        copy.insert("name".to_owned(), json!(format!("{PREFIX}{number}")));
        copy.extend(value.map(|value| ("value".to_owned(), json!(value))));
        name_container(copy, container);
        Some(Value::Object(copy.clone()))
    });
    Ok(Copied { expression: rewritten(expression, |name| copy_of(name, env.variables.len())), env: copies.collect() })
}

/// `text` without references, for a container's `args`.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// The variables of a container, and the positions of each name among them, in ascending order.
struct Env<'a> {
    variables: Vec<&'a Value>,
    places: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Env<'a> {
    fn of(container: &'a Value) -> Self {
        let variables: Vec<_> = items(container, "env").collect();
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for (at, variable) in variables.iter().enumerate() {
            places.entry(name(variable).unwrap_or_default()).or_default().push(at);
        }
        Self { variables, places }
    }

    /// The last variable `wanted` before the position `before`.
    fn definition(&self, wanted: &str, before: usize) -> Option<usize> {
        let places = self.places.get(wanted)?;
        places.get(places.partition_point(|at| *at < before).checked_sub(1)?).copied()
    }

    /// The names that the value of the variable at this position refers to.
    fn references(&self, at: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        names(self.variables.get(at).and_then(|variable| value(variable)).unwrap_or_default())
    }
}

/// The positions in `env` of all variables that `expression` needs, in ascending order.
fn needed(expression: &str, env: &Env<'_>) -> Result<Vec<usize>, String> {
    let mut is_needed = vec![false; env.variables.len()];
    for name in names(expression) {
        let at = env.definition(name, env.variables.len()).ok_or_else(|| name.to_owned())?;
        mark(&mut is_needed, at);
    }
    // A value refers only to earlier variables. Going backwards, each variable comes after all variables that refer to it.
    for at in (0..env.variables.len()).rev() {
        if is_needed.get(at) == Some(&true) {
            let referred = env.references(at).filter_map(|name| env.definition(name, at));
            referred.for_each(|at| mark(&mut is_needed, at));
        }
    }
    Ok(is_needed.iter().enumerate().filter(|(_, needed)| **needed).map(|(at, _)| at).collect())
}

fn mark(is_needed: &mut [bool], at: usize) {
    if let Some(needed) = is_needed.get_mut(at) {
        *needed = true;
    }
}

/// The names in the values of `needed` that are not defined earlier. A Service may define them, with the same value for all
/// containers.
fn undefined<'a>(env: &'a Env<'a>, needed: &'a [usize]) -> impl Iterator<Item = &'a str> {
    needed.iter().flat_map(move |&at| env.references(at).filter(move |name| env.definition(name, at).is_none()))
}

/// A `resourceFieldRef` without a container name means the container that has the variable.
fn name_container(copy: &mut Map<String, Value>, container: &Value) {
    let reference = copy.get_mut("valueFrom").and_then(|from| from.get_mut("resourceFieldRef"));
    if let (Some(Value::Object(reference)), Some(name)) = (reference, name(container)) {
        reference.entry("containerName").or_insert_with(|| json!(name));
    }
}

/// `text` with the names that `replace` returns. An unknown reference stays as it is.
fn rewritten(text: &str, replace: impl Fn(&str) -> Option<String>) -> String {
    let mut rewritten = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => rewritten.push_str(text),
            Part::Name(name) => {
                let name = replace(name).unwrap_or_else(|| name.to_owned());
                rewritten.extend(["$(", &name, ")"]);
            }
        }
    }
    rewritten
}

/// Whether the sidecar may have its own variable of this name.
fn is_ours(name: &str) -> bool {
    name.starts_with("LOG_SHIPPER_") || name.starts_with("REDIS_LOG_SHIPPER_")
}

/// The names in `$(NAME)`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).filter_map(|part| match part {
        Part::Name(name) => Some(name),
        Part::Text(_) => None,
    })
}

/// A piece of a string with references.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    /// Literal text, including `$$`.
    Text(&'a str),
    /// The name in a reference.
    Name(&'a str),
}

/// The pieces of `text`. None is empty, and `$$` is a piece of its own.
fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    // Searched only once: if one bracket is not closed, no later one is either.
    let last_end = text.rfind(')').map_or(0, |at| text.len() - at);
    std::iter::from_fn(move || {
        let opened = rest.strip_prefix("$(").filter(|after| after.len() >= last_end && last_end > 0);
        if let Some((name, after)) = opened.and_then(|after| after.split_once(')')) {
            rest = after;
            return Some(Part::Name(name));
        }
        let next = rest.char_indices().skip(1).find(|(_, char)| *char == '$');
        let end = if rest.starts_with("$$") { 2 } else { next.map_or(rest.len(), |(at, _)| at) };
        let (text, after) = rest.split_at_checked(end)?;
        rest = after;
        (!text.is_empty()).then_some(Part::Text(text))
    })
}

fn value(variable: &Value) -> Option<&str> {
    variable.get("value")?.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn variable(name: &str, value: &str) -> Value {
        json!({"name": name, "value": value})
    }

    /// Expands a string as the kubelet does: `$(NAME)`, `$$`, everything else as it is.
    fn expanded(text: &str, known: &[(String, String)]) -> String {
        let mut expanded = String::new();
        for part in parts(text) {
            match part {
                Part::Text("$$") => expanded.push('$'),
                Part::Text(text) => expanded.push_str(text),
                Part::Name(name) => match known.iter().rfind(|(known, _)| known == name) {
                    Some((_, value)) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                },
            }
        }
        expanded
    }

    /// The value of `expression` in a container with `env`.
    fn path(expression: &str, env: &[Value]) -> String {
        let mut known = Vec::new();
        for variable in env {
            let value = expanded(value(variable).unwrap(), &known);
            known.push((name(variable).unwrap().to_owned(), value));
        }
        expanded(expression, &known)
    }

    #[test]
    fn finds_names_as_kubernetes_does() {
        for (text, expected) in [
            ("$(A)/x-$(B_1)", vec!["A", "B_1"]),
            ("$$(A)$$$(B)", vec!["B"]),
            ("a$b$(C", vec![]),
            ("é$é$(A)", vec!["A"]),
            ("$($(D))", vec!["$(D"]),
            ("$", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(names(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn copies_variables_and_their_references_under_our_own_names() {
        let env = [
            variable("BASE", "b"),
            variable("OTHER", "$(BASE)"),
            json!({"name": "REDIS_LOG_SHIPPER_LOKI_URL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            variable("MINE", "$(BASE)/$$(BASE)/$(REDIS_LOG_SHIPPER_LOKI_URL)/$(LATER)/$(MINE)"),
            variable("LATER", "x"),
        ];
        let copied = copied("$(MINE)/$$(OTHER)/logs", &json!({"env": env})).unwrap();
        assert_eq!(copied.expression, "$(LOG_SHIPPER_SUB_PATH_3)/$$(OTHER)/logs");
        let third = "$(LOG_SHIPPER_SUB_PATH_1)/$$(BASE)/$(LOG_SHIPPER_SUB_PATH_2)/$(LATER)/$(MINE)";
        let mut second = env[2].clone();
        second["name"] = json!("LOG_SHIPPER_SUB_PATH_2");
        assert_eq!(
            copied.env,
            [variable("LOG_SHIPPER_SUB_PATH_1", "b"), second, variable("LOG_SHIPPER_SUB_PATH_3", third)]
        );
    }

    #[test]
    fn copies_no_variables_without_references() {
        let expected = Copied { expression: "logs/$$(A)".to_owned(), env: Vec::new() };
        assert_eq!(copied("logs/$$(A)", &json!({})), Ok(expected));
    }

    #[test]
    fn names_the_variable_that_cannot_be_copied() {
        let container = |value: &str, more: &Value| json!({"env": [variable("MINE", value)], "envFrom": more});
        let none = json!([]);
        assert_eq!(copied("$(A)", &json!({})), Err("A".to_owned()));
        assert_eq!(copied("$(MINE)/$(GONE)", &container("m", &none)), Err("GONE".to_owned()));
        // A Service may define it, for every container of the pod.
        assert!(copied("$(MINE)", &container("$(SERVICE)", &none)).is_ok());
        let more = json!([{"configMapRef": {"name": "more"}}]);
        assert_eq!(copied("$(MINE)", &container("$(THERE)", &more)), Err("THERE".to_owned()));
        // The sidecar has another value under that name.
        for ours in ["LOG_SHIPPER_POD_NAME", "REDIS_LOG_SHIPPER_MULTILINE", "LOG_SHIPPER_SUB_PATH_1"] {
            assert_eq!(copied("$(MINE)", &container(&format!("$({ours})"), &none)), Err(ours.to_owned()));
        }
    }

    #[test]
    fn a_resource_reference_still_means_the_databases_container() {
        let resource = |name: &str, from: &Value| json!({"name": name, "valueFrom": {"resourceFieldRef": from}});
        let container = json!({"name": "node", "env": [resource("CPU", &json!({"resource": "limits.cpu"}))]});
        let expected = resource("LOG_SHIPPER_SUB_PATH_1", &json!({"containerName": "node", "resource": "limits.cpu"}));
        assert_eq!(copied("$(CPU)", &container).unwrap().env, [expected]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any variable may refer to any other, to itself, and to later ones.
        #[test]
        fn the_copy_expands_to_the_same_path(
            env in proptest::collection::vec(("[ABC]", "(\\$\\([ABCD]\\)|\\$|\\(|\\)|[AB/é]){0,5}"), 1..7),
            expression in "(\\$\\([ABC]\\)|\\$|\\(|[AB/]){0,4}",
        ) {
            let env: Vec<_> = env.iter().map(|(name, value)| variable(name, value)).collect();
            if let Ok(copied) = copied(&expression, &json!({"env": env})) {
                prop_assert_eq!(path(&copied.expression, &copied.env), path(&expression, &env));
                prop_assert!(copied.env.iter().all(|copy| name(copy).is_some_and(|name| name.starts_with(PREFIX))));
            }
        }

        #[test]
        fn an_escaped_string_expands_to_itself(text in "(\\$\\(A\\)|[$()A]|\\PC){0,9}") {
            prop_assert_eq!(expanded(&escaped(&text), &[("A".to_owned(), "expanded".to_owned())]), text);
        }
    }
}
