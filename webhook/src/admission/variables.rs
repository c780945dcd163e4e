//! What a `subPathExpr` refers to: variables of the container that has it, which another container must have too.
//!
//! A container whose expression names a variable that it does not have is never started, and its pod is never ready.

use serde_json::Value;

/// The variables of `container` that `expression` names, and those that their values name, in the container's order; or a
/// name that stands for none of them.
pub(super) fn needed<'a>(expression: &str, container: &'a Value) -> Result<Vec<&'a Value>, String> {
    let mut wanted: Vec<String> = names(expression).map(ToOwned::to_owned).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<_> = container.get("env").and_then(Value::as_array).into_iter().flatten().collect();
    if let Some(missing) = wanted.iter().find(|wanted| !all.iter().any(|variable| name(variable) == Some(wanted))) {
        return Err(missing.clone());
    }
    let mut needed = Vec::new();
    // A value can only name what stands before it.
    for variable in all.into_iter().rev() {
        if let Some(name) = name(variable)
            && wanted.iter().any(|wanted| wanted == name)
        {
            let value = variable.get("value").and_then(Value::as_str).unwrap_or_default();
            wanted.extend(names(value).map(ToOwned::to_owned));
            needed.push(variable);
        }
    }
    needed.reverse();
    Ok(needed)
}

/// The names in `$(NAME)`; `$$` stands for a `$`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            rest = after;
            if let Some(escaped) = after.strip_prefix('$') {
                rest = escaped;
            } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
                rest = after;
                return Some(name);
            }
        }
    })
}

fn name(variable: &Value) -> Option<&str> {
    variable.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_names_as_kubernetes_does() {
        for (text, expected) in [
            ("$(A)/x-$(B_1)", vec!["A", "B_1"]),
            ("$$(A)$$$(B)", vec!["B"]),
            ("a$b$(C", vec![]),
            ("$($(D))", vec!["$(D"]),
            ("", vec![]),
        ] {
            assert_eq!(names(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn takes_what_is_named_and_what_that_names_in_order_and_nothing_else() {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        let env = [
            variable("BASE", "b"),
            variable("OTHER", "$(BASE)"),
            variable("MINE", "$(BASE)/m"),
            variable("LATER", "x"),
        ];
        let container = json!({"env": env});
        assert_eq!(needed("$(MINE)/logs", &container), Ok(vec![&env[0], &env[2]]));
        assert_eq!(needed("logs", &container), Ok(vec![]));
        assert_eq!(needed("$(MINE)/$(GONE)", &container), Err("GONE".to_owned()));
        assert_eq!(needed("$(A)", &json!({})), Err("A".to_owned()));
    }
}
