//! A self-signed certificate in one Secret for all replicas, and its CA certificate in the webhook configuration.
//!
//! The first replica that writes wins. A write names the version that was read, and a replica whose version is outdated
//! reads again. So there is one CA, and not one per replica. `rotation` decides what to write.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::issue::{IssueError, PemPair};
use crate::read::{CERT_FILE, KEY_FILE};
use crate::rotation::{self, CaKey, Kept, Lifetimes};

const CA_CERT: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
/// The limit for attempts. Replicas start together, and every attempt except the first follows another replica's success.
const ATTEMPTS: usize = 10;

/// Why a certificate could not be stored or published.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The Secret could not be read or written.
    #[error("failed to {what} the Secret {namespace}/{name}")]
    Secret {
        /// The attempted action.
        what: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's error.
        source: kube::Error,
    },
    /// Other writers changed the Secret before each attempt.
    #[error("failed to write the Secret {namespace}/{name}: others changed it {ATTEMPTS} times in between")]
    Contended {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The webhook configuration could not be read or patched.
    #[error("failed to {what} the MutatingWebhookConfiguration {name}")]
    Configuration {
        /// The attempted action.
        what: &'static str,
        /// Its name.
        name: String,
        /// The API server's error.
        source: kube::Error,
    },
}

/// Where a self-signed certificate is stored, and where its CA certificate is published.
#[derive(Clone)]
pub struct SelfSigned {
    /// The API server.
    pub client: kube::Client,
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The `MutatingWebhookConfiguration` whose `caBundle` is set.
    pub configuration: String,
    /// The DNS names and IP addresses of the certificate.
    pub names: Vec<String>,
    /// The lifetimes of certificates.
    pub lifetimes: Lifetimes,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// Updates the Secret as of `now`, publishes its CA certificates, and returns its content.
    ///
    /// The configuration is read before the Secret, and patched only if it has not changed since. So a slow replica cannot
    /// overwrite a newer bundle with an older one.
    pub async fn keep(&self, now: SystemTime) -> Result<Kept, KeepError> {
        let configuration = self.configuration().await?;
        let kept = self.keep_secret(now).await?;
        if let Some(configuration) = configuration {
            self.publish(&configuration, &kept.bundle).await?;
        } else {
            tracing::debug!(name = self.configuration, "the MutatingWebhookConfiguration does not exist yet");
        }
        Ok(kept)
    }

    async fn keep_secret(&self, now: SystemTime) -> Result<Kept, KeepError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        for _ in 0..ATTEMPTS {
            let secret = api.get_opt(&self.secret).await.map_err(|source| self.secret_error("read", source))?;
            let kept = secret.as_ref().and_then(read);
            let Some((change, new)) = rotation::next(kept.as_ref(), &names, &self.lifetimes, now)? else {
                if let Some(kept) = kept {
                    return Ok(kept);
                }
                continue;
            };
            let written = match secret {
                None => api.create(&PostParams::default(), &self.filled(Secret::default(), &new)).await,
                Some(secret) => api.replace(&self.secret, &PostParams::default(), &self.filled(secret, &new)).await,
            };
            match written {
                Ok(_) => tracing::info!(secret = self.secret, ?change, "issued a certificate"),
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                    tracing::info!(secret = self.secret, "another replica wrote the Secret first; reading it again");
                }
                Err(source) => return Err(self.secret_error("write", source)),
            }
        }
        Err(KeepError::Contended { namespace: self.namespace.clone(), name: self.secret.clone() })
    }

    /// `secret` with the content of `kept`. Its other fields (labels, version) stay.
    fn filled(&self, mut secret: Secret, kept: &Kept) -> Secret {
        secret.metadata.name = Some(self.secret.clone());
        secret.type_.get_or_insert_with(|| "kubernetes.io/tls".to_owned());
        let entries = [
            (CERT_FILE, &kept.pair.cert),
            (KEY_FILE, &kept.pair.key),
            (CA_CERT, &kept.bundle),
            (CA_KEY, &kept.ca_key.0),
        ];
        let data = secret.data.get_or_insert_with(BTreeMap::new);
        data.extend(entries.map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))));
        secret
    }

    async fn configuration(&self) -> Result<Option<DynamicObject>, KeepError> {
        let found = self.configurations().get_opt(&self.configuration).await;
        found.map_err(|source| self.configuration_error("read", source))
    }

    /// The type is dynamic, so that unknown fields survive.
    fn configurations(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    async fn publish(&self, configuration: &DynamicObject, bundle: &str) -> Result<(), KeepError> {
        let bundle = STANDARD.encode(bundle);
        let webhooks = configuration.data.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        let mut operations: Vec<_> = webhooks
            .enumerate()
            .filter(|(_, webhook)| webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str) != Some(&bundle))
            .map(|(i, _)| json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        if operations.is_empty() {
            return Ok(());
        }
        // If the version is outdated, the API server answers 409.
        let version = &configuration.metadata.resource_version;
        operations.push(json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version}));
        let patch = serde_json::from_value(Value::Array(operations)).map(Patch::<()>::Json);
        let patch = patch.map_err(|source| self.configuration_error("patch", kube::Error::SerdeError(source)))?;
        match self.configurations().patch(&self.configuration, &PatchParams::default(), &patch).await {
            Ok(_) => tracing::info!(name = self.configuration, "set the caBundle of the MutatingWebhookConfiguration"),
            // Another replica wrote first. The next check follows soon.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            Err(source) => return Err(self.configuration_error("patch", source)),
        }
        Ok(())
    }

    fn secret_error(&self, what: &'static str, source: kube::Error) -> KeepError {
        KeepError::Secret { what, namespace: self.namespace.clone(), name: self.secret.clone(), source }
    }

    fn configuration_error(&self, what: &'static str, source: kube::Error) -> KeepError {
        KeepError::Configuration { what, name: self.configuration.clone(), source }
    }
}

/// The content of the Secret; `None` if a part is missing.
fn read(secret: &Secret) -> Option<Kept> {
    let text = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    Some(Kept {
        bundle: text(CA_CERT)?,
        ca_key: CaKey(text(CA_KEY)?),
        pair: PemPair { cert: text(CERT_FILE)?, key: text(KEY_FILE)? },
    })
}
