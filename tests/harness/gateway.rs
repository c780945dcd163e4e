//! Stands for OpenShift Logging's gateway in front of Loki (observatorium/api with opa-openshift): the same URLs, the
//! same answers, and the same two questions to a real API server, a TokenReview without audiences and one
//! SubjectAccessReview without a namespace. It is the one stand-in of these tests.
//!
//! Unlike the real one it remembers nothing, so a granted permission counts at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use certs::Authority;
use http_body_util::Full;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use runtime::tls::HttpClient;
use serde_json::{Value, json};

use crate::http;

/// The tenants a LokiStack in `openshift-logging` mode has.
const TENANTS: [&str; 3] = ["application", "infrastructure", "audit"];
const LIFETIME: Duration = Duration::from_hours(24);

/// A running gateway; ends with its owner.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    ca: Authority,
    handle: Handle<SocketAddr>,
}

struct Inner {
    kubernetes: kube::Client,
    loki: String,
    client: HttpClient,
}

impl Gateway {
    /// Starts a gateway before `loki` that asks `kubernetes`.
    pub async fn start(kubernetes: kube::Client, loki: &str) -> anyhow::Result<Self> {
        let ca = Authority::new("test service CA", LIFETIME)?;
        let pair = ca.serving(&["localhost", "127.0.0.1"], LIFETIME)?;
        let tls = RustlsConfig::from_pem(pair.cert.into_bytes(), pair.key.into_bytes()).await?;
        let inner = Inner { kubernetes, loki: loki.to_owned(), client: http::client(None)? };
        let routes = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/api/logs/v1/{tenant}/loki/api/v1/push", post(push))
            .route("/api/logs/v1/{tenant}/loki/api/v1/{query}", get(query))
            .layer(DefaultBodyLimit::max(100 << 20))
            .with_state(Arc::new(inner));
        let handle = Handle::new();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
        tokio::spawn(server.serve(routes.into_make_service()));
        let address = handle.listening().await.context("the gateway does not listen")?;
        Ok(Self { address, ca, handle })
    }

    /// The push URL, with `{tenant}` for the tenant.
    pub fn push_url(&self) -> String {
        format!("https://localhost:{}/api/logs/v1/{{tenant}}/loki/api/v1/push", self.address.port())
    }

    /// The CA that signed its certificate, the cluster's service CA.
    pub fn ca(&self) -> &str {
        self.ca.cert()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn push(
    State(inner): State<Arc<Inner>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refusal) = authorize(&inner, &headers, &tenant, "create").await {
        return refusal;
    }
    let url = format!("{}/loki/api/v1/push", inner.loki);
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    let mut request = hyper::Request::post(url);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    forward(&inner, request.body(Full::from(body))).await
}

async fn query(
    State(inner): State<Arc<Inner>>,
    Path((tenant, query)): Path<(String, String)>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = authorize(&inner, &headers, &tenant, "get").await {
        return refusal;
    }
    let url = format!("{}/loki/api/v1/{query}?{}", inner.loki, parameters.unwrap_or_default());
    forward(&inner, hyper::Request::get(url).body(Full::default())).await
}

async fn forward(inner: &Inner, request: Result<hyper::Request<Full<Bytes>>, hyper::http::Error>) -> Response {
    let answer = match request {
        Ok(request) => http::send(&inner.client, request).await,
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(answer) => answer.into_response(),
        Err(error) => refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

/// Who is it, and may they?
async fn authorize(inner: &Inner, headers: &HeaderMap, tenant: &str, verb: &str) -> Result<(), Response> {
    if !TENANTS.contains(&tenant) {
        return Err(refuse(StatusCode::UNAUTHORIZED, "error finding tenant"));
    }
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let login = || Redirect::to(&format!("/openshift/{tenant}/login")).into_response();
    let token = token.ok_or_else(|| found(login()))?;
    let failed = |error: anyhow::Error| refuse(StatusCode::UNAUTHORIZED, &format!("{error:#}"));
    let user = authenticate(inner, token).await.map_err(failed)?.ok_or_else(|| found(login()))?;
    if may(inner, user, tenant, verb).await.map_err(failed)? {
        Ok(())
    } else {
        Err(refuse(StatusCode::FORBIDDEN, "You don't have permission to access this tenant"))
    }
}

async fn authenticate(inner: &Inner, token: &str) -> anyhow::Result<Option<UserInfo>> {
    let review: TokenReview = serde_json::from_value(json!({"spec": {"token": token}}))?;
    let review = Api::<TokenReview>::all(inner.kubernetes.clone()).create(&PostParams::default(), &review).await?;
    let TokenReviewStatus { authenticated, user, .. } = review.status.unwrap_or_default();
    Ok(user.filter(|_| authenticated == Some(true)))
}

async fn may(inner: &Inner, user: UserInfo, tenant: &str, verb: &str) -> anyhow::Result<bool> {
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": user.username,
        "groups": user.groups,
        "uid": user.uid,
        "extra": user.extra,
        "resourceAttributes": {"group": "loki.grafana.com", "resource": tenant, "name": "logs", "verb": verb},
    }}))?;
    let review =
        Api::<SubjectAccessReview>::all(inner.kubernetes.clone()).create(&PostParams::default(), &review).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// axum redirects with 303; the gateway says 302.
fn found(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::FOUND;
    response
}

fn refuse(status: StatusCode, error: &str) -> Response {
    let body: Value = json!({"error": error, "errorType": "observatorium-api", "status": "error"});
    (status, axum::Json(body)).into_response()
}
