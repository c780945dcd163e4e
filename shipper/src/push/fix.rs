//! What a reader of the log, or of `/status`, has to do about trouble.

use super::answer::Trouble;

/// An attempt that was not acknowledged.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Why.
    pub trouble: &'a Trouble,
    /// What was answered, or what kept an answer from coming.
    pub answer: &'a str,
    /// What somebody has to do about it.
    pub fix: &'a str,
}

/// What is known of a failed push.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// Why it failed.
    pub(super) trouble: &'a Trouble,
    /// What was answered.
    pub(super) answer: &'a str,
    /// The tenant, where the URL names one.
    pub(super) tenant: Option<&'a str>,
    /// Whom the token is for, as it says itself.
    pub(super) subject: Option<&'a str>,
    /// Whether the very token was accepted before, and has not expired.
    pub(super) token_was_accepted: bool,
}

/// In words.
pub(super) fn fix(case: &Case<'_>) -> String {
    let words = match case.trouble {
        Trouble::Forbidden => return missing_permission(case),
        Trouble::Login if case.token_was_accepted => {
            "the gateway accepted this token before, and it has not expired: the gateway may not reach the API server; \
             look at the API server first, and at the token if this lasts"
        }
        Trouble::Login => {
            "the gateway does not accept the token: check that --token-file is the projected token, that it is \
             not expired, and that its volume sets no audience"
        }
        Trouble::NoToken => {
            "there is no token to send: check that --token-file names the projected token and that the container mounts \
             its volume"
        }
        Trouble::Unauthorized if case.answer.contains("tenant not found") => return unknown_tenant(case.tenant),
        Trouble::Unauthorized => return unauthorized(case.tenant),
        Trouble::WrongUrl => "check --loki-url: it must be the full push URL, ending in /loki/api/v1/push",
        Trouble::PlainHttp => "write https:// in --loki-url: this port speaks TLS",
        Trouble::Blocked => "Loki takes no entries of this tenant: check its ingestion limits and blocks",
        Trouble::BadRequest => {
            "Loki, or a proxy before it, refuses the request as such: check --loki-url and --label, and report this if \
             both are good"
        }
        Trouble::Throttled { .. } => "none needed unless it lasts: then raise the tenant's ingestion rate",
        Trouble::GatewayBusy(_) => {
            "none needed unless it lasts: the gateway answers too many requests at once; then give it more replicas"
        }
        Trouble::TooNew => {
            "none needed if it passes: Loki takes these entries once their time has come; if it lasts, set the clock of \
             this node and of Loki's nodes right"
        }
        Trouble::Gateway(_) => {
            "none needed unless it lasts: the gateway's authorization (OPA) does not answer; then look at the gateway's \
             pods, not at Loki"
        }
        Trouble::Unavailable(_) => {
            "none needed unless it lasts: then look at Loki itself, and at the gateway where the answer is empty"
        }
        Trouble::NoAnswer => {
            "check that the address in --loki-url can be reached and that --ca-file holds the CA that signed \
             its certificate (on OpenShift: service-ca.crt)"
        }
        Trouble::Unexpected => "this URL does not answer like Loki: check --loki-url",
    };
    words.to_owned()
}

fn missing_permission(case: &Case<'_>) -> String {
    let account = case.subject.and_then(|subject| subject.strip_prefix("system:serviceaccount:")?.split_once(':'));
    let tenant = case.tenant.unwrap_or("TENANT");
    let (namespace, name) = account.unwrap_or(("NAMESPACE", "SERVICEACCOUNT"));
    format!(
        "ServiceAccount {name} of namespace {namespace} lacks the permission to create {tenant}.loki.grafana.com/logs, \
         cluster-wide; grant it with: redis-log-webhook rbac --namespace {namespace} --service-account {name} \
         --tenant {tenant} | kubectl apply -f - (the gateway remembers a refusal for 60 seconds)"
    )
}

fn unknown_tenant(tenant: Option<&str>) -> String {
    format!("the gateway knows no tenant {}: correct the tenant in --loki-url", tenant.unwrap_or("in this URL"))
}

fn unauthorized(tenant: Option<&str>) -> String {
    format!(
        "the gateway knows no tenant {}, is still starting, or cannot reach the API server: check the tenant in --loki-url",
        tenant.unwrap_or("in this URL")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case<'_> = Case {
        trouble: &Trouble::Forbidden,
        answer: "",
        tenant: Some("application"),
        subject: Some("system:serviceaccount:redis:rec"),
        token_was_accepted: false,
    };

    #[test]
    fn names_the_missing_permission_and_the_command_that_grants_it() {
        let fix = fix(&CASE);
        for part in [
            "ServiceAccount rec of namespace redis",
            "create application.loki.grafana.com/logs",
            "redis-log-webhook rbac --namespace redis --service-account rec --tenant application",
        ] {
            assert!(fix.contains(part), "{part} missing in: {fix}");
        }
    }

    #[test]
    fn does_not_blame_a_token_alone_that_was_accepted_before() {
        let login = Case { trouble: &Trouble::Login, ..CASE };
        assert!(fix(&login).contains("does not accept the token"));
        assert!(fix(&Case { token_was_accepted: true, ..login }).contains("look at the API server first"));
    }

    #[test]
    fn names_a_tenant_that_the_gateway_does_not_know() {
        let answer = "401 Unauthorized: tenant not found, have you registered it?";
        let fix = fix(&Case { trouble: &Trouble::Unauthorized, answer, ..CASE });
        assert_eq!(fix, "the gateway knows no tenant application: correct the tenant in --loki-url");
    }
}
