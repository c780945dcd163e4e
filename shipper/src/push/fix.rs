//! What whoever reads the log, or `/status`, has to do about trouble.

use crate::answer::Trouble;

/// In words, for a tenant where the URL names one and whom the token is for where it says so.
pub(super) fn fix(trouble: &Trouble, tenant: Option<&str>, subject: Option<&str>) -> String {
    let account = subject.and_then(|subject| subject.strip_prefix("system:serviceaccount:")?.split_once(':'));
    match trouble {
        Trouble::Forbidden => {
            let tenant = tenant.unwrap_or("TENANT");
            let (namespace, name) = account.unwrap_or(("NAMESPACE", "SERVICEACCOUNT"));
            format!(
                "ServiceAccount {name} of namespace {namespace} lacks the permission to create {tenant}.loki.grafana.com/logs, \
                 cluster-wide; grant it with: redis-log-webhook rbac --namespace {namespace} --service-account {name} \
                 --tenant {tenant} | kubectl apply -f - (the gateway remembers a refusal for 60 seconds)"
            )
        }
        Trouble::Login => {
            "the gateway does not accept the token: check that --token-file is the projected token, that it is \
             not expired, and that its volume sets no audience"
                .to_owned()
        }
        Trouble::Unauthorized => format!(
            "the gateway knows no tenant {}, is still starting, or cannot reach the API server: check the tenant in --loki-url",
            tenant.unwrap_or("in this URL")
        ),
        Trouble::WrongUrl => "check --loki-url: it must be the full push URL, ending in /loki/api/v1/push".to_owned(),
        Trouble::Blocked => "Loki takes no entries of this tenant: check its ingestion limits and blocks".to_owned(),
        Trouble::BadRequest => {
            "Loki, or a proxy before it, refuses the request as such: check --loki-url and --label, and report this if \
             both are good"
                .to_owned()
        }
        Trouble::Throttled { .. } => "none needed unless it lasts: then raise the tenant's ingestion rate".to_owned(),
        Trouble::TooNew => {
            "none needed if it passes: Loki takes these entries once their time has come; if it lasts, set the clock of \
             this node and of Loki's nodes right"
                .to_owned()
        }
        Trouble::Unavailable(_) => "none needed unless it lasts: then look at Loki itself".to_owned(),
        Trouble::NoAnswer => {
            "check that the address in --loki-url can be reached and that --ca-file holds the CA that signed \
             its certificate (on OpenShift: service-ca.crt)"
                .to_owned()
        }
        Trouble::Unexpected => "this answer is not Loki's: check --loki-url".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_permission_and_the_command_that_grants_it() {
        let fix = fix(&Trouble::Forbidden, Some("application"), Some("system:serviceaccount:redis:rec"));
        for part in [
            "ServiceAccount rec of namespace redis",
            "create application.loki.grafana.com/logs",
            "redis-log-webhook rbac --namespace redis --service-account rec --tenant application",
        ] {
            assert!(fix.contains(part), "{part} missing in: {fix}");
        }
    }
}
