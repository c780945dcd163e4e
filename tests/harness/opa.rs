//! Replaces opa-openshift, the gateway's helper that decides who may read or write a tenant. It asks a real API server the same
//! question, a SubjectAccessReview without a namespace, and caches the answer for the same time.
//!
//! It is the only part of the gateway that is not real.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use axum_server::Handle;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long opa-openshift caches an answer, allowed or not.
pub const MEMORY: Duration = Duration::from_mins(1);
const PATH: &str = "/v1/data/lokistack/allow";

/// A running helper. It ends when it is dropped.
#[derive(Debug)]
pub struct Opa {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
}

struct Inner {
    kubernetes: kube::Client,
    memory: Duration,
    remembered: Mutex<HashMap<Question, (Instant, bool)>>,
}

#[derive(Deserialize)]
struct Request {
    input: Question,
}

/// The gateway's question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
struct Question {
    subject: String,
    #[serde(default)]
    groups: Vec<String>,
    permission: String,
    resource: String,
    tenant: String,
}

impl Opa {
    /// Starts a helper that asks `kubernetes` and caches each answer for `memory`.
    pub async fn start(kubernetes: kube::Client, memory: Duration) -> anyhow::Result<Self> {
        let inner = Inner { kubernetes, memory, remembered: Mutex::default() };
        let routes = Router::new().route(PATH, post(allow)).with_state(Arc::new(inner));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener)?.handle(handle.clone());
        tokio::spawn(server.serve(routes.into_make_service()));
        let address = handle.listening().await.context("the gateway's helper does not listen")?;
        Ok(Self { address, handle })
    }

    /// The URL for the gateway's questions.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Ends it, as when its container crashes.
    pub fn stop(&self) {
        self.handle.shutdown();
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn allow(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Json<Value>, StatusCode> {
    let question = request.input;
    if !headers.contains_key("x-forwarded-access-token") {
        return Err(StatusCode::BAD_REQUEST);
    }
    if let Some(allowed) = inner.recall(&question) {
        return Ok(Json(json!({"result": allowed})));
    }
    let review = review_of(&question).ok_or(StatusCode::BAD_REQUEST)?;
    let reviews: Api<SubjectAccessReview> = Api::all(inner.kubernetes.clone());
    // opa-openshift answers 401 if the API server does not answer.
    let Ok(review) = reviews.create(&PostParams::default(), &review).await else {
        return Err(StatusCode::UNAUTHORIZED);
    };
    let allowed = review.status.is_some_and(|status| status.allowed);
    inner.remember(question, allowed);
    Ok(Json(json!({"result": allowed})))
}

impl Inner {
    fn recall(&self, question: &Question) -> Option<bool> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, allowed) = remembered.get(question)?;
        (asked.elapsed() < self.memory).then_some(*allowed)
    }

    fn remember(&self, question: Question, allowed: bool) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.insert(question, (Instant::now(), allowed));
    }
}

fn review_of(question: &Question) -> Option<SubjectAccessReview> {
    let verb = match question.permission.as_str() {
        "read" => "get",
        "write" => "create",
        _ => return None,
    };
    let resource =
        json!({"group": "loki.grafana.com", "resource": question.tenant, "name": question.resource, "verb": verb});
    let spec = json!({"user": question.subject, "groups": question.groups, "resourceAttributes": resource});
    serde_json::from_value(json!({"spec": spec})).ok()
}
