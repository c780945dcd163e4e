//! The finding of a failed push, and of rejected entries: what is wrong, with all names, and how to fix it.
//!
//! This is the only place for these words. The log, `/status` and `check` show them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use findings::{Code, Finding};
use hyper::Uri;

use super::answer::{Limit, Trouble};
use super::claims::Claims;
use super::fault::ConnectionFault;
use super::rejections::Reason;
use super::settings::PushSettings;

/// The ready-made role of OpenShift Logging that allows pushes to the tenant `application`.
const READY_MADE_ROLE: &str = "cluster-logging-write-application-logs";

/// The gateway's words for a tenant that it does not know.
const UNKNOWN_TENANT: &str = "tenant not found";
/// A smaller difference of the clocks, in seconds, may come from the network.
const MAX_CLOCK_SKEW: u64 = 60;

/// An attempt that was not acknowledged.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Why.
    pub trouble: &'a Trouble,
    /// What was answered, or what kept an answer from coming.
    pub answer: &'a str,
    /// What is wrong, and how to fix it.
    pub finding: &'a Finding,
    /// How many seconds this clock was ahead of the server's at the last answer that had a date.
    pub clock_skew: Option<i64>,
}

/// What is known of a failed push.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// Why it failed.
    pub(crate) trouble: &'a Trouble,
    /// What was answered.
    pub(crate) answer: &'a str,
    /// The push URL.
    pub(crate) url: &'a Uri,
    /// The tenant, if the URL names one.
    pub(crate) tenant: Option<&'a str>,
    /// The token that was sent, if any.
    pub(crate) token: Sent,
    /// Files of `--ca-file` that do not exist.
    pub(crate) missing_ca_files: Vec<PathBuf>,
}

/// The token that a push sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// None is configured.
    Nothing,
    /// The token in the file.
    Token {
        /// What it says about itself. `None` if it is not a ServiceAccount token.
        claims: Option<Claims>,
        /// How long ago it expired, if it did.
        expired: Option<Duration>,
        /// Whether Loki has stored something with this very token before, and it has not expired.
        was_accepted: bool,
    },
}

impl Sent {
    /// A token with these claims, at this time.
    pub(crate) fn token(claims: Option<Claims>, was_accepted: bool, now: SystemTime) -> Self {
        let expired = claims.as_ref().and_then(|claims| claims.expired_for(now));
        Self::Token { claims, was_accepted: was_accepted && expired.is_none(), expired }
    }

    fn was_accepted(&self) -> bool {
        matches!(self, Self::Token { was_accepted: true, .. })
    }

    fn service_account(&self) -> Option<(&str, &str)> {
        let Self::Token { claims, .. } = self else { return None };
        claims.as_ref()?.service_account()
    }
}

/// What is wrong with a failed push, and how to fix it.
pub(crate) fn finding(case: &Case<'_>) -> Finding {
    let url = super::shown_url(&case.url.to_string());
    let host = case.url.authority().map_or_else(String::new, |authority| super::shown_url(authority.as_str()));
    match case.trouble {
        Trouble::NoToken => no_token(case.answer),
        Trouble::Unauthorized if case.answer.contains(UNKNOWN_TENANT) => unknown_tenant(case.tenant),
        Trouble::Forbidden | Trouble::Login | Trouble::Unauthorized if case.token == Sent::Nothing => {
            no_token_sent(&host)
        }
        Trouble::Forbidden => missing_permission(case),
        Trouble::Login => refused_token(case),
        Trouble::Unauthorized => unauthorized(case),
        Trouble::WrongUrl => Finding::new(
            Code::WrongPath,
            format!("{url} is not a push endpoint: {}", case.answer),
            "check --loki-url: it must be the full push URL, ending in /loki/api/v1/push; for a LokiStack: \
             https://HOST:8080/api/logs/v1/TENANT/loki/api/v1/push",
        ),
        Trouble::PlainHttp => Finding::new(
            Code::PlainHttp,
            format!("{host} speaks TLS, and the URL says http"),
            "write https:// in --loki-url",
        ),
        Trouble::Blocked => Finding::new(
            Code::IngestionBlocked,
            format!("Loki accepts no entries of {}", tenant(case.tenant)),
            "remove the block: look at block_ingestion_until and block_ingestion_policy_until in Loki's limits_config \
             and its overrides",
        ),
        Trouble::BadRequest => Finding::new(
            Code::RequestRefused,
            "Loki, or a proxy before it, refuses the request as a whole",
            "check --loki-url and --label, and report a bug if both are valid",
        ),
        Trouble::Throttled { limit, .. } => throttled(*limit, case.tenant),
        Trouble::TooNew => Finding::new(
            Code::LinesTooNew,
            "entries lie further ahead of Loki's clock than creation_grace_period allows (10m by default)",
            "none needed if it passes: Loki accepts these entries once their time has come; if it lasts, correct the \
             clocks of this node and of Loki's nodes",
        ),
        Trouble::Gateway(_) => Finding::new(
            Code::GatewayCannotAsk,
            "the authorization of the gateway (OPA) does not answer",
            "none needed unless it lasts: then look at the pods of the gateway, not at Loki",
        ),
        Trouble::GatewayBusy(_) => Finding::new(
            Code::GatewayBusy,
            "the gateway answers as many requests as it can",
            "none needed unless it lasts: then give the gateway more replicas",
        ),
        Trouble::Unavailable(_) => Finding::new(
            Code::LokiUnavailable,
            format!("Loki is not available: {}", case.answer),
            "none needed unless it lasts: then look at Loki itself, and at the gateway if the answer is empty",
        ),
        Trouble::NoAnswer(fault) => no_answer(*fault, case, &host),
        Trouble::Unexpected => {
            Finding::new(Code::NotLoki, format!("{url} does not answer like Loki"), "check --loki-url")
        }
    }
}

/// What is wrong with a server to which no connection can be made, and how to fix it.
pub(crate) fn not_reached(settings: &PushSettings, fault: ConnectionFault) -> Finding {
    finding(&Case {
        trouble: &Trouble::NoAnswer(fault),
        answer: "",
        url: &settings.url,
        tenant: settings.tenant(),
        token: Sent::Nothing,
        missing_ca_files: settings.ca_files.iter().filter(|path| !path.exists()).cloned().collect(),
    })
}

/// What is wrong with the clock, which is so many seconds ahead of the server's.
pub(crate) fn wrong_clock(ahead_seconds: i64) -> Option<Finding> {
    let direction = if ahead_seconds > 0 { "ahead of" } else { "behind" };
    let seconds = ahead_seconds.unsigned_abs();
    (seconds > MAX_CLOCK_SKEW).then(|| {
        Finding::new(
            Code::ClockSkew,
            format!("the clock of this node is {seconds} seconds {direction} the clock of the server"),
            "correct the clock of the node: it decides which tokens are valid, and which lines are too old or too new",
        )
    })
}

/// What is wrong with entries that Loki rejected for good.
pub(crate) fn rejection(reason: Reason) -> Finding {
    let (code, problem, fix) = match reason {
        Reason::TooOld => (
            Code::LinesTooOld,
            "are older than reject_old_samples_max_age",
            "raise reject_old_samples_max_age in Loki's limits_config, and --max-age with it, before old files are shipped",
        ),
        Reason::TooFarBehind => (
            Code::LinesTooOld,
            "lie further behind the newest entry of their stream than half of max_chunk_age",
            "raise max_chunk_age in Loki's ingester configuration",
        ),
        Reason::OutOfOrder => (
            Code::LinesTooOld,
            "are older than the newest entry of their stream, and this Loki accepts entries in order only",
            "set unordered_writes: true in Loki's limits_config",
        ),
        Reason::TooNew => {
            (Code::LinesTooNew, "lie further ahead than creation_grace_period", "correct the clocks of the nodes")
        }
        Reason::LineTooLong => (
            Code::EntriesRejected,
            "are longer than max_line_size",
            "lower --max-line, or raise max_line_size in Loki's limits_config (on a LokiStack: maxLineSize)",
        ),
        Reason::LabelLimit => (
            Code::EntriesRejected,
            "have more labels, or longer labels, than Loki allows",
            "remove labels from --label, or raise max_label_names_per_series, max_label_name_length or \
             max_label_value_length in Loki's limits_config",
        ),
        Reason::TooLarge => (
            Code::EntriesRejected,
            "are each larger than Loki, or a proxy before it, accepts",
            "lower --max-line, or raise the limit of a request in the proxy and in Loki",
        ),
        Reason::Other => (
            Code::EntriesRejected,
            "were refused one by one, for a reason that is not known",
            "look at the answer in the log, and at the log of Loki",
        ),
    };
    Finding::new(code, format!("Loki rejected entries for good: they {problem}"), fix)
}

fn no_token(answer: &str) -> Finding {
    Finding::new(
        Code::NoToken,
        format!("there is no token to send: {answer}"),
        "check that --token-file names the projected token, and that the container mounts its volume",
    )
}

fn no_token_sent(host: &str) -> Finding {
    Finding::new(
        Code::NoToken,
        format!("{host} requires a token, and none is sent"),
        "set --token-file to the projected token of the ServiceAccount",
    )
}

fn missing_permission(case: &Case<'_>) -> Finding {
    let (namespace, name) = case.token.service_account().unwrap_or(("NAMESPACE", "SERVICEACCOUNT"));
    let tenant = case.tenant.unwrap_or("TENANT");
    let by_hand = if tenant == "application" {
        format!(
            " (or, where this role exists: oc adm policy add-cluster-role-to-user {READY_MADE_ROLE} -z {name} -n {namespace})"
        )
    } else {
        String::new()
    };
    Finding::new(
        Code::MayNotPush,
        format!(
            "ServiceAccount {name} of namespace {namespace} lacks the permission to create {tenant}.loki.grafana.com/logs, \
             cluster-wide"
        ),
        format!(
            "redis-log-webhook rbac --namespace {namespace} --service-account {name} --tenant {tenant} | kubectl apply -f \
             -{by_hand}; the gateway caches a refusal for 60 seconds"
        ),
    )
}

fn refused_token(case: &Case<'_>) -> Finding {
    const PROJECTED: &str =
        "use the projected token as the webhook mounts it: without an audience, renewed by the kubelet";
    let refused = |why: String| format!("the gateway does not accept the token{why}");
    let (why, fix) = match &case.token {
        Sent::Token { was_accepted: true, .. } => return cannot_ask(),
        Sent::Token { expired: Some(expired), .. } => (
            format!(": it expired {} seconds ago", expired.as_secs()),
            "check that --token-file is the projected token, which the kubelet renews, and check the clock of this node",
        ),
        Sent::Token { claims: Some(claims), .. } => match claims.foreign_audiences() {
            Some(audiences) => (
                format!(": it is for the audience {}, not for the API server", audiences.join(", ")),
                "remove the audience from the projected token's volume",
            ),
            None => (String::new(), PROJECTED),
        },
        Sent::Token { .. } | Sent::Nothing => (": the file does not hold a ServiceAccount token".to_owned(), PROJECTED),
    };
    Finding::new(Code::TokenRefused, refused(why), fix)
}

fn cannot_ask() -> Finding {
    Finding::new(
        Code::GatewayCannotAsk,
        "the gateway refuses a token that it accepted before, and that has not expired: it may not reach the API server",
        "none needed unless it lasts: then look at the API server first, and at the token second",
    )
}

fn unauthorized(case: &Case<'_>) -> Finding {
    if case.token.was_accepted() {
        return cannot_ask();
    }
    Finding::new(
        Code::UnknownTenant,
        format!("the gateway does not know {}, is still starting, or cannot reach the API server", tenant(case.tenant)),
        "check the tenant in --loki-url first",
    )
}

fn unknown_tenant(name: Option<&str>) -> Finding {
    Finding::new(
        Code::UnknownTenant,
        format!("the gateway does not know {}", tenant(name)),
        "correct the tenant in --loki-url",
    )
}

fn tenant(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "the tenant in this URL".to_owned(), |tenant| format!("tenant {tenant}"))
}

/// The limit that a 429 names, with its setting in Loki's configuration and in a LokiStack.
fn throttled(limit: Limit, name: Option<&str>) -> Finding {
    const UNLESS: &str = "none needed unless it lasts: then ";
    let owner = tenant(name);
    let (code, problem, unless, settings, fields) = match limit {
        Limit::Streams => (
            Code::StreamLimit,
            format!("{owner} has as many active streams as Loki allows"),
            "",
            "max_global_streams_per_user",
            "maxGlobalStreamsPerTenant",
        ),
        Limit::StreamRate => (
            Code::StreamRateLimit,
            "a file is written faster than Loki allows for one stream".to_owned(),
            UNLESS,
            "per_stream_rate_limit and per_stream_rate_limit_burst",
            "perStreamRateLimit and perStreamRateLimitBurst",
        ),
        Limit::IngestionRate => (
            Code::IngestionRateLimit,
            format!("all senders of {owner} together exceed its rate"),
            UNLESS,
            "ingestion_rate_mb and ingestion_burst_size_mb",
            "ingestionRate and ingestionBurstSize",
        ),
        Limit::Unknown => {
            return Finding::new(
                Code::Throttled,
                "Loki, or a proxy before it, asks to push more slowly",
                "none needed unless it lasts: then look at the limits of the tenant and of the proxy",
            );
        }
    };
    let in_stack = name.map_or_else(
        || "spec.limits.global.ingestion".to_owned(),
        |name| format!("spec.limits.tenants.{name}.ingestion, or spec.limits.global.ingestion"),
    );
    let fix = format!("{unless}raise {settings} in Loki's limits_config; on a LokiStack raise {fields} in {in_stack}");
    Finding::new(code, problem, fix)
}

fn no_answer(fault: ConnectionFault, case: &Case<'_>, host: &str) -> Finding {
    const REACH: &str = "check the host and the port in --loki-url, and the NetworkPolicies between this pod and it";
    let unreachable = |why: &str| (Code::Unreachable, format!("cannot be reached: {why}"), REACH.to_owned());
    let untrusted = |what: &str, fix: &str| {
        (Code::UntrustedCertificate, format!("shows a certificate that {what}"), fix.to_owned())
    };
    let (code, problem, fix) = match fault {
        ConnectionFault::UnknownName => {
            let (code, problem, _) = unreachable("its name cannot be resolved");
            (code, problem, "check the host in --loki-url, and the DNS of the cluster".to_owned())
        }
        ConnectionFault::Refused => unreachable("nothing listens on the port"),
        ConnectionFault::NoRoute => unreachable("there is no route"),
        ConnectionFault::Timeout => unreachable("nothing answers in time"),
        ConnectionFault::Broken => unreachable("the connection breaks off"),
        ConnectionFault::Tls => unreachable("the TLS handshake fails"),
        ConnectionFault::Other => unreachable("no answer comes"),
        ConnectionFault::NoTls => (
            Code::PlainHttp,
            "does not speak TLS, and the URL says https".to_owned(),
            "write http:// in --loki-url, or the port that speaks TLS".to_owned(),
        ),
        ConnectionFault::UntrustedCertificate => {
            untrusted("no CA of --ca-file has signed", &add_the_ca(&case.missing_ca_files))
        }
        ConnectionFault::CertificateOfAnotherName => {
            untrusted("is for another name", "write the host name in --loki-url for which the certificate is valid")
        }
        ConnectionFault::CertificateOutOfDate => untrusted(
            "has expired, or is not valid yet",
            "renew the certificate of the server, and check the clock of this node",
        ),
        ConnectionFault::InvalidCertificate => untrusted("is invalid", "correct the certificate of the server"),
    };
    Finding::new(code, format!("{host} {problem}"), fix)
}

fn add_the_ca(missing: &[PathBuf]) -> String {
    let add = "add the CA that signed it to --ca-file (on OpenShift the service CA: service-ca.crt of ConfigMap \
               openshift-service-ca.crt)";
    if missing.is_empty() {
        return add.to_owned();
    }
    let missing: Vec<_> = missing.iter().map(|path| path.display().to_string()).collect();
    format!("{add}; missing files: {}", missing.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn token(was_accepted: bool) -> Sent {
        let claims = Claims { subject: Some("system:serviceaccount:redis:rec".to_owned()), ..Claims::default() };
        Sent::token(Some(claims), was_accepted, UNIX_EPOCH)
    }

    fn of(trouble: &Trouble, answer: &str, token: Sent) -> Finding {
        let url = Uri::from_static("https://gw:8080/api/logs/v1/application/loki/api/v1/push");
        let missing_ca_files = vec!["/ca/service-ca.crt".into()];
        finding(&Case { trouble, answer, url: &url, tenant: Some("application"), token, missing_ca_files })
    }

    fn coded(trouble: &Trouble) -> Code {
        of(trouble, "", token(false)).code
    }

    #[test]
    fn names_the_missing_permission_and_both_commands_that_grant_it() {
        let finding = of(&Trouble::Forbidden, "", token(true));
        assert_eq!(finding.code, Code::MayNotPush);
        for part in ["ServiceAccount rec of namespace redis", "create application.loki.grafana.com/logs"] {
            assert!(finding.problem.contains(part), "{part} missing in: {finding}");
        }
        for part in [
            "redis-log-webhook rbac --namespace redis --service-account rec --tenant application | kubectl apply -f -",
            "oc adm policy add-cluster-role-to-user cluster-logging-write-application-logs -z rec -n redis",
        ] {
            assert!(finding.fix.contains(part), "{part} missing in: {finding}");
        }
    }

    #[test]
    fn offers_the_ready_made_role_for_its_own_tenant_only() {
        let url = Uri::from_static("https://gw/api/logs/v1/audit/loki/api/v1/push");
        let (trouble, tenant) = (&Trouble::Forbidden, Some("audit"));
        let case = Case { trouble, answer: "", url: &url, tenant, token: token(false), missing_ca_files: Vec::new() };
        let fix = finding(&case).fix;
        assert!(fix.contains("--tenant audit") && !fix.contains("oc adm"), "{fix}");
    }

    #[test]
    fn says_why_the_gateway_does_not_accept_the_token() {
        let login = |token| of(&Trouble::Login, "", token);
        let with = |claims| Sent::token(Some(claims), true, UNIX_EPOCH + Duration::from_secs(1000));
        let old = Claims { expires: Some(UNIX_EPOCH + Duration::from_secs(940)), ..Claims::default() };
        let vault = Claims { audiences: vec!["vault".to_owned()], issuer: Some("me".to_owned()), ..Claims::default() };
        for (token, code, words) in [
            (with(old), Code::TokenRefused, "it expired 60 seconds ago"),
            (Sent::token(Some(vault), false, UNIX_EPOCH), Code::TokenRefused, "it is for the audience vault"),
            (token(false), Code::TokenRefused, "the gateway does not accept the token"),
            (Sent::token(None, false, UNIX_EPOCH), Code::TokenRefused, "does not hold a ServiceAccount token"),
            (Sent::Nothing, Code::NoToken, "none is sent"),
        ] {
            let finding = login(token);
            assert_eq!(finding.code, code, "{finding}");
            assert!(finding.problem.contains(words), "{finding}");
        }
    }

    #[test]
    fn does_not_blame_a_token_alone_that_was_accepted_before() {
        for (trouble, answer) in [(Trouble::Login, ""), (Trouble::Unauthorized, "401 Unauthorized")] {
            let finding = of(&trouble, answer, token(true));
            assert_eq!(finding.code, Code::GatewayCannotAsk);
            assert!(finding.fix.contains("look at the API server first"), "{finding}");
        }
    }

    #[test]
    fn names_a_tenant_that_the_gateway_does_not_know() {
        let answer = "401 Unauthorized: tenant not found, have you registered it?";
        for token in [token(true), Sent::Nothing] {
            let finding = of(&Trouble::Unauthorized, answer, token);
            assert_eq!(finding.code, Code::UnknownTenant);
            assert_eq!(finding.problem, "the gateway does not know tenant application");
        }
    }

    #[test]
    fn names_each_limit_of_loki_by_its_settings() {
        for (limit, code, settings) in [
            (Limit::Streams, "RLS401", ["max_global_streams_per_user", "maxGlobalStreamsPerTenant"]),
            (Limit::StreamRate, "RLS402", ["per_stream_rate_limit", "perStreamRateLimit"]),
            (Limit::IngestionRate, "RLS403", ["ingestion_rate_mb", "ingestionRate"]),
            (Limit::Unknown, "RLS408", ["limits", "tenant"]),
        ] {
            let finding = of(&Trouble::Throttled { limit, after: None, over: false }, "", token(true));
            assert_eq!(finding.code.as_str(), code);
            assert!(settings.iter().all(|setting| finding.fix.contains(setting)), "{finding}");
        }
    }

    #[test]
    fn tells_a_wrong_ca_from_an_address_that_cannot_be_reached() {
        let with = |fault| of(&Trouble::NoAnswer(fault), "", token(false));
        let untrusted = with(ConnectionFault::UntrustedCertificate);
        assert_eq!(untrusted.code, Code::UntrustedCertificate);
        assert!(untrusted.fix.contains("missing files: /ca/service-ca.crt"), "{untrusted}");
        for fault in [ConnectionFault::CertificateOfAnotherName, ConnectionFault::CertificateOutOfDate] {
            assert_eq!(with(fault).code, Code::UntrustedCertificate);
        }
        for fault in [ConnectionFault::UnknownName, ConnectionFault::Refused, ConnectionFault::Timeout] {
            assert_eq!(with(fault).code, Code::Unreachable);
        }
        assert_eq!(with(ConnectionFault::NoTls).code, Code::PlainHttp);
    }

    #[test]
    fn has_a_code_for_each_other_trouble() {
        for (trouble, code) in [
            (Trouble::NoToken, Code::NoToken),
            (Trouble::WrongUrl, Code::WrongPath),
            (Trouble::PlainHttp, Code::PlainHttp),
            (Trouble::Blocked, Code::IngestionBlocked),
            (Trouble::BadRequest, Code::RequestRefused),
            (Trouble::TooNew, Code::LinesTooNew),
            (Trouble::Gateway(None), Code::GatewayCannotAsk),
            (Trouble::GatewayBusy(None), Code::GatewayBusy),
            (Trouble::Unavailable(None), Code::LokiUnavailable),
            (Trouble::Unexpected, Code::NotLoki),
        ] {
            assert_eq!(coded(&trouble), code);
        }
    }

    #[test]
    fn says_which_clock_is_ahead_from_a_minute_on() {
        assert_eq!((wrong_clock(60), wrong_clock(-60)), (None, None));
        assert!(wrong_clock(61).unwrap().problem.contains("61 seconds ahead of"));
        assert!(wrong_clock(-3600).unwrap().problem.contains("3600 seconds behind"));
    }

    #[test]
    fn names_the_limit_that_each_rejection_exceeds() {
        for (reason, code, setting) in [
            (Reason::TooOld, Code::LinesTooOld, "reject_old_samples_max_age"),
            (Reason::TooFarBehind, Code::LinesTooOld, "max_chunk_age"),
            (Reason::OutOfOrder, Code::LinesTooOld, "unordered_writes"),
            (Reason::LineTooLong, Code::EntriesRejected, "max_line_size"),
            (Reason::LabelLimit, Code::EntriesRejected, "max_label_names_per_series"),
        ] {
            let finding = rejection(reason);
            assert_eq!(finding.code, code);
            assert!(finding.fix.contains(setting) || finding.problem.contains(setting), "{finding}");
        }
    }
}
