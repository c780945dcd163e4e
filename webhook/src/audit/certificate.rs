//! The serving certificate, and the caBundle that must have signed it.

use std::time::SystemTime;

use certs::Distrust;
use findings::{Code, Finding, Outcome};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;

/// The name for which the API server wants a certificate.
pub(crate) fn server_name(client: &WebhookClientConfig) -> String {
    if let Some(service) = &client.service {
        return format!("{}.{}.svc", service.name, service.namespace);
    }
    let url = client.url.as_deref().and_then(|url| url.parse::<axum::http::Uri>().ok());
    url.as_ref().and_then(|url| url.host()).unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

/// Whether an API server with this caBundle trusts the certificate `chain` of `place` for a server of this name.
pub(crate) fn trust(bundle: &str, chain: &str, (name, place): (&str, &str), now: SystemTime) -> Outcome {
    let found = |code: Code, problem: String| Outcome::Found(Finding::with_names(code, problem, &[]));
    let until = certs::validity(chain).and_then(|validity| Timestamp::try_from(validity.until).ok());
    let until = until.map_or_else(|| "an unknown time".to_owned(), |until| until.to_string());
    match certs::verify(bundle, chain, name, now) {
        Ok(validity) if validity.ends_soon(now) => {
            let problem = format!("the certificate in {place} expires at {until}, and nothing has renewed it");
            found(Code::CertificateExpiresSoon, problem)
        }
        Ok(_) => Outcome::Passed(format!("until {until}")),
        Err(Distrust::Expired) => {
            found(Code::CertificateExpired, format!("the certificate in {place} or its CA has expired, at {until}"))
        }
        Err(Distrust::Bundle) if bundle.is_empty() => {
            found(Code::CaBundleMismatch, "the MutatingWebhookConfiguration has no caBundle".to_owned())
        }
        Err(Distrust::Issuer) => {
            found(Code::CaBundleMismatch, format!("the caBundle did not sign the certificate in {place}"))
        }
        Err(other) => found(Code::CaBundleMismatch, format!("the certificate in {place}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use certs::Authority;
    use serde_json::json;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn names_what_keeps_the_api_server_from_trusting_the_webhook() {
        let (ca, other) = (Authority::new("ours", DAY * 90).unwrap(), Authority::new("other", DAY * 90).unwrap());
        let chain = ca.serving(&["webhook.ns.svc"], DAY * 30).unwrap().cert;
        let now = SystemTime::now();
        let code = |bundle: &str, name: &str, now| match trust(bundle, &chain, (name, "the Secret"), now) {
            Outcome::Found(finding) => finding.code.as_str(),
            Outcome::Passed(_) => "ok",
            Outcome::Skipped(_) => "skip",
        };
        assert_eq!(code(ca.cert(), "webhook.ns.svc", now), "ok");
        assert_eq!(code(ca.cert(), "webhook.ns.svc", now + DAY * 21), "RLS105");
        assert_eq!(code(ca.cert(), "webhook.ns.svc", now + DAY * 31), "RLS104");
        assert_eq!(code(other.cert(), "webhook.ns.svc", now), "RLS103");
        assert_eq!(code(ca.cert(), "other.ns.svc", now), "RLS103");
        assert_eq!(code("", "webhook.ns.svc", now), "RLS103");
    }

    #[test]
    fn knows_the_name_for_which_the_api_server_wants_a_certificate() {
        let name = |client: serde_json::Value| server_name(&serde_json::from_value(client).unwrap());
        assert_eq!(name(json!({"service": {"name": "webhook", "namespace": "ns"}})), "webhook.ns.svc");
        assert_eq!(name(json!({"url": "https://localhost:8443/mutate"})), "localhost");
        assert_eq!(name(json!({"url": "https://[::1]:8443/mutate"})), "::1");
    }
}
