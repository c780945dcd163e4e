//! The pod's own annotations: the opt-out, and overrides of the configuration.
//!
//! An invalid value is ignored with a warning: the configuration's value applies, so a typing error does not cost the pod
//! its sidecar.

use std::borrow::Cow;

use findings::Code;
use serde_json::Value;

use super::names::cut;
use super::pod::{INJECT, PREFIX, annotation};
use super::verdict::MOST_WARNINGS;
use super::warning::Warning;
use crate::config::{
    Config, Quantity, drain_timeout, drop_rule, glob, image, is_allowed, redaction_rule, tenant, url, zone,
};
use runtime::patterns::{self, RuleError};
use runtime::tree::nearest;
use runtime::words;

/// Our annotations that are no overrides, without the prefix.
const OTHERS: [&str; 4] = ["inject", "status", "hash", "pull-secrets"];

/// An override: its name without the prefix, and the function that applies it to the configuration.
type Override = (&'static str, fn(&mut Config, &str) -> Result<(), String>);

/// All overrides.
static OVERRIDES: &[Override] = &[
    ("tenant", |config, text| tenant(text).map(|tenant| config.tenant = tenant)),
    ("loki-url", |config, text| {
        let url = url(text)?;
        allowed(&url, &config.loki_url, &config.allowed_loki_urls, "allowedLokiUrls")?;
        config.loki_url = url;
        Ok(())
    }),
    ("image", |config, text| {
        let image = image(text)?;
        allowed(&image, &config.image, &config.allowed_images, "allowedImages")?;
        config.image = image;
        Ok(())
    }),
    ("cpu", |config, text| Quantity::parse(text).map(|amount| config.resources.cpu = amount)),
    ("memory", |config, text| Quantity::parse(text).map(|amount| config.resources.memory = amount)),
    ("include", |config, text| patterns(text).map(|patterns| config.include = patterns)),
    ("exclude", |config, text| patterns(text).map(|patterns| config.exclude = patterns)),
    ("log-level", |config, text| words::parse(text).map(|level| config.log_level = Some(level))),
    ("timezone", |config, text| zone(text).map(|zone| config.timezone = Some(zone))),
    ("multiline", |config, text| words::parse(text).map(|mode| config.multiline = Some(mode))),
    ("redact", |config, text| words::parse(text).map(|redact| config.redact = Some(redact))),
    ("redact-patterns", |config, text| list(text, redaction_rule).map(|rules| config.redact_patterns.extend(rules))),
    ("drop", |config, text| list(text, drop_rule).map(|rules| config.drop.extend(rules))),
    ("sidecar-mode", |config, text| words::parse(text).map(|mode| config.sidecar_mode = mode)),
    ("drain-timeout", |config, text| drain_timeout(text).map(|timeout| config.drain_timeout = Some(timeout))),
    ("state", |config, text| words::parse(text).map(|state| config.state = state)),
];

/// The longest value that is parsed, in bytes. A list of patterns fits, and a pod's author cannot make the webhook compile
/// thousands of them.
const MOST_BYTES: usize = 2048;
/// The longest unknown name for which the nearest known name is searched.
const MOST_GUESSED: usize = 63;

/// Whether the pod wants to be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// No annotation, or `true`.
    Inject,
    /// `false`.
    OptOut,
    /// Any other value.
    Unclear,
}

/// Reads [`INJECT`].
pub(super) fn wish(pod: &Value) -> Wish {
    match annotation(pod, INJECT).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
        None | Some("true" | "enabled") => Wish::Inject,
        Some("false" | "disabled") => Wish::OptOut,
        Some(_) => Wish::Unclear,
    }
}

/// A configuration with the overrides of one pod.
#[derive(Debug)]
pub struct Overridden<'a> {
    /// The configuration.
    pub config: Cow<'a, Config>,
    /// A sentence for each override that is ignored.
    pub warnings: Vec<Warning>,
}

/// The names of all annotations that the webhook reads or writes, without the prefix.
pub fn names() -> impl Iterator<Item = &'static str> {
    OVERRIDES.iter().map(|(name, _)| *name).chain(OTHERS)
}

/// Applies the pod's overrides to `config`.
pub fn overridden<'a>(pod: &Value, config: &'a Config) -> Overridden<'a> {
    let (mut config, mut warnings) = (Cow::Borrowed(config), Vec::new());
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    for (annotation, value) in annotations.into_iter().flatten() {
        let Some(key) = annotation.strip_prefix(PREFIX).filter(|key| !OTHERS.contains(key)) else { continue };
        let known = OVERRIDES.iter().find(|(known, _)| *known == key);
        // The answer would not show further warnings, and there may be very many.
        if known.is_none() && warnings.len() >= MOST_WARNINGS {
            continue;
        }
        let fault = match (known, value.as_str()) {
            (Some(_), Some(text)) if text.len() > MOST_BYTES => {
                Some(format!("the value is longer than {MOST_BYTES} bytes"))
            }
            (Some((_, apply)), Some(text)) => apply(config.to_mut(), text.trim()).err(),
            (Some(_), None) => Some("invalid value: expected a string".to_owned()),
            (None, _) => {
                let near = if key.len() <= MOST_GUESSED { nearest(key, names()) } else { None };
                let hint = near.map_or_else(
                    || format!("expected one of {}", names().collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean {PREFIX}{near}?"),
                );
                Some(format!("unknown annotation; {hint}"))
            }
        };
        let annotation = cut(annotation, PREFIX.len() + MOST_GUESSED);
        let warning = |fault: String| {
            let code = code(key, value.as_str().unwrap_or_default());
            Warning::new(Some(code), format!("annotation {annotation}: {fault}; it is ignored"))
        };
        warnings.extend(fault.map(warning));
    }
    Overridden { config, warnings }
}

/// The finding for an override that is ignored. A valid image or URL is ignored only because no list allows it.
fn code(key: &str, text: &str) -> Code {
    match key {
        "image" if image(text.trim()).is_ok() => Code::ImageNotAllowed,
        "loki-url" if url(text.trim()).is_ok() => Code::LokiUrlNotAllowed,
        _ => Code::InvalidAnnotation,
    }
}

/// A pod's image or URL must be the configured one or on its allow-list: the token, which is worth more than the logs, goes
/// there.
fn allowed(given: &str, default: &str, list: &[String], key: &str) -> Result<(), String> {
    if given == default || is_allowed(given, list) {
        Ok(())
    } else {
        Err(format!("{given:?} is not allowed by the webhook's {key}"))
    }
}

/// Comma-separated glob patterns, at least one.
fn patterns(text: &str) -> Result<Vec<String>, String> {
    let patterns = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
    let patterns = patterns.map(glob).collect::<Result<Vec<_>, _>>()?;
    if patterns.is_empty() {
        Err(format!("invalid list {text:?}: expected comma-separated patterns, such as dmcproxy.log,redis-*.log"))
    } else {
        Ok(patterns)
    }
}

/// Rules for redaction or dropping, one a line.
fn list(text: &str, rule: fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
    let rules: Vec<_> = text.lines().map(str::trim).filter(|rule| !rule.is_empty()).collect();
    if rules.len() > patterns::MOST {
        return Err(RuleError::TooMany.to_string());
    }
    rules.into_iter().map(rule).collect()
}
