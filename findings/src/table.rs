//! The table of all findings. docs/troubleshooting.md is made of it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::code::{Code, Severity};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The variant.
    pub code: Code,
    /// Its text.
    pub text: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in general.
    pub title: &'static str,
    /// Why.
    pub cause: &'static str,
    /// What to do.
    pub fix: &'static str,
}

const fn row(
    code: Code,
    text: &'static str,
    severity: Severity,
    title: &'static str,
    cause: &'static str,
    fix: &'static str,
) -> Row {
    Row { code, text, severity, title, cause, fix }
}

/// Every code, in order: 1xx the installation, 2xx namespaces and pods, 3xx the gateway, 4xx Loki's limits, 5xx log files and
/// state.
pub static ALL: &[Row] = &[
    // The installation
    row(
        Code::WebhookMissing,
        "RLS101",
        Severity::Error,
        "The webhook is not installed",
        "The cluster has no MutatingWebhookConfiguration `redis-log-shipper`.",
        "Apply an overlay: `kubectl apply -k manifests/overlays/openshift` (or `plain`).",
    ),
    row(
        Code::WebhookUnreachable,
        "RLS102",
        Severity::Error,
        "The API server cannot reach the webhook",
        "No pod of the webhook is Ready, its Service has no endpoints, or a NetworkPolicy blocks port 8443. The API server then creates pods without the sidecar.",
        "Run `kubectl --namespace redis-log-shipper get pods,endpointslices`, and look at the log of the pod that is not Ready.",
    ),
    row(
        Code::CaBundleMismatch,
        "RLS103",
        Severity::Error,
        "The caBundle does not match the certificate",
        "The `caBundle` of the MutatingWebhookConfiguration did not sign the certificate that the webhook serves. The API server then creates pods without the sidecar.",
        "Let the component that issues the certificate write the caBundle again: restart the webhook (`self-signed`), or check the annotation that the service CA or cert-manager reads.",
    ),
    row(
        Code::CertificateExpired,
        "RLS104",
        Severity::Error,
        "The serving certificate has expired",
        "Nothing renewed the certificate in time, or a pod serves an old one.",
        "Renew it: restart the webhook (`self-signed`), delete its Secret (service CA), or check the Certificate (cert-manager).",
    ),
    row(
        Code::CertificateExpiresSoon,
        "RLS105",
        Severity::Warning,
        "The serving certificate expires soon",
        "Nothing has renewed the certificate though less than a third of its life is left.",
        "Look at the log of the webhook, the service CA or cert-manager for the reason.",
    ),
    row(
        Code::SelectorMatchesNothing,
        "RLS106",
        Severity::Warning,
        "The selectors of the webhook match nothing",
        "No namespace has the label `redis-log-shipper.io/inject: enabled`, or somebody changed the selectors of the MutatingWebhookConfiguration.",
        "Label a namespace: `kubectl label namespace NAMESPACE redis-log-shipper.io/inject=enabled`, and apply the manifests again where the selectors differ.",
    ),
    row(
        Code::ConfigurationInvalid,
        "RLS107",
        Severity::Error,
        "The configuration of the webhook is invalid",
        "The ConfigMap holds a file that cannot be used. The webhook keeps the last valid one.",
        "Correct the line that the finding names. `redis-log-webhook check -f config.yaml` checks a file before you apply it.",
    ),
    row(
        Code::ApiServerTooOld,
        "RLS108",
        Severity::Error,
        "The API server is too old",
        "The webhook needs Kubernetes 1.27 or newer.",
        "Upgrade the cluster, or use the offline command `redis-log-webhook inject`.",
    ),
    row(
        Code::MayNotInstall,
        "RLS109",
        Severity::Error,
        "You may not install the webhook",
        "Your account lacks a permission that the manifests need.",
        "Ask a cluster administrator to apply the manifests, or to grant the permission that the finding names.",
    ),
    row(
        Code::MayNotRead,
        "RLS110",
        Severity::Warning,
        "A check was not possible",
        "Your account may not read the object that the check needs.",
        "Grant the permission that the finding names, or run the command with another account.",
    ),
    row(
        Code::RegistrationDiffers,
        "RLS111",
        Severity::Warning,
        "The registration of the webhook is not the one of the manifests",
        "Somebody changed `failurePolicy`, `timeoutSeconds` or `reinvocationPolicy` of the MutatingWebhookConfiguration. With `failurePolicy: Fail`, an unreachable webhook keeps database pods from being created.",
        "Apply the manifests again: `kubectl apply -k manifests/overlays/openshift` (or `plain`).",
    ),
    // Namespaces and pods
    row(
        Code::NamespaceNotLabelled,
        "RLS201",
        Severity::Warning,
        "The namespace is not labelled",
        "The namespace has Redis Enterprise pods and lacks the label `redis-log-shipper.io/inject: enabled`.",
        "`kubectl label namespace NAMESPACE redis-log-shipper.io/inject=enabled`, then restart the pods: `redis-log-webhook rollout NAMESPACE`.",
    ),
    row(
        Code::PodOlderThanLabel,
        "RLS202",
        Severity::Warning,
        "The pod was created before its namespace was labelled",
        "The webhook sees pods only when they are created.",
        "Restart the pods: `redis-log-webhook rollout NAMESPACE`.",
    ),
    row(
        Code::PodWithoutSidecar,
        "RLS203",
        Severity::Warning,
        "The pod has no sidecar",
        "The pod was created while the API server could not reach the webhook.",
        "Fix what kept the webhook away (RLS102, RLS103), then restart the pods: `redis-log-webhook rollout NAMESPACE`.",
    ),
    row(
        Code::NoLogMount,
        "RLS204",
        Severity::Error,
        "No volume is mounted over the log directory",
        "The logs lie on the container's own file system, where no sidecar can read them. Persistence of the RedisEnterpriseCluster may be off.",
        "Set `spec.persistentSpec.enabled: true` in the RedisEnterpriseCluster, or mount a volume at the log directory.",
    ),
    row(
        Code::InvalidAnnotation,
        "RLS205",
        Severity::Warning,
        "An annotation of the pod is invalid",
        "The value of a `redis-log-shipper.io/` annotation cannot be used. The webhook uses the default.",
        "Correct the value as the finding says.",
    ),
    row(
        Code::ImageNotAllowed,
        "RLS206",
        Severity::Warning,
        "The image is not allowed",
        "The annotation `redis-log-shipper.io/image` names an image that `allowedImages` of the configuration does not match. The webhook uses the configured image.",
        "Remove the annotation, or add the image to `allowedImages`.",
    ),
    row(
        Code::LokiUrlNotAllowed,
        "RLS207",
        Severity::Warning,
        "The Loki URL is not allowed",
        "The annotation `redis-log-shipper.io/loki-url` names a URL that `allowedLokiUrls` of the configuration does not match. The webhook uses the configured URL.",
        "Remove the annotation, or add the URL to `allowedLokiUrls`.",
    ),
    row(
        Code::Drift,
        "RLS208",
        Severity::Info,
        "The sidecar is of another version or configuration",
        "The webhook or its configuration has changed since the pod was created.",
        "Restart the pods when it suits: `redis-log-webhook rollout NAMESPACE`.",
    ),
    row(
        Code::SteppedAside,
        "RLS209",
        Severity::Warning,
        "The pod was refused with the sidecar, and runs without it",
        "A LimitRange, a ResourceQuota or a policy refused the pod with the sidecar.",
        "Change what the refusal names, as the Event of the owner says. The webhook tries again after an hour, or when its configuration changes.",
    ),
    row(
        Code::FuseBlown,
        "RLS210",
        Severity::Warning,
        "A sidecar in the namespace does not start",
        "Its image cannot be pulled, or its container cannot be created. New pods of the namespace get no sidecar.",
        "Correct `image` or `imagePullSecrets`, then restart the pod whose sidecar does not start.",
    ),
    row(
        Code::NoRoom,
        "RLS211",
        Severity::Warning,
        "A LimitRange leaves no room for the sidecar",
        "The smallest container that the LimitRange allows does not fit below the maximum of the pod.",
        "Raise the maximum of the LimitRange.",
    ),
    row(
        Code::NameTaken,
        "RLS212",
        Severity::Warning,
        "The pod has its own container named log-shipper",
        "Somebody added a container by hand.",
        "Remove it from the RedisEnterpriseCluster (docs/migration.md).",
    ),
    row(
        Code::SidecarRestarts,
        "RLS213",
        Severity::Warning,
        "The sidecar restarts",
        "Its container has ended several times: too little memory, or a fault of the program.",
        "`kubectl logs POD --container log-shipper --previous`, and raise `resources.memory` where it was killed for memory.",
    ),
    row(
        Code::RolloutStopped,
        "RLS214",
        Severity::Error,
        "A restarted pod does not become Ready",
        "The rollout stopped at this pod, so that no further database pod is restarted.",
        "`kubectl describe pod POD`; run the same command again once the pod is Ready.",
    ),
    row(
        Code::ReservedNamespace,
        "RLS215",
        Severity::Warning,
        "The namespace is reserved",
        "The webhook never injects pods of `default`, `kube-*`, `openshift-*` and its own namespace, whatever their labels say.",
        "Move the Redis Enterprise cluster to another namespace, or remove the label.",
    ),
    row(
        Code::EvictionRefused,
        "RLS216",
        Severity::Error,
        "A PodDisruptionBudget refuses the restart",
        "The budget allows no disruption now: too few pods that it selects are healthy, or it never allows one.",
        "Wait until the pods of the budget are healthy, or raise `maxUnavailable` of the PodDisruptionBudget that the finding names; run the same command again.",
    ),
    // The gateway
    row(
        Code::MayNotPush,
        "RLS301",
        Severity::Error,
        "The ServiceAccount may not push to the tenant",
        "The gateway answers 403: the ServiceAccount lacks the permission to create `TENANT.loki.grafana.com/logs`, cluster-wide. A RoleBinding is not enough.",
        "`redis-log-webhook rbac --namespace NAMESPACE --service-account SERVICEACCOUNT --tenant TENANT | kubectl apply -f -`. Without our program, for the tenant `application`, where the role exists: `oc adm policy add-cluster-role-to-user cluster-logging-write-application-logs -z SERVICEACCOUNT -n NAMESPACE`. The gateway caches a refusal for 60 seconds.",
    ),
    row(
        Code::RoleBindingOnly,
        "RLS302",
        Severity::Error,
        "A RoleBinding grants the permission, where a ClusterRoleBinding is needed",
        "The gateway asks for the permission cluster-wide, and a RoleBinding grants it in one namespace only.",
        "Replace the RoleBinding by a ClusterRoleBinding: `redis-log-webhook rbac --namespace NAMESPACE --service-account SERVICEACCOUNT --tenant TENANT | kubectl apply -f -`.",
    ),
    row(
        Code::BindingOfAnotherAccount,
        "RLS303",
        Severity::Error,
        "The binding names another ServiceAccount",
        "A ClusterRoleBinding grants the permission, but not to the ServiceAccount of the pod.",
        "Add the ServiceAccount of the pod as a subject: `redis-log-webhook rbac --namespace NAMESPACE --service-account SERVICEACCOUNT --tenant TENANT | kubectl apply -f -`.",
    ),
    row(
        Code::UnknownTenant,
        "RLS304",
        Severity::Error,
        "The gateway does not know the tenant",
        "The gateway answers 401 `tenant not found`: the tenant in the push URL is misspelled, or the LokiStack has another mode. A gateway answers 401 also while it starts.",
        "Correct `tenant` in the configuration or the annotation. A LokiStack in mode `openshift-logging` has `application`, `infrastructure` and `audit`.",
    ),
    row(
        Code::TokenRefused,
        "RLS305",
        Severity::Error,
        "The gateway does not accept the token",
        "The gateway answers 302, or 401 in a cluster without an OAuth server: the token has expired, is for another audience, or is not a ServiceAccount token of this cluster.",
        "Use the projected token without an audience, as the webhook mounts it, and look at the clock of the node.",
    ),
    row(
        Code::NoToken,
        "RLS306",
        Severity::Error,
        "There is no token to send",
        "The file of `--token-file` does not exist, is empty or too large. Or `--token-file` is not set, and the gateway requires a token.",
        "Check that `--token-file` names the projected token, and that the container mounts its volume.",
    ),
    row(
        Code::UntrustedCertificate,
        "RLS307",
        Severity::Error,
        "The certificate of the gateway is not trusted",
        "No file of `--ca-file` holds the CA that signed it, or the certificate has expired or is for another name. The finding says which.",
        "Add the CA to `caFiles` (on OpenShift the service CA: `openshift-service-ca.crt`).",
    ),
    row(
        Code::Unreachable,
        "RLS308",
        Severity::Error,
        "The gateway or Loki cannot be reached",
        "The name cannot be resolved, the connection is refused, or nothing answers in time.",
        "Check the host and port of the URL, and the NetworkPolicies between the pod and the gateway.",
    ),
    row(
        Code::WrongPath,
        "RLS309",
        Severity::Error,
        "The path of the URL is wrong",
        "The server answers 404 or 405: it has no push endpoint at this path.",
        "Use the full push URL, which ends in `/loki/api/v1/push`. For a LokiStack: `https://HOST:8080/api/logs/v1/TENANT/loki/api/v1/push`.",
    ),
    row(
        Code::PlainHttp,
        "RLS310",
        Severity::Error,
        "The scheme of the URL does not fit the port",
        "The URL says http, and the port speaks TLS; or the URL says https, and the port speaks plain http.",
        "Write the other scheme in the URL. The gateway of a LokiStack speaks TLS: `https://`.",
    ),
    row(
        Code::NotLoki,
        "RLS311",
        Severity::Error,
        "The server does not answer like Loki",
        "A proxy, a login page or another program answers at this URL.",
        "Check the URL.",
    ),
    row(
        Code::GatewayCannotAsk,
        "RLS312",
        Severity::Warning,
        "The gateway cannot ask for the permission",
        "The gateway, or the OPA beside it, does not reach the API server. It answers 500 `observatorium-api`, or refuses a token that it accepted before.",
        "Nothing, unless it lasts. Then look at the pods of the gateway, not at Loki.",
    ),
    row(
        Code::GatewayBusy,
        "RLS313",
        Severity::Warning,
        "The gateway is busy",
        "It answers 429 `Server capacity exceeded.`: it answers as many requests at once as it can.",
        "Nothing, unless it lasts. Then give the gateway more replicas.",
    ),
    row(
        Code::LokiUnavailable,
        "RLS314",
        Severity::Warning,
        "Loki is not available",
        "The answer is 5xx: Loki restarts, is overloaded, or a part of it is down. An old gateway answers 500 without text when its OPA is down.",
        "Nothing, unless it lasts. Then look at Loki itself.",
    ),
    // Limits of Loki
    row(
        Code::StreamLimit,
        "RLS401",
        Severity::Error,
        "The tenant has too many streams",
        "Loki answers 429 `Maximum active stream limit exceeded` to new streams of the tenant.",
        "Raise `max_global_streams_per_user` in `limits_config`. On a LokiStack: `maxGlobalStreamsPerTenant` in `spec.limits.tenants.TENANT.ingestion` or `spec.limits.global.ingestion`. Or narrow `include`.",
    ),
    row(
        Code::StreamRateLimit,
        "RLS402",
        Severity::Warning,
        "One stream is too fast",
        "Loki answers 429 `Per stream rate limit exceeded`: a file is written faster than Loki allows for one stream.",
        "Nothing, unless it lasts. Then raise `per_stream_rate_limit` and `per_stream_rate_limit_burst` in `limits_config`. On a LokiStack: `perStreamRateLimit` and `perStreamRateLimitBurst` in `spec.limits.tenants.TENANT.ingestion` or `spec.limits.global.ingestion`.",
    ),
    row(
        Code::IngestionRateLimit,
        "RLS403",
        Severity::Warning,
        "The tenant is too fast",
        "Loki answers 429 `Ingestion rate limit exceeded`: all senders of the tenant together exceed its rate.",
        "Nothing, unless it lasts. Then raise `ingestion_rate_mb` and `ingestion_burst_size_mb` in `limits_config`. On a LokiStack: `ingestionRate` and `ingestionBurstSize` in `spec.limits.tenants.TENANT.ingestion` or `spec.limits.global.ingestion`. `--rate-limit` slows the shipper.",
    ),
    row(
        Code::LinesTooOld,
        "RLS404",
        Severity::Warning,
        "Lines are too old for Loki",
        "Loki rejects entries that are older than `reject_old_samples_max_age` (168 h by default), or that lie further behind the newest entry of their stream than half of `max_chunk_age`.",
        "Raise the limit that the finding names, and `maxAge` of the shipper, before the files are shipped.",
    ),
    row(
        Code::LinesTooNew,
        "RLS405",
        Severity::Warning,
        "Lines lie ahead of the clock of Loki",
        "The clock of the node is ahead of the clock of Loki by more than ten minutes.",
        "Correct the clocks. The lines are pushed once Loki accepts their time.",
    ),
    row(
        Code::IngestionBlocked,
        "RLS406",
        Severity::Error,
        "Loki blocks the tenant",
        "`block_ingestion_until` or a policy of Loki blocks the tenant.",
        "Remove the block in `limits_config`.",
    ),
    row(
        Code::RequestRefused,
        "RLS407",
        Severity::Error,
        "Loki refuses the request as a whole",
        "A label is invalid or a required label is missing, or a proxy changes the request.",
        "Check `--label` and the URL; report a bug if both are valid.",
    ),
    row(
        Code::Throttled,
        "RLS408",
        Severity::Warning,
        "Loki asks to push more slowly",
        "The answer is 429 without a limit that we know.",
        "Nothing, unless it lasts. Then look at the limits of the tenant.",
    ),
    row(
        Code::EntriesRejected,
        "RLS409",
        Severity::Warning,
        "Loki rejected entries for good",
        "Loki stored the other entries of the push. `reason` of `redis_log_shipper_entries_rejected_total` says why it rejected these.",
        "See the table of reasons in docs/metrics.md.",
    ),
    // Log files and state
    row(
        Code::LogsUnreadable,
        "RLS501",
        Severity::Error,
        "Log files cannot be read",
        "The user of the sidecar may not read the files, or the volume fails.",
        "Let the sidecar run with the group of the files: set `fsGroup` in the security context of the pod.",
    ),
    row(
        Code::NoLogDirectory,
        "RLS502",
        Severity::Error,
        "The log directory does not exist or cannot be read",
        "`--log-dir` names another directory than the one with the logs.",
        "Correct `logDir` of the configuration.",
    ),
    row(
        Code::StateNotWritable,
        "RLS503",
        Severity::Warning,
        "The state directory cannot be written",
        "Positions are kept in the fallback directory, which ends with the pod, or not at all.",
        "Set `fsGroup` in the security context of the pod, or the annotation `redis-log-shipper.io/state: ephemeral`.",
    ),
    row(
        Code::LossAhead,
        "RLS504",
        Severity::Warning,
        "Lines will be deleted before they are shipped",
        "Redis Enterprise deletes rotated files by size and age, and the shipper is behind.",
        "Fix what holds the push (another finding says what), or raise the limits of Loki.",
    ),
    row(
        Code::LinesLost,
        "RLS505",
        Severity::Warning,
        "Lines were deleted before they were shipped",
        "The files were rotated away or truncated while the push was held.",
        "Nothing brings them back. Fix what held the push.",
    ),
    row(
        Code::SettingsInvalid,
        "RLS506",
        Severity::Error,
        "The settings are invalid",
        "A flag or a variable of the sidecar cannot be used.",
        "Correct the values that the finding names, and restart.",
    ),
    row(
        Code::StateInUse,
        "RLS507",
        Severity::Error,
        "Another shipper uses the state directory",
        "Two sidecars or a second process share one directory.",
        "End the other process, or use another `--state-dir`.",
    ),
    row(
        Code::ClockSkew,
        "RLS508",
        Severity::Warning,
        "The clock differs from the clock of the server",
        "More than a minute lies between this clock and the `Date` of the answer.",
        "Correct the clock of the node.",
    ),
    row(
        Code::RuntimeConfigInvalid,
        "RLS509",
        Severity::Warning,
        "The runtime configuration is invalid",
        "The ConfigMap `redis-log-shipper` of the namespace, or the file of `--runtime-config`, has an error. The last valid \
         content stays in use, or the flags without one.",
        "Correct the lines that the finding names. No restart is needed.",
    ),
];

impl Code {
    /// The code as text, such as `RLS301`.
    pub fn as_str(self) -> &'static str {
        self.row().map_or("RLS000", |row| row.text)
    }

    /// The code of this text; `None` if this version does not know it.
    pub fn parse(text: &str) -> Option<Self> {
        ALL.iter().find(|row| row.text == text).map(|row| row.code)
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.row().map_or(Severity::Error, |row| row.severity)
    }

    /// What is wrong, in general.
    pub fn title(self) -> &'static str {
        self.row().map_or("", |row| row.title)
    }

    /// What to do, with placeholders in capitals.
    pub fn fix(self) -> &'static str {
        self.row().map_or("", |row| row.fix)
    }

    fn row(self) -> Option<&'static Row> {
        ALL.iter().find(|row| row.code == self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_row_in_order_and_one_text_for_each_code() {
        let texts: Vec<_> = ALL.iter().map(|row| row.text).collect();
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
        assert!(ALL.iter().map(|row| row.code).is_sorted_by(|a, b| a < b));
        assert!(texts.iter().all(|text| text.len() == 6 && text.starts_with("RLS")), "{texts:?}");
        assert!(ALL.iter().all(|row| Code::parse(row.text) == Some(row.code)) && Code::parse("RLS000").is_none());
        // The last variant has the highest number, so that no variant lacks a row.
        assert_eq!(Code::RuntimeConfigInvalid as usize + 1, ALL.len());
    }
}
